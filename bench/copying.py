"""How long a copy and an update take, as a user waits for them: medians of `copier` commands."""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Final

from hooks.release import ROOT, releases, tag_releases

CURRENT: Final = "v9999.0.0"
LAYOUTS: Final = ("new", "existing")


def main() -> None:
    """Prints a table of seconds, after `--rounds` rounds. The state at HEAD is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="copying-") as name:
        folder = Path(name)
        template = folder / "template"
        _run(folder, "git", "clone", "-q", str(ROOT), str(template))
        record = releases()
        tag_releases(template, record)
        _run(template, "git", "tag", CURRENT, "HEAD")
        print("| layout | files | copy | update from | seconds |\n|---|---|---|---|---|")
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
            return f"| {layout} | {files} | {median(copies):.2f} | {version} | did not make such |"
        _run(project, "git", "init", "-q")
        _run(project, "git", "add", "-A")
        identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.org"]
        _run(project, "git", *identity, "commit", "-q", "-m", "Start")
        updates.append(_run(project, *_copier("update"), f"--vcs-ref={CURRENT}", "."))
    return f"| {layout} | {files} | {median(copies):.2f} | {version} | {median(updates):.2f} |"


def _copy(template: Path, project: Path, layout: str, version: str) -> float:
    project.mkdir()
    options = ["--data", f"layout={layout}", f"--vcs-ref={version}"]
    return _run(project, *_copier("copy"), *options, str(template), ".")


def _copier(command: str) -> list[str]:
    return [sys.executable, "-m", "copier", command, "--defaults", "--quiet"]


def _run(folder: Path, *command: str) -> float:
    """Runs a command, and returns its seconds. Raises CalledProcessError."""
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
