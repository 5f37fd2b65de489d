"""A project that was rendered from the template: its answers and variables."""

import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import click
import yaml
from dotenv import load_dotenv

_HOSTS: Final = {"us": "api.honeycomb.io", "eu": "api.eu1.honeycomb.io"}


class ProjectError(Exception):
    """The project, or a variable that describes it, cannot be used. The text is for the user."""


@dataclass(frozen=True)
class Project:
    """A rendered project. Variables are read from the environment of this process."""

    root: Path
    answers: Mapping[str, Any]
    answers_file: str = ".copier-answers.yml"

    @property
    def release(self) -> str:
        """The release of the template that the project was last updated to, as Copier recorded it."""
        return str(self.answers.get("_commit", "an unknown release"))

    def update_command(self, *options: str) -> str:
        """The command line of Copier that updates the project."""
        words = ["uvx", "copier", "update", "--defaults", *options]
        if self.answers_file != ".copier-answers.yml":
            words += ["--answers-file", self.answers_file]
        return shlex.join(words)

    @property
    def package_dir(self) -> Path:
        return Path(self.answers.get("package_dir") or self.answers.get("package_name") or ".")

    @property
    def import_name(self) -> str:
        return str(self.answers.get("import_name") or self.answers.get("package_name") or "")

    @property
    def module_name(self) -> str:
        return str(self.answers.get("module_name", "observability"))

    @property
    def module_dir(self) -> Path:
        """The folder of the observability package."""
        return self.root / self.package_dir / self.module_name

    @property
    def module(self) -> str:
        """The observability package, as Python imports it."""
        return f"{self.import_name}.{self.module_name}".lstrip(".")

    @property
    def import_root(self) -> Path:
        """The folder from which Python imports `module`."""
        depth = len(self.import_name.split(".")) if self.import_name else 0
        parts = self.package_dir.parts
        return self.root.joinpath(*parts[: len(parts) - depth])

    @property
    def honeycomb_dir(self) -> Path:
        """The folder of the definitions. Raises ProjectError if it does not exist."""
        folder = self.root / "honeycomb"
        if not (folder / "telemetry.yaml").is_file():
            raise ProjectError(
                f"{folder} does not contain telemetry.yaml. Restore it from git: an update does not"
                " restore files that you deleted."
            )
        return folder

    @property
    def honeycomb_plan(self) -> str:
        return str(self.answers.get("honeycomb_plan", "free"))

    @property
    def service_name(self) -> str:
        """`service.name` on the spans, which is the dataset in Honeycomb."""
        return (
            variable("OTEL_SERVICE_NAME")
            or resource_attributes().get("service.name")
            or str(self.answers["project_name"])
        )

    @property
    def service_version(self) -> str:
        """`service.version` on the spans."""
        package = self.module.split(".")[-2:][0].upper()
        return (
            resource_attributes().get("service.version")
            or variable(f"{package}_VERSION")
            or variable("MODAL_IMAGE_ID")
            or "dev"
        )

    @property
    def honeycomb_endpoint(self) -> str:
        """The URL of the management API. Raises ProjectError if a variable is not a valid URL."""
        for name in (
            "HONEYCOMB_API_ENDPOINT",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ):
            value = variable(name)
            if value is None:
                continue
            try:
                url = urlsplit(value)
                is_valid = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
            except ValueError:
                is_valid = False
            if name == "HONEYCOMB_API_ENDPOINT":
                if not is_valid:
                    raise ProjectError(
                        f"{name} is not a valid URL, such as https://api.honeycomb.io."
                    )
                return url._replace(netloc=url.netloc.rpartition("@")[2]).geturl().rstrip("/")
            if is_valid and str(url.hostname).endswith(".honeycomb.io"):
                return f"https://{url.hostname}"
        return f"https://{_HOSTS[str(self.answers['honeycomb_region'])]}"


def find_project(root: Path, answers_file: str | None = None) -> Project:
    """The project in `root`. Raises ProjectError unless the template's answers are there.

    Without `answers_file`, any `.copier-answers*.yml` that holds the template's answers is used.
    """
    return find_projects(root, answers_file)[0]


def nearest_project(folder: Path) -> Path:
    """The folder of the project that contains `folder`, or `folder` if none does."""
    for each in (folder, *folder.parents):
        if any(each.glob(".copier-answers*.yml")):
            return each
    return folder


def find_projects(root: Path, answers_file: str | None = None) -> list[Project]:
    """The projects in `root`: more than one if the template was copied there several times."""
    if not root.is_dir():
        raise ProjectError(f"The folder {root} does not exist.")
    if answers_file is not None and not (root / answers_file).is_file():
        raise ProjectError(f"The file {root / answers_file} does not exist.")
    found = []
    unreadable = []
    for path in (
        [root / answers_file] if answers_file else sorted(root.glob(".copier-answers*.yml"))
    ):
        try:
            answers = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, ValueError):
            unreadable.append(path.name)
            continue
        if isinstance(answers, dict) and {"honeycomb_region", "project_name"} <= answers.keys():
            found.append(Project(root, answers, path.relative_to(root).as_posix()))
    if unreadable and not found:
        raise ProjectError(
            f"{unreadable[0]} is not valid YAML. Resolve the conflict in it, if there is one."
        )
    if not found:
        raise ProjectError(
            f"{root} was not rendered from this template. Run the command in the project's folder, or"
            " name it with --project; run `copier copy` first if the project is new."
        )
    return found


def variable(name: str) -> str | None:
    """The variable without surrounding space, or None if it is empty or not set."""
    return os.environ.get(name, "").strip() or None


def resource_attributes() -> dict[str, str]:
    """The attributes in OTEL_RESOURCE_ATTRIBUTES, `name=value,name=value`."""
    members = (variable("OTEL_RESOURCE_ATTRIBUTES") or "").split(",")
    pairs = (member.partition("=") for member in members if "=" in member)
    return {unquote(name.strip()): unquote(value.strip()) for name, _, value in pairs}


def project_options(command: Callable[..., int]) -> Callable[..., int]:
    """Add the options that locate a project; the command receives it as `project`."""

    @wraps(command)
    def located(
        project: Path, answers_file: str | None, env_file: Path | None, **options: Any
    ) -> int:
        if env_file is not None:
            # Variables that are set already win, as with `uv run --env-file`.
            try:
                load_dotenv(env_file)
            except ValueError:
                raise click.ClickException(
                    f"{env_file} is not valid UTF-8. Save it in that encoding."
                ) from None
        try:
            # The current folder may be one inside the project.
            folder = project.resolve()
            folder = nearest_project(folder) if project == Path() else folder
            found = find_project(folder, answers_file)
        except ProjectError as error:
            raise click.ClickException(str(error)) from None
        return command(found, **options)

    for option in (
        click.option(
            "--env-file",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="File of variables, such as .env. Variables that are already set take precedence.",
        ),
        click.option(
            "--answers-file",
            metavar="NAME",
            help="Copier's answers file, if several templates are used in the project.",
        ),
        click.option(
            "--project",
            type=click.Path(path_type=Path),
            default=".",
            help="Folder of the project (default: the current folder, or the one it is in).",
        ),
    ):
        located = option(located)
    return located
