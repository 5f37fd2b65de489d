"""Compare the spans of LLM calls: this module, Logfire and OpenLLMetry.

    uv run bench/llm_calls.py [--json FILE]

Each makes the same calls, of a fake of the APIs on 127.0.0.1, and exports to a receiver there.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from rich import box
from rich.progress import track
from rich.table import Table

from bench.environments import PROJECT, ROOT, clean_environment, render, uv
from bench.report import conditions, describe, new_console, save
from hooks.traces.otlp import Span
from hooks.traces.receiver import Receiver
from tests.fakes.llm import CONTENT, LLMAPIs

CALLED: Final = (
    "anthropic",
    "langchain",
    "langchain-openai",
    "openai",
    "pydantic-ai-slim[anthropic,openai]",
)
_REPORTED: Final = (
    "anthropic",
    "langchain",
    "logfire",
    "openai",
    "pydantic-ai-slim",
    "traceloop-sdk",
)
# Dollars per call of the fake: 1,200 input tokens, of which 1,000 are cached (and, with Anthropic, 60
# written for five minutes and 40 for an hour), and 300 output tokens.
DOLLARS: Final = {
    "Anthropic": (100 * 3 + 1_000 * 0.3 + 60 * 3.75 + 40 * 6 + 300 * 15) / 1e6,
    "OpenAI": (200 * 0.15 + 1_000 * 0.075 + 300 * 0.6) / 1e6,
}


@dataclass(frozen=True)
class Variant:
    """A way of tracing the calls."""

    name: str
    function: str
    """In `bench.llm_process`; variants with the same one share an environment."""
    packages: tuple[str, ...]
    variables: dict[str, str] = field(default_factory=dict)


_OPENLLMETRY: Final = {"TRACELOOP_METRICS_ENABLED": "false"}
VARIANTS: Final = (
    Variant(
        "this",
        "module",
        (
            "opentelemetry-instrumentation-genai-langchain",
            "opentelemetry-instrumentation-genai-openai",
        ),
    ),
    Variant(
        "logfire",
        "logfire",
        ("langsmith[otel]", "logfire"),
        {
            "LANGSMITH_OTEL_ENABLED": "true",
            "LANGSMITH_OTEL_ONLY": "true",
            "LANGSMITH_TRACING": "true",
        },
    ),
    Variant("OpenLLMetry", "openllmetry", ("traceloop-sdk",), _OPENLLMETRY),
    Variant(
        "OpenLLMetry, content off",
        "openllmetry",
        ("traceloop-sdk",),
        {**_OPENLLMETRY, "TRACELOOP_TRACE_CONTENT": "false"},
    ),
)


@dataclass(frozen=True)
class Result:
    """The spans that a variant exported for one call."""

    call: str
    requests: int
    spans: int
    with_tokens: int
    """More than `requests` if a request is counted twice."""
    dollars: float
    content: int
    """Attributes and status descriptions with text of a prompt, a completion or a tool."""

    @classmethod
    def of(cls, call: str, requests: int, spans: list[Span]) -> Self:
        return cls(
            call=call,
            requests=requests,
            spans=len(spans),
            with_tokens=sum("gen_ai.usage.input_tokens" in span.attributes for span in spans),
            dollars=sum(_dollars(span) for span in spans),
            content=sum(bool(CONTENT.search(text)) for span in spans for text in _texts(span)),
        )

    @property
    def right_dollars(self) -> float:
        """The price of the call, which is 0 if it was rejected."""
        [price] = [price for provider, price in DOLLARS.items() if provider in self.call]
        return 0.0 if "rejected" in self.call else price * self.requests


def _dollars(span: Span) -> float:
    # pydantic-ai and Logfire use the second name.
    for name in ("llm.cost_usd", "operation.cost"):
        if isinstance(cost := span.attributes.get(name), float):
            return cost
    return 0.0


def _texts(span: Span) -> Iterator[str]:
    yield span.status_message
    yield from (str(value) for value in span.attributes.values())
    yield from (str(value) for event in span.events for value in event.attributes.values())


def run(variant: Variant, python: Path, project: Path) -> list[Result]:
    """Run the calls in a process and return the result of each."""
    with LLMAPIs() as apis, Receiver() as receiver:
        process = subprocess.Popen(
            [python, "-W", "ignore", "-m", "bench.llm_process", variant.function],
            cwd=ROOT,
            env={
                **clean_environment(),
                **apis.variables,
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
                "PYTHONPATH": f"{project}:{ROOT}",
                **variant.variables,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin and process.stdout
        results = []
        with process:
            for line in process.stdout:
                kind, _, name = line.strip().partition(" ")
                if kind == "call":
                    results.append(Result.of(name, len(apis.requests), receiver.spans))
                    apis.requests.clear()
                    receiver.clear()
                    process.stdin.write("\n")
                    process.stdin.flush()
        if process.returncode:
            raise SystemExit(f"The calls traced by {variant.name} failed.")
        return results


def install(variant: Variant, environment: Path, project: Path) -> dict[str, str]:
    """Create the environment unless it exists, and return the versions that a report names."""
    python = f"--python={environment / 'bin/python'}"
    if not environment.exists():
        uv("venv", "--python", sys.executable, str(environment))
        requirements = [*CALLED, *variant.packages]
        if variant.function == "module":
            requirements += ["-r", str(project / "pyproject.toml")]
        uv("pip", "install", python, *requirements)
    versions = {
        each["name"]: each["version"]
        for each in json.loads(uv("pip", "list", "--format=json", python))
    }
    return {name: versions[name] for name in _REPORTED if name in versions}


def print_report(report: Mapping[str, Any]) -> None:
    """Print a row for each call, with four figures for each variant."""
    results: dict[str, list[Result]] = report["results"]
    table = Table("requests, right cost in µ$", *results, box=box.MARKDOWN)
    for each in zip(*results.values(), strict=True):
        call = each[0]
        table.add_row(
            f"{call.call}: {call.requests}, {call.right_dollars * 1e6:,.0f}",
            *(
                f"{of.spans} / {of.with_tokens} / {of.dollars * 1e6:,.0f} / {of.content}"
                for of in each
            ),
        )
    console = new_console()
    console.print("Spans / spans with tokens / cost in µ$ / attributes with content", table)
    console.print(describe(report, report["versions"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="also save the report")
    arguments = parser.parse_args()

    results: dict[str, list[Result]] = {}
    versions: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory() as folder:
        project = render(str(ROOT), Path(folder) / PROJECT)
        for variant in track(VARIANTS, transient=True):
            environment = Path(folder) / variant.function
            versions.append(install(variant, environment, project))
            results[variant.name] = run(variant, environment / "bin/python", project)
    report = {**conditions(), "versions": versions, "results": results}
    print_report(report)
    as_json = {name: [asdict(each) for each in of] for name, of in results.items()}
    save({**report, "results": as_json}, arguments.json)


if __name__ == "__main__":
    main()
