"""Run `copier update` on a copy of the project, where no setting of the user reaches it."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import UpdateRefused
from .git import Git, isolate
from .template import Template

_ATTRIBUTES = "* -text -ident !filter !working-tree-encoding !merge !diff\n"
"""Line ends and filters are the user's, and stay out of the copy."""

Files = dict[str, bytes]


@dataclass(frozen=True)
class Request:
    """Options of `copier update`."""

    answers_file: str
    release: str | None = None
    answers: Sequence[str] = ()
    exclude: Sequence[str] = ()

    def arguments(self) -> list[str]:
        found = ["update", "--defaults", "--quiet", f"--answers-file={self.answers_file}"]
        if self.release:
            found.append(f"--vcs-ref={self.release}")
        found += [f"--data={answer}" for answer in self.answers]
        return found + [f"--exclude={pattern}" for pattern in self.exclude]


@dataclass(frozen=True)
class Updated:
    """The result of an update."""

    base: Files
    """The managed files of the project's release."""
    new: Files
    """The managed files of the release that it is updated to."""
    after: Files
    unmerged: frozenset[str]
    executable: frozenset[str]


def run_copier(
    files: Files,
    executable: frozenset[str],
    template: Template,
    request: Request,
    workspace: Path,
    name: str,
) -> Updated:
    """Update the project with `files` in `workspace`. Raises UpdateRefused if Copier fails."""
    renderings = workspace / "renderings"
    project = workspace / "project" / name
    variables = isolate(workspace, template.aliases, renderings)
    git = Git(project, variables)
    _write(project, files, executable)
    git("init", "-q")
    (project / ".git/info").mkdir(exist_ok=True)
    (project / ".git/info/attributes").write_text(_ATTRIBUTES)
    git("add", "--all", "--force")
    git("-c", f"core.hooksPath={os.devnull}", "commit", "-q", "--allow-empty", "-m", "Before")
    _update(project, template, request, variables)
    base, new = _renderings(renderings, request.answers_file)
    unmerged = git("ls-files", "-z", "--unmerged").split(b"\0")
    return Updated(
        base,
        new,
        _read(project),
        frozenset(os.fsdecode(line.split(b"\t", 1)[1]) for line in unmerged if line),
        frozenset(path for path in _read(project) if os.access(project / path, os.X_OK)),
    )


def _update(
    project: Path, template: Template, request: Request, variables: Mapping[str, str]
) -> None:
    # -P: Python imports nothing from the current folder.
    command = [sys.executable, "-P", "-W", "ignore", "-m", "copier"]
    done = subprocess.run(
        [*command, *request.arguments(), str(project)],
        cwd=template.folder,
        env=variables,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    if done.returncode != 0:
        raise UpdateRefused(_reason(done.stdout, project))


def _reason(output: str, project: Path) -> str:
    """One sentence for the error that Copier printed, and the remedy."""
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["no output"]
    error = next((line for line in lines if "requires Copier version" in line), lines[-1])
    error = re.sub(r"^[\w.]*(Error|Exception): ", "", error).replace(f"{project}/", "")
    if "No module named" in error:
        return "Copier is not installed. Install it beside this command: `pip install copier`."
    if "requires Copier version" in error:
        return f"{error.rstrip('.')}. Run this command with `uvx --refresh`, which uses the latest Copier."
    if "Downgrades" in error:
        return f"{error} To return to an earlier release, revert the commit of the update."
    if revision := re.search(r"Unknown revision: '?([^']+)'?", error):
        return (
            f"The template has no release {revision[1]}. If its tag is missing in your clone of the"
            " template, run `git fetch --tags` there, with `--unshallow` if it is shallow."
        )
    if "File exists" in error or "Not a directory" in error or "assert is_dir" in output:
        place = re.search(r"'([^']+)'", error)
        named = f" ({place[1]})" if place else ""
        return (
            f"A file of yours has the name of a folder of the template, or the reverse{named}."
            " Rename yours and commit."
        )
    return f"Copier cannot update the project: {error}"


def _renderings(folder: Path, answers_file: str) -> tuple[Files, Files]:
    order = folder / "order"
    names = order.read_text(encoding="utf-8").splitlines() if order.exists() else []
    found = [folder / name for name in names if (folder / name / answers_file).is_file()]
    if len(found) < 2:
        raise UpdateRefused(
            "This version of Copier works differently, and the update could not be verified. Run this"
            " command with `uvx --refresh`, which uses the latest release of the template's tools."
        )
    return _read(found[0]), _read(found[1])


def _write(folder: Path, files: Files, executable: frozenset[str]) -> None:
    folder.mkdir(parents=True)
    for path, content in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        if path in executable:
            place.chmod(0o755)


def _read(folder: Path) -> Files:
    found = {}
    for parent, folders, names in os.walk(folder):
        if ".git" in folders and Path(parent) == folder:
            folders.remove(".git")
        for name in names:
            place = Path(parent, name)
            found[place.relative_to(folder).as_posix()] = place.read_bytes()
    return found
