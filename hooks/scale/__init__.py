"""The command scale: a Collector or Refinery between the services and Honeycomb."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from decimal import Decimal
from math import ceil
from typing import Any, Final, TypeVar

import click
from jinja2 import Environment, PackageLoader, StrictUndefined

from ..project import Project, ProjectError, project_options, variable
from ..terminal import say

COLLECTOR_VERSION: Final = "0.161.0"
REFINERY_VERSION: Final = "3.2.2"

_HTTP_PORTS: Final = {"collector": 4318, "refinery": 8080}
_GRPC_PORT: Final = 4317
_templates: Final = Environment(
    loader=PackageLoader("hooks.scale"), undefined=StrictUndefined, keep_trailing_newline=True
)

_Number = TypeVar("_Number", int, float)
_RATE: Final = click.IntRange(min=1)
_MILLISECONDS: Final = click.FloatRange(1, 1e9)
_DOLLARS: Final = click.FloatRange(0, 1e9)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The traces to keep: all that fail, are slow or expensive, and 1 in N of the rest."""

    sample_rate: int
    keep_slow_ms: int
    keep_cost_usd: str
    """Dollars of one LLM call, without an exponent, which not every rule language can read."""


def _policy_options(command: Callable[..., int]) -> Callable[..., int]:
    for option in (
        click.option("--force", is_flag=True, help="Replace files that have other content."),
        click.option(
            "--keep-cost-usd",
            type=_DOLLARS,
            metavar="USD",
            help="Keep each trace with an LLM call that costs more"
            " (default: HONEYCOMB_KEEP_COST_USD, or 1).",
        ),
        click.option(
            "--keep-slow-ms",
            type=_MILLISECONDS,
            metavar="MS",
            help="Keep each trace that lasts longer (default: HONEYCOMB_KEEP_SLOW_MS, or 10000).",
        ),
    ):
        command = option(command)
    return command


@click.group()
def scale() -> None:
    """Sample whole traces of several services in a Collector or Refinery.

    Writes its configuration and a compose.yaml into the project. docs/scale.md of the template
    compares the two.
    """


@scale.command(short_help="Configure an OpenTelemetry Collector.")
@click.option(
    "--sample-rate",
    type=_RATE,
    default=1,
    metavar="N",
    help="Keep 1 in N traces; failed, slow and expensive traces are always kept (default: 1, all).",
)
@_policy_options
@project_options
def collector(
    project: Project,
    *,
    sample_rate: int,
    keep_slow_ms: float | None,
    keep_cost_usd: float | None,
    force: bool,
) -> int:
    """Configure an OpenTelemetry Collector that stores spans on disk until Honeycomb has them."""
    policy = _policy(sample_rate, keep_slow_ms, keep_cost_usd)
    _write(project, "collector", policy, force=force, collector_version=COLLECTOR_VERSION)
    return 0


@scale.command(short_help="Configure Honeycomb's Refinery.")
@click.option(
    "--sample-rate",
    type=_RATE,
    metavar="N",
    help="Keep 1 in N traces; failed, slow and expensive traces are always kept"
    " (default: HONEYCOMB_SAMPLE_RATE, or 10).",
)
@click.option(
    "--nodes",
    type=click.IntRange(1, 20),
    default=1,
    metavar="N",
    help="Number of nodes (default: 1).",
)
@_policy_options
@project_options
def refinery(
    project: Project,
    *,
    sample_rate: int | None,
    nodes: int,
    keep_slow_ms: float | None,
    keep_cost_usd: float | None,
    force: bool,
) -> int:
    """Configure Refinery, which samples whole traces across services."""
    rate = _number(sample_rate, "HONEYCOMB_SAMPLE_RATE", _RATE, default=10)
    policy = _policy(rate, keep_slow_ms, keep_cost_usd)
    _write(project, "refinery", policy, force=force, refinery_version=REFINERY_VERSION, nodes=nodes)
    return 0


def _policy(sample_rate: int, keep_slow_ms: float | None, keep_cost_usd: float | None) -> Policy:
    slow_ms = _number(keep_slow_ms, "HONEYCOMB_KEEP_SLOW_MS", _MILLISECONDS, default=10_000.0)
    cost_usd = _number(keep_cost_usd, "HONEYCOMB_KEEP_COST_USD", _DOLLARS, default=1.0)
    return Policy(
        sample_rate=sample_rate,
        keep_slow_ms=ceil(slow_ms),
        keep_cost_usd=f"{Decimal(str(cost_usd)):f}",
    )


def _number(
    option: _Number | None, name: str, kind: click.ParamType[_Number], *, default: _Number
) -> _Number:
    """The value of the option, or of the variable `name` of the services."""
    if option is not None:
        return option
    text = variable(name)
    if text is None:
        return default
    try:
        value: _Number = kind.convert(text, None, None)
    except click.BadParameter as error:
        raise click.ClickException(f"{name}: {error.message}") from None
    return value


def _write(project: Project, program: str, policy: Policy, *, force: bool, **values: Any) -> None:
    values |= asdict(policy)
    values["project_name"] = project.answers["project_name"]
    try:
        values["honeycomb"] = project.honeycomb_endpoint
    except ProjectError as error:
        raise click.ClickException(str(error)) from None
    files = {
        project.root / name.removesuffix(".jinja"): (
            _templates.get_template(name).render(values).encode()
        )
        for name in _templates.list_templates()
        if name.startswith(f"{program}/")
    }
    changed = [
        path.relative_to(project.root)
        for path, content in files.items()
        if path.is_file() and path.read_bytes() != content
    ]
    if changed and not force:
        raise click.ClickException(
            f"{', '.join(map(str, changed))} would be replaced. Commit your edits, run this again"
            " with --force, and compare with `git diff`."
        )
    for path, content in files.items():
        try:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        except OSError as error:
            raise click.ClickException(f"Could not write {path}: {error.strerror}.") from None
        say(f"Wrote {path.relative_to(project.root)}")
    _print_next_steps(project, program, policy)


def _print_next_steps(project: Project, program: str, policy: Policy) -> None:
    is_grpc = project.answers.get("otlp_protocol") == "grpc"
    port = _GRPC_PORT if is_grpc else _HTTP_PORTS[program]
    say(f"\nStart it:\n  docker compose -f {program}/compose.yaml up -d")
    say(
        "\nVariables of each service, besides HONEYCOMB_API_KEY:"
        f"\n  OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:{port}"
    )
    if policy.sample_rate > 1:
        say("  HONEYCOMB_SAMPLE_RATE=1")
    # The proxy in compose.yaml is for HTTP.
    protocol = " OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf" if is_grpc else ""
    secret = f"{project.answers.get('modal_secret', 'honeycomb')}-endpoint"
    say(
        "\nFor services on Modal, give it a public name and HTTPS, and add a secret to the function:"
        f"\n  PUBLIC_HOST=otel.example.com docker compose -f {program}/compose.yaml --profile public"
        " up -d"
        f"\n  modal secret create {secret} OTEL_EXPORTER_OTLP_ENDPOINT=https://otel.example.com"
        f"{protocol}"
        f"\n  secrets=[..., modal.Secret.from_name({secret!r})]"
    )
    say("\nThen check a service with `copier-honeycomb doctor`.")
