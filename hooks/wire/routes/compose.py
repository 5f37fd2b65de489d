"""Services of compose files that are built from the repository."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Service:
    """A service of the repository. Paths are relative to the project."""

    path: Path
    name: str
    line: int
    context: Path
    dockerfile: Path
    target: str = ""
    command: str | list[str] | None = None
    entrypoint: str | list[str] | None = None
    working_dir: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    volumes: tuple[tuple[Path, str], ...] = ()
    """Folders of the repository, and the path that each is mounted at."""
    image: str = ""
    """The image, if the service has no build and mounts the repository into an image of Python."""

    @property
    def overrides(self) -> bool:
        """True if the service differs from its Dockerfile."""
        return bool(
            self.command
            or self.entrypoint
            or self.working_dir
            or self.volumes
            or "PYTHONPATH" in self.variables
        )


def services(path: Path, text: str) -> Iterator[Service]:
    """Yield the services in a compose file that are built from the repository, or mount it."""
    try:
        data = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        return
    found = data.get("services") if isinstance(data, dict) else None
    for name, service in (found if isinstance(found, dict) else {}).items():
        build = service.get("build") if isinstance(service, dict) else None
        image = ""
        if isinstance(build, str):
            build = {"context": build}
        elif build is None and isinstance(service, dict) and "python" in str(service.get("image")):
            build, image = {"dockerfile": ""}, str(service["image"])
        if not isinstance(build, dict):
            continue
        context = _below(path.parent, str(build.get("context") or "."))
        line = text[: max(text.find(f"\n  {name}:"), 0)].count("\n") + 2
        yield Service(
            path,
            str(name),
            line,
            context,
            _below(context, str(build.get("dockerfile") or "Dockerfile")),
            str(build.get("target") or ""),
            _command(service.get("command")),
            _command(service.get("entrypoint")),
            str(service.get("working_dir") or ""),
            _variables(service.get("environment")),
            tuple(_volumes(path.parent, service.get("volumes"))),
            image,
        )


class _Loader(yaml.SafeLoader):
    """Reads tags such as `!reset` as their value."""


def _untagged(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_mapping(node, deep=True) if isinstance(node, yaml.MappingNode) else None


_Loader.add_multi_constructor("!", _untagged)


def _below(folder: Path, name: str) -> Path:
    parts: list[str] = []
    for part in (folder / name).parts:
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        else:
            parts.append(part)
    return Path(*parts)


def _command(value: object) -> str | list[str] | None:
    if isinstance(value, list):
        return [str(each) for each in value]
    return str(value) if value else None


def _variables(value: object) -> dict[str, str]:
    if isinstance(value, dict):
        return {str(name): "" if text is None else str(text) for name, text in value.items()}
    items: Sequence[object] = value if isinstance(value, list) else ()
    return dict(str(each).partition("=")[::2] for each in items)


def _volumes(folder: Path, value: object) -> Iterator[tuple[Path, str]]:
    for each in value if isinstance(value, list) else []:
        if isinstance(each, dict):
            if each.get("type") == "bind":
                yield _below(folder, str(each.get("source"))), str(each.get("target"))
        elif str(each).startswith("."):
            source, _, target = str(each).partition(":")
            yield _below(folder, source), target.partition(":")[0]
