"""Measure the CPU time of `copier copy` and `copier update`, next to release 0.3.0.

    uv run bench/copying.py [--rounds N] [--json FILE]

The committed state of this checkout and the release are measured alternately, in both layouts. An
update is one to a later version with the same content. Seconds are user and system time of Copier
and the processes it starts, above the time of `copier --version`; the lowest of all rounds counts,
since a busy machine only adds to it.

Exits with 1 if a limit is exceeded.
"""

import argparse
import math
import resource
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rich import box
from rich.progress import Progress
from rich.table import Table

from bench.report import check_limits, conditions, new_console, save
from hooks.release import ROOT, releases, tag_releases

BASELINE: Final = "0.3.0"
LAYOUTS: Final = ("new", "existing")
LIMITS: Final = {"copy": 0.7, "update": 0.6}
"""Of the release's CPU time."""


@dataclass(frozen=True)
class State:
    """A state of the template, and a later version with the same content."""

    name: str
    tag: str
    next_tag: str


RELEASE: Final = State(BASELINE, f"v{BASELINE}", f"v{BASELINE}.post1")
CHECKOUT: Final = State("checkout", "v9999.0", "v9999.1")


class Projects:
    """Projects in `folder`, copied from a clone of this repository."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._template = folder / "template"
        _git(folder, "clone", "-q", str(ROOT), str(self._template))
        tag_releases(self._template, releases())
        _git(self._template, "tag", CHECKOUT.tag, "HEAD")
        for state in (RELEASE, CHECKOUT):
            tree, commit = f"{state.tag}^{{tree}}", f"{state.tag}^{{commit}}"
            later = _git(self._template, "commit-tree", "-p", commit, "-m", "Next", tree)
            _git(self._template, "tag", state.next_tag, later)

    def copy(self, layout: str, state: State) -> float:
        """CPU seconds of a copy of `state`."""
        fresh = self._folder / "fresh"
        seconds = self._copy(fresh, layout, state)
        shutil.rmtree(fresh)
        return seconds

    def update(self, layout: str, state: State, tag: str) -> float:
        """CPU seconds of an update of an unchanged project of `state` to `tag`."""
        project = self._folder / "updated"
        shutil.copytree(self.original(layout, state), project, symlinks=True)
        seconds = _cpu_seconds(project, "update", "--defaults", "--quiet", f"--vcs-ref={tag}", ".")
        shutil.rmtree(project)
        return seconds

    def original(self, layout: str, state: State) -> Path:
        """A committed project of `state`."""
        project = self._folder / f"{layout}-{state.name}"
        if not project.exists():
            self._copy(project, layout, state)
            _git(project, "init", "-q")
            _git(project, "add", "-A")
            _git(project, "commit", "-q", "-m", "Start")
        return project

    def files(self, layout: str, state: State) -> int:
        return len(_git(self.original(layout, state), "ls-files").splitlines())

    def _copy(self, project: Path, layout: str, state: State) -> float:
        project.mkdir()
        options = ["--defaults", "--quiet", f"--data=layout={layout}", f"--vcs-ref={state.tag}"]
        return _cpu_seconds(project, "copy", *options, str(self._template), ".")


@dataclass
class Compared:
    """CPU seconds of one operation for the release and for the checkout, lowest of all rounds."""

    layout: str
    operation: str
    release: float = math.inf
    checkout: float = math.inf

    @property
    def ratio(self) -> float:
        return self.checkout / self.release

    @property
    def limit(self) -> float:
        return LIMITS[self.operation]


def main() -> None:
    options = _options()
    console = new_console()
    start_up = math.inf
    compared = [Compared(layout, operation) for layout in LAYOUTS for operation in LIMITS]
    migrations = dict.fromkeys(LAYOUTS, math.inf)
    with (
        tempfile.TemporaryDirectory(prefix="copying-") as name,
        Progress(console=console, transient=True) as progress,
    ):
        folder = Path(name)
        projects = Projects(folder)
        for _ in progress.track(range(options.rounds), description="Measuring"):
            start_up = min(start_up, _cpu_seconds(folder, "--version"))
            for each in compared:
                each.release = min(each.release, _measure(projects, each, RELEASE))
                each.checkout = min(each.checkout, _measure(projects, each, CHECKOUT))
            for layout in LAYOUTS:
                seconds = projects.update(layout, RELEASE, CHECKOUT.tag)
                migrations[layout] = min(migrations[layout], seconds)
        files = {
            layout: [projects.files(layout, state) for state in (RELEASE, CHECKOUT)]
            for layout in LAYOUTS
        }
    for each in compared:
        each.release -= start_up
        each.checkout -= start_up
    report = {
        **conditions(),
        "rounds": options.rounds,
        "start_up": start_up,
        "files": files,
        "compared": [
            {**asdict(each), "ratio": each.ratio, "limit": each.limit} for each in compared
        ],
        f"update_from_{BASELINE}": {name: each - start_up for name, each in migrations.items()},
    }
    table = Table("layout", "CPU seconds", BASELINE, "checkout", "ratio", "limit", box=box.MARKDOWN)
    for each in compared:
        values = (each.release, each.checkout, each.ratio, each.limit)
        table.add_row(each.layout, each.operation, *(f"{value:.2f}" for value in values))
    for layout in LAYOUTS:
        table.add_row(layout, "files", *map(str, files[layout]), "", "")
        migration = f"{migrations[layout] - start_up:.2f}"
        table.add_row(layout, f"update from {BASELINE}", "", migration, "", "")
    console.print(table)
    console.print(
        f"\nAbove the {start_up:.2f} s of `copier --version`; lowest of {options.rounds} rounds.\n"
        f"{report['date']}, {report['machine']}, Python {report['python']}."
    )
    save(report, options.json)
    check_limits(
        [
            f"{each.layout}: {each.operation}: {each.ratio:.2f} > {each.limit}"
            for each in compared
            if each.ratio > each.limit
        ]
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="save the numbers to FILE")
    return parser.parse_args()


def _measure(projects: Projects, compared: Compared, state: State) -> float:
    if compared.operation == "copy":
        return projects.copy(compared.layout, state)
    return projects.update(compared.layout, state, state.next_tag)


def _cpu_seconds(folder: Path, *arguments: str) -> float:
    """User and system time of `copier ARGUMENTS`, including the processes that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _run(folder, sys.executable, "-m", "copier", *arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.org"]
    return _run(folder, "git", *identity, *arguments).strip()


def _run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
