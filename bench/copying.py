"""Measure the CPU time of `copier copy` and `copier update`, next to release 0.3.0, and of
`copier-honeycomb update`, next to `copier update`.

    uv run bench/copying.py [--rounds N] [--json FILE]

The committed state of this checkout and the release are measured alternately, in both layouts, and
so is the checkout with one file in its template: Copier's own share. An update is one to a later
version with the same content. Seconds are user and system time of Copier and the processes it
starts, above the time of `copier --version`; the lowest of all rounds counts, since a busy machine
only adds to it. All files are in memory if the machine has /dev/shm: writing to a disk can double
the system time, at random.

Exits with 1 if a limit is exceeded.
"""

import argparse
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.progress import Progress
from rich.table import Table

from bench.report import check_limits, conditions, new_console, save
from hooks.release import ROOT, releases, tag_releases

BASELINE: Final = "0.3.0"
LAYOUTS: Final = ("new", "existing")
LIMITS: Final = {"copy": 0.7, "update": 0.6}
"""Shares of the release's CPU time."""
GUARDED_LIMIT: Final = 1.3
"""CPU time of `copier-honeycomb update`, relative to `copier update`."""
COPIER: Final = ("-m", "copier")
TOOLS: Final = ("-c", "from hooks.cli import main; main()")
MEMORY: Final = Path("/dev/shm") if Path("/dev/shm").is_dir() else None


@dataclass(frozen=True)
class State:
    """A state of the template, and a later version with the same content."""

    name: str
    tag: str
    next_tag: str


RELEASE: Final = State(BASELINE, f"v{BASELINE}", f"v{BASELINE}.post1")
CHECKOUT: Final = State("checkout", "v9999.0", "v9999.1")
ONE_FILE: Final = State("one file", "v9998.0", "v9998.1")
"""The checkout with this file and the answers file alone in its template."""
KEPT: Final = ("/spans.py", "/{{ _copier_conf.answers_file }}.jinja")


class Projects:
    """Projects in `folder`, copied from a clone of this repository."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._template = folder / "template"
        # In one pack, as from a server. Copier links each loose object of a local folder in each clone.
        _git(folder, "clone", "-q", "--no-local", str(ROOT), str(self._template))
        tag_releases(self._template, releases())
        _git(self._template, "tag", CHECKOUT.tag, "HEAD")
        listed = _git(self._template, "ls-files", "-z", "template").strip("\0").split("\0")
        dropped = [name for name in listed if not name.endswith(KEPT)]
        _git(self._template, "rm", "-q", "--", *dropped)
        self._commit(ONE_FILE.tag, CHECKOUT.tag, _git(self._template, "write-tree"))
        _git(self._template, "reset", "-q", "--hard")
        for state in (RELEASE, CHECKOUT, ONE_FILE):
            self._commit(state.next_tag, state.tag, f"{state.tag}^{{tree}}")

    def start_up(self) -> float:
        """CPU seconds of Copier without any work."""
        return _cpu_seconds(self._folder, *COPIER, "--version")

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
        seconds = _cpu_seconds(
            project, *COPIER, "update", "--defaults", "--quiet", f"--vcs-ref={tag}", "."
        )
        shutil.rmtree(project)
        return seconds

    def guarded_update(self, layout: str) -> float:
        """CPU seconds of the same update of the checkout with `copier-honeycomb update`."""
        project = self._folder / "guarded"
        shutil.copytree(self.original(layout, CHECKOUT), project, symlinks=True)
        options = ["--to", CHECKOUT.next_tag, "--project", str(project)]
        seconds = _cpu_seconds(ROOT, *TOOLS, "update", *options)
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

    def _commit(self, tag: str, parent: str, tree: str) -> None:
        parent = f"{parent}^{{commit}}"
        commit = _git(self._template, "commit-tree", "-p", parent, "-m", "Next", tree)
        _git(self._template, "tag", tag, commit)

    def _copy(self, project: Path, layout: str, state: State) -> float:
        project.mkdir()
        options = ["--defaults", "--quiet", f"--data=layout={layout}", f"--vcs-ref={state.tag}"]
        return _cpu_seconds(project, *COPIER, "copy", *options, str(self._template), ".")


def main() -> None:
    options = _options()
    console = new_console()
    with (
        tempfile.TemporaryDirectory(prefix="copying-", dir=MEMORY) as name,
        Progress(console=console, transient=True) as progress,
    ):
        projects = Projects(Path(name))
        rounds = progress.track(range(options.rounds), description="Measuring")
        report = {**conditions(), "rounds": options.rounds, **_measure(projects, rounds)}
    console.print(_table(report))
    console.print(
        f"\nAbove the {report['start_up']:.2f} s of `copier --version`; lowest of {options.rounds}"
        f" rounds.\n{report['date']}, {report['machine']}, Python {report['python']}."
    )
    save(report, options.json)
    check_limits(
        [
            f"{each['layout']}: {each['operation']}: {each['ratio']:.2f} > {each['limit']:.2f}"
            for each in report["compared"]
            if each["ratio"] > each["limit"]
        ]
        + [
            f"{layout}: copier-honeycomb update: {each['ratio']:.2f} > {GUARDED_LIMIT:.2f}"
            for layout, each in report["guarded"].items()
            if each["ratio"] > GUARDED_LIMIT
        ]
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="save the numbers to FILE")
    return parser.parse_args()


def _measure(projects: Projects, rounds: Iterable[int]) -> dict[str, Any]:
    """CPU seconds of each operation, lowest of all rounds, above Copier's start-up."""
    seconds: dict[tuple[str, ...], float] = {}

    def add(value: float, *key: str) -> None:
        seconds[key] = min(seconds.get(key, math.inf), value)

    for _ in rounds:
        add(projects.start_up(), "start-up")
        for layout in LAYOUTS:
            for state in (RELEASE, CHECKOUT, ONE_FILE):
                add(projects.copy(layout, state), layout, "copy", state.name)
                add(projects.update(layout, state, state.next_tag), layout, "update", state.name)
            add(projects.update(layout, RELEASE, CHECKOUT.tag), layout, "migration")
            add(projects.guarded_update(layout), layout, "guarded")
    start_up = seconds.pop(("start-up",))
    above = {key: value - start_up for key, value in seconds.items()}
    return {
        "start_up": start_up,
        "compared": [
            {
                "layout": layout,
                "operation": operation,
                "release": (release := above[layout, operation, RELEASE.name]),
                "checkout": (checkout := above[layout, operation, CHECKOUT.name]),
                "ratio": checkout / release,
                "one_file": above[layout, operation, ONE_FILE.name] / release,
                "limit": limit,
            }
            for layout in LAYOUTS
            for operation, limit in LIMITS.items()
        ],
        "guarded": {
            layout: {
                "seconds": (guarded := above[layout, "guarded"]),
                "ratio": guarded / above[layout, "update", CHECKOUT.name],
            }
            for layout in LAYOUTS
        },
        "update_from_release": {layout: above[layout, "migration"] for layout in LAYOUTS},
        "files": {
            layout: [projects.files(layout, state) for state in (RELEASE, CHECKOUT)]
            for layout in LAYOUTS
        },
    }


def _table(report: Mapping[str, Any]) -> Table:
    columns = ("layout", "CPU seconds", BASELINE, "checkout", "ratio", "one file", "limit")
    table = Table(*columns, box=box.MARKDOWN)
    for each in report["compared"]:
        values = (each[name] for name in ("release", "checkout", "ratio", "one_file", "limit"))
        table.add_row(each["layout"], each["operation"], *(f"{value:.2f}" for value in values))
    for layout in LAYOUTS:
        guarded = report["guarded"][layout]
        ratio, limit = (f"{value:.2f} of plain" for value in (guarded["ratio"], GUARDED_LIMIT))
        seconds = f"{guarded['seconds']:.2f}"
        table.add_row(layout, "copier-honeycomb update", "", seconds, ratio, "", limit)
        from_release = f"{report['update_from_release'][layout]:.2f}"
        table.add_row(layout, f"update from {BASELINE}", "", from_release, "", "", "")
        table.add_row(layout, "files", *map(str, report["files"][layout]), "", "", "")
    return table


def _cpu_seconds(folder: Path, *arguments: str) -> float:
    """User and system time of `python ARGUMENTS`, including the processes that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _run(folder, sys.executable, *arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.org"]
    return _run(folder, "git", *identity, *arguments).strip()


def _run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "TMPDIR": str(MEMORY or tempfile.gettempdir())},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
