"""Copy the template into an existing repository, or move the module that was copied before."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from ..distribution import template_source
from ..wire.source import EditRefused

_ANSWERS: Final = ".copier-answers.yml"
_OTHER_ANSWERS: Final = ".copier-answers.honeycomb.yml"
_SECONDS: Final = 600


def answers_file(root: Path) -> Path | None:
    """Return the file with the template's answers, or None if the template was not copied yet."""
    for path in sorted(root.glob(".copier-answers*.yml")):
        if "honeycomb_region" in _read(path):
            return path
    return None


def copy_template(root: Path, answers: Mapping[str, str], skip: Sequence[str] = ()) -> None:
    """Copy this template into `root`. Raises EditRefused with Copier's reason if it refuses."""
    source = template_source()
    if source is None:
        raise EditRefused(
            "The address of the template is not known. Run: uvx --from git+URL-OF-THE-TEMPLATE"
            " copier-honeycomb adopt"
        )
    # The usual name belongs to another template, if the file exists.
    name = _OTHER_ANSWERS if (root / _ANSWERS).exists() else _ANSWERS
    _run(source.location, source.commit, root, answers, name, skip)


def move_module(root: Path, recorded: Path, answers: Mapping[str, str]) -> None:
    """Move the module of an earlier copy to where `answers` put it, unless it is there.

    Raises EditRefused if a file of that copy was edited.
    """
    before = _read(recorded)
    kept = {name: str(value) for name, value in before.items() if not name.startswith("_")}
    moved = ("package_dir", "import_name", "module_name")
    if all(kept.get(name, "observability") == answers[name] for name in moved):
        return
    source, commit = str(before["_src_path"]), str(before["_commit"])
    with tempfile.TemporaryDirectory() as folder:
        old, new = Path(folder) / "old", Path(folder) / "new"
        for target, data in ((old, kept), (new, kept | {name: answers[name] for name in moved})):
            target.mkdir()
            try:
                _run(source, commit, target, data, recorded.name)
            except EditRefused as refused:
                if "Unknown revision" not in str(refused):
                    raise
                # A copy of uncommitted changes. Files that differ from the newest commit are edited.
                _run(source, "HEAD", target, data, recorded.name)
        files = [path.relative_to(old) for path in sorted(old.rglob("*")) if path.is_file()]
        for path in files:
            if path.name != recorded.name and _differs(root / path, old / path):
                raise EditRefused(
                    f"{path} was edited, so the module is not moved. Undo the edit, or move the files"
                    " by hand and run `copier-honeycomb wire`."
                )
        for path in files:
            (root / path).unlink(missing_ok=True)
        _remove_empty_folders(root, files)
        shutil.copytree(new, root, dirs_exist_ok=True)


def _run(
    location: str,
    commit: str,
    root: Path,
    answers: Mapping[str, str],
    answers_name: str,
    skip: Sequence[str] = (),
) -> None:
    # -P: Python imports nothing from the current folder.
    command = [sys.executable, "-P", "-m", "copier", "copy", "--defaults", "--quiet"]
    command += ["--vcs-ref", commit, "--answers-file", answers_name]
    for name in skip:
        command += ["--skip", name]
    for name, value in answers.items():
        command += ["--data", f"{name}={value}"]
    try:
        done = subprocess.run(
            [*command, location, str(root)],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EditRefused(
            f"Copier could not be run ({error}). Fix this, then run it again."
        ) from None
    if done.returncode:
        raise EditRefused(f"The template was not copied: {_reason(done.stderr)}")


def _reason(output: str) -> str:
    """Return the sentence at the end of Copier's traceback."""
    line = (output.strip().splitlines() or ["Copier failed without a message"])[-1]
    return line.removeprefix("ValueError: ").partition(": ")[2] if "question '" in line else line


def _read(path: Path) -> dict[str, Any]:
    try:
        answers = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError):
        return {}
    return answers if isinstance(answers, dict) else {}


def _differs(path: Path, other: Path) -> bool:
    return path.exists() and path.read_bytes() != other.read_bytes()


def _remove_empty_folders(root: Path, files: Sequence[Path]) -> None:
    folders = {parent for path in files for parent in path.parents if parent != Path()}
    for folder in sorted(folders, key=lambda each: -len(each.parts)):
        if (root / folder).is_dir() and not any((root / folder).iterdir()):
            (root / folder).rmdir()
