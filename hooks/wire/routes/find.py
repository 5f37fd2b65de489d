"""Find the routes to production in the repository."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from ..app_calls import AppCall, all_app_calls
from ..modal_functions import decorator, modal_functions, serves
from ..project import Project
from . import platforms
from .build_context import Context, ignore_file, not_ignored
from .compose import Service, services
from .container import Container, Place, path_changes
from .dockerfile import DockerBuild
from .modal import modal_container
from .run_commands import installed
from .serving import follow, served_app
from .shell import Start, commands
from .starting import start_commands

_DOCKERFILES: Final = (
    "Dockerfile*",
    "dockerfile*",
    "*.Dockerfile",
    "*.dockerfile",
    "Containerfile*",
)
_COMPOSE: Final = ("compose*.y*ml", "docker-compose*.y*ml")
_PLATFORMS: Final = (
    "Procfile*",
    "render.yaml",
    "railway.toml",
    "railway.json",
    "nixpacks.toml",
    "app.yaml",
    "vercel.json",
)
_UNREAD: Final = ("*.service", "supervisord*.conf", "fly*.toml", "*.y*ml")
"""Units of systemd, programs of supervisord, processes of Fly, and manifests of Kubernetes."""
_MANIFEST: Final = re.compile(r"(?m)^kind: (?:Deployment|StatefulSet|Pod|ReplicaSet)\b")
_SERVER: Final = re.compile(r"\b(?:uvicorn|gunicorn|hypercorn|granian|fastapi run)\b")
_DEVELOPMENT: Final = frozenset(
    {".devcontainer", "node_modules", "test", "tests", "examples", "example", "docs"}
)


@dataclass(frozen=True)
class Route:
    """A container that serves an application."""

    container: Container
    place: Place
    """The line of the start command."""
    start: Start
    app: AppCall
    served: str = ""
    """`module:name` that is served, if it can be imported."""

    @property
    def name(self) -> str:
        return self.container.name

    def paths_of(self, file: Path) -> list[PurePosixPath]:
        """Return the paths of a file of the repository: the one that is started, or all."""
        container = self.container
        main = container.main
        if main is None and self.start.module:
            main = container.module(self.start.module, container.import_path(self.start))
        if main is not None and container.files.get(main) == file:
            return [main]
        return container.places_of(file)

    def root_of(self, path: PurePosixPath) -> PurePosixPath | None:
        """Return the folder on the import path from which the file at `path` is imported."""
        container, start = self.container, self.start
        roots = [root for root in container.import_path(start) if path.is_relative_to(root)]
        if start.module and container.module(start.module, roots) == path:
            return roots[0] if roots else None
        # The nearest one: /app/src hides /app. A folder inside a package is on the path by accident.
        outside = [root for root in roots if root / "__init__.py" not in container.files]
        return max(outside or roots[:1], key=lambda root: len(root.parts), default=None)


def find_routes(project: Project) -> tuple[list[Route], list[Place]]:
    """Return the routes that serve an application, and the start commands that are not understood."""
    if "routes" not in project.results:
        apps = all_app_calls(project)
        routes: list[Route] = []
        unknown: list[Place] = []
        for container in containers(project, apps):
            found = _served(project, container, apps)
            routes += found
            if (
                not found
                and container.starts
                and any(container.places_of(app.path) for app in apps)
            ):
                unknown.append(container.starts[-1][0])
        project.results["routes"] = ([*routes, *_modal_routes(project, apps)], unknown)
    found_before: tuple[list[Route], list[Place]] = project.results["routes"]
    return found_before


def unread_starts(project: Project) -> Iterator[Place]:
    """Yield the lines that start a server on a machine that this command cannot reconstruct."""
    for path, text in _texts(project, _UNREAD):
        if path.suffix in (".yml", ".yaml") and not _MANIFEST.search(text):
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if _SERVER.search(line.partition("#")[0]):
                yield Place(path, number)
                break


def _modal_routes(project: Project, apps: Sequence[AppCall]) -> Iterator[Route]:
    for function in modal_functions(project):
        source = project.source(function.path)
        container = modal_container(project, function, decorator(source, function.node))
        place = Place(function.path, source.line(function.node.name))
        start = Start(container.folder)
        roots = container.import_path(start)
        reached = [
            follow(project, container, roots, path, name, apps)
            for module, name in function.returned
            if module and (path := container.module(module, roots)) is not None
        ]
        for app in apps:
            if serves(project, function, app) or app in reached:
                yield Route(container, place, start, app)


def _served(project: Project, container: Container, apps: Sequence[AppCall]) -> list[Route]:
    routes: list[Route] = []
    for place, start in container.starts:
        app, served = served_app(project, container, start, apps) or (None, "")
        if app is not None and all(route.app != app for route in routes):
            route = Route(container, place, start, app, served)
            for path in route.paths_of(app.path):
                container.path += path_changes(project.text(app.path), path)
            routes.append(route)
    return routes


def containers(project: Project, apps: Sequence[AppCall]) -> Iterator[Container]:
    """Yield each container that the repository describes."""
    files = _texts(project, _COMPOSE)
    found = [each for path, text in files for each in services(path, text)]
    built: set[Path] = set()
    for path, text in _texts(project, _DOCKERFILES):
        if path.name.endswith(".dockerignore"):
            continue
        named = [each for each in found if each.dockerfile == path]
        contexts = list(dict.fromkeys(each.context for each in named))
        build = _build(project, path, text, contexts, apps)
        container = build.stage(next((each.target for each in named if each.target), ""))
        if container is not None:
            built.add(path)
            yield container
        for service in named:
            stage = build.stage(service.target)
            if service.overrides and stage is not None:
                yield _composed(project, service, stage)
    for service in found:
        if service.image and service.volumes:
            image = f"FROM {service.image}\n"
            stage = DockerBuild(
                service.path, image, Context(service.context, {}), project.text
            ).stage()
            if stage is not None:
                yield _composed(project, service, stage)
    yield from _machines(project)


def _texts(project: Project, patterns: Sequence[str]) -> list[tuple[Path, str]]:
    return [
        (path, project.text(path))
        for path in project.repository_files
        if any(path.match(pattern) for pattern in patterns) and not _DEVELOPMENT & set(path.parts)
    ]


def _build(
    project: Project, path: Path, text: str, contexts: Sequence[Path], apps: Sequence[AppCall]
) -> DockerBuild:
    """Build a Dockerfile in its context: that of the compose files, or the one that has its files."""
    folders = list(contexts) or [path.parent, *project.above(path.parent)]
    builds = []
    for distance, folder in enumerate(folders):
        build = DockerBuild(path, text, _context(project, folder, path), project.text)
        stage = build.stage()
        serves = stage is not None and bool(_served(project, stage, apps))
        builds.append(((build.missing > 0, not serves, distance), build))
        if serves and not build.missing:
            break
    return min(builds, key=lambda each: each[0])[1]


def _context(project: Project, folder: Path, dockerfile: Path) -> Context:
    files = {
        PurePosixPath(name): path
        for path in project.repository_files
        if (name := project.relative(path, folder)) is not None
    }
    for ignore in ignore_file(folder, dockerfile):
        if ignore in project.repository_files:
            return Context(folder, not_ignored(files, project.text(ignore)), ignore)
    return Context(folder, files)


def _composed(project: Project, service: Service, stage: Container) -> Container:
    """Return the container of a compose service that differs from its Dockerfile."""
    container = stage.copy()
    container.name = f"{service.path} ({service.name})"
    container.variables |= service.variables
    for source, target in service.volumes:
        base = container.find(target)
        for path in project.repository_files:
            if (name := project.relative(path, source)) is not None:
                container.add(base / name, path)
    if service.working_dir:
        container.folder = container.find(service.working_dir)
    if service.command or service.entrypoint:
        place = Place(service.path, service.line)
        command = (place, service.command) if service.command else None
        for each in commands(service.command or "", container.folder, container.variables):
            container.installed += installed(each, container.files, place)
        entrypoint = (place, service.entrypoint) if service.entrypoint else None
        container.starts = list(start_commands(container, entrypoint, command)) or container.starts
    return container


def _machines(project: Project) -> Iterator[Container]:
    for path, text in _texts(project, _PLATFORMS):
        for process, root, build, command in platforms.declared(path, text):
            folder = path.parent / root
            files = {
                PurePosixPath(name): each
                for each in project.repository_files
                if (name := project.relative(each, folder)) is not None
            }
            name = f"{path} ({process})" if process else str(path)
            container = platforms.machine(name, PurePosixPath(), files, project.text)
            place = Place(path, platforms.line_of(text, command))
            platforms.install(container, place, build)
            platforms.start(container, command, place)
            yield container
