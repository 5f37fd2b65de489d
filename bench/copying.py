"""How long `copier copy` and `copier update` take: medians of seconds, and of CPU seconds in brackets.

    uv run bench/copying.py [--rounds N]

The state at HEAD is copied, and projects of each release are updated to it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Final, TypeAlias

from hooks.release import ROOT, releases, tag_releases

CURRENT: Final = "v9999.0.0"
LAYOUTS: Final = ("new", "existing")

Times: TypeAlias = tuple[float, float]
"""Seconds on the clock, and seconds of CPU."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="copying-") as name:
        folder = Path(name)
        template = folder / "template"
        _run(folder, "git", "clone", "-q", str(ROOT), str(template))
        record = releases()
        tag_releases(template, record)
        _run(template, "git", "tag", CURRENT, "HEAD")
        print("| layout | files | copy | from | update |\n|---|---|---|---|---|")
        for layout in LAYOUTS:
            for version in record:
                print(_row(folder, template, layout, f"v{version}", rounds), flush=True)


def _row(folder: Path, template: Path, layout: str, version: str, rounds: int) -> str:
    copies, updates, files = [], [], 0
    for number in range(rounds):
        fresh = folder / f"{layout}-{version}-{number}-fresh"
        copies.append(_copy(template, fresh, layout, CURRENT))
        files = sum(path.is_file() for path in fresh.rglob("*"))
        project = folder / f"{layout}-{version}-{number}"
        try:
            _copy(template, project, layout, version)
        except subprocess.CalledProcessError:
            return (
                f"| {layout} | {files} | {_medians(copies)} | {version} | made no such projects |"
            )
        _run(project, "git", "init", "-q")
        _run(project, "git", "add", "-A")
        identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.org"]
        _run(project, "git", *identity, "commit", "-q", "-m", "Start")
        updates.append(_run(project, *_copier("update"), f"--vcs-ref={CURRENT}", "."))
    return f"| {layout} | {files} | {_medians(copies)} | {version} | {_medians(updates)} |"


def _medians(times: list[Times]) -> str:
    return f"{median(wall for wall, _ in times):.2f} ({median(cpu for _, cpu in times):.2f})"


def _copy(template: Path, project: Path, layout: str, version: str) -> Times:
    project.mkdir()
    options = ["--data", f"layout={layout}", f"--vcs-ref={version}"]
    return _run(project, *_copier("copy"), *options, str(template), ".")


def _copier(command: str) -> list[str]:
    return [sys.executable, "-m", "copier", command, "--defaults", "--quiet"]


def _run(folder: Path, *command: str) -> Times:
    """Runs a command, and returns what it took. Raises CalledProcessError."""
    start, cpu = time.perf_counter(), _cpu()
    subprocess.run(command, cwd=folder, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return time.perf_counter() - start, _cpu() - cpu


def _cpu() -> float:
    """Seconds of CPU that the ended processes of this one have used."""
    used = os.times()
    return used.children_user + used.children_system


if __name__ == "__main__":
    main()
