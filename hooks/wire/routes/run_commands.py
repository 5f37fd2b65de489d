"""The effects of the commands that run while a container is built."""

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from .container import Container, Copied, Installed, Place, normal
from .installs import find_installs
from .local_projects import import_root, local_projects
from .shell import Command


def installed(
    command: Command, files: Mapping[PurePosixPath, Path], place: Place
) -> Iterator[Installed]:
    """Yield the packages that `command` installs in a container with `files`."""
    for install in find_installs(command):
        found = [files.get(normal(install.folder / name)) for name in install.files]
        for project in install.projects:
            for name in ("pyproject.toml", "setup.py", "setup.cfg"):
                found.append(files.get(normal(install.folder / project / name)))
        names = tuple(dict.fromkeys(filter(None, found)))
        yield Installed(place, install, names, dict(files), command.variables)


def run_file_command(
    stage: Container, command: Command, place: Place, files: Mapping[PurePosixPath, Path]
) -> None:
    """Apply `cp`, `mv` and `rm`, and the import path of the projects that a command installs.

    The command can read `files`.
    """
    words = [word for word in command.words if not word.startswith("-")]
    for install in find_installs(command):
        for folder in local_projects(install, files, stage.read):
            root = import_root(folder, files, stage.read)
            stage.path.append(root)
            if install.is_editable:  # its code may be copied later
                stage.path.append(folder / "src")
            else:
                stage.built.append(root)
            if (declared := files.get(folder / "pyproject.toml")) is not None:
                stage.projects.append(declared)
    if words[:1] in (["cp"], ["mv"]) and len(words) > 2:
        target = normal(command.folder / words[-1])
        for word in words[1:-1]:
            source = normal(command.folder / word.removesuffix("/*").removesuffix("/."))
            into = (
                target / source.name
                if target in stage.folders and word[-2:] not in ("/*", "/.")
                else target
            )
            for path, file in list(stage.below(source)):
                stage.add(into / path, file, Copied(place, into))
                if words[0] == "mv":
                    stage.files.pop(source / path, None)
    elif words[:1] == ["rm"]:
        for word in words[1:]:
            for path, _ in list(stage.below(normal(command.folder / word))):
                stage.files.pop(normal(command.folder / word) / path, None)
    elif words[:2] == ["git", "clone"]:
        stage.unknown = f"{place} clones its code"
