"""Projects made by each release, edits of their users, and the expected result of an update."""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import copier
import yaml
from pathspec import GitIgnoreSpec

from hooks.release import Refused, releases, tag_releases

from ..conftest import TEMPLATE

CURRENT: Final = "9999.0.0"
"""The version of the working tree."""
NEXT: Final = "10000.0.0"
"""The version of a changed clone."""
ANSWERS_FILE: Final = ".copier-answers.yml"
RETIRED: Final = "hooks/questions/retired.jinja"
SOURCES: Final = ("copier.yml", "template", "hooks/questions", "CHANGELOG.md")
"""The files that a rendering depends on."""
LEFT_OUT: Final = (
    "honeycomb",
    "{{ service_tests_dir }}/*",
    "{{ observability_dir }}/integrations",
    "{{ observability_dir }}/_[!_g]*",
    "{{ service_dir }}/*/*",
)
"""The parts of template/ that a reduced template lacks."""
STARTED_ONCE: Final = (
    "/.gitignore",
    "/AGENTS.md",
    "/README.md",
    "/PACKAGE/__init__.py",
    "/PACKAGE/api",
    "/PACKAGE/generation",
    "/PACKAGE/providers",
    "/PACKAGE/spec_sessions",
    "/tests/*.py",
    "/tests/api",
    "/tests/generation",
    "/tests/providers",
    "/tests/spec_sessions",
)
"""Files of layout `new` that belong to the user from the first copy on."""

Files = dict[str, bytes]


def git(folder: Path, *arguments: str, check: bool = True) -> str:
    """Return the output of a git command, run for a user without settings."""
    identity = ["-c", "user.name=A user", "-c", "user.email=user@example.org"]
    plain = ["-c", "core.quotePath=false", "-c", "commit.gpgSign=false"]
    return subprocess.run(
        ["git", *identity, *plain, *arguments],
        cwd=folder,
        check=check,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ).stdout


def copy_sources(folder: Path) -> None:
    """Copy the template's sources to `folder`, uncommitted changes included."""
    listed = git(TEMPLATE, "ls-files", "-co", "--exclude-standard", *SOURCES)
    for name in listed.splitlines():
        if (TEMPLATE / name).exists():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((TEMPLATE / name).read_bytes())


@dataclass(frozen=True)
class Template:
    """A clone of this repository with its releases tagged, and the working tree as CURRENT."""

    folder: Path

    def release(self, version: str) -> None:
        git(self.folder, "add", "-A")
        git(self.folder, "commit", "-q", "--allow-empty", "-m", version)
        git(self.folder, "tag", f"v{version}")

    def retire(self, *paths: str) -> None:
        """List `paths` as managed files that CURRENT was the last release to have."""
        with (self.folder / RETIRED).open("a") as file:
            file.write(f"{CURRENT}:\n" + "".join(f"  - {path}\n" for path in paths))

    def copy(self, destination: Path, version: str, answers: dict[str, Any]) -> None:
        copier.run_copy(
            str(self.folder),
            destination,
            data=answers,
            defaults=True,
            quiet=True,
            vcs_ref=version if version == "HEAD" else f"v{version}",
        )


def clone(folder: Path) -> Template:
    """Clone this repository into `folder`, uncommitted changes included."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        git(folder.parent, "clone", "-q", str(TEMPLATE), str(folder))
        tag_releases(folder, releases())
    except (Refused, subprocess.CalledProcessError) as error:
        raise AssertionError(
            f"Updates cannot be tested without this repository's history: {error}"
        ) from None
    git(folder, "rm", "-rq", "--ignore-unmatch", *SOURCES)
    copy_sources(folder)
    template = Template(folder)
    template.release(CURRENT)
    # Each copy and each update clones it up to five times: one pack instead of thousands of files.
    git(folder, "gc", "-q", "--prune=now")
    return template


def reduced(folder: Path) -> Template:
    """Write a template with the settings and messages of this one, but few files and no releases.

    An update costs a third. It serves tests of behaviour that does not depend on the other files.
    """
    copy_sources(folder)
    for name in LEFT_OUT:
        for path in (folder / "template").glob(name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    git(folder, "init", "-q", "-b", "main")
    template = Template(folder)
    template.release(CURRENT)
    return template


def managed(project: Files) -> Files:
    """The files of a fresh copy that an update merges."""
    answers = yaml.safe_load(project[ANSWERS_FILE])
    if answers["layout"] == "existing":
        return project
    package = answers["package_name"]
    started_once = GitIgnoreSpec.from_lines(
        pattern.replace("PACKAGE", package) for pattern in STARTED_ONCE
    )
    return {name: text for name, text in project.items() if not started_once.match_file(name)}


@dataclass(frozen=True)
class Kind:
    """A kind of project: answers, and the repository that the template was copied into."""

    name: str
    answers: dict[str, Any]
    own: dict[str, str] = field(default_factory=dict)
    """Files of the repository, with their text."""
    folder: str = "."
    """The project's folder in its git repository."""

    def is_made_by(self, commit: str) -> bool:
        """Return true if the release at `commit` supports this layout."""
        settings = git(TEMPLATE, "show", f"{commit}:copier.yml", check=False)
        # The text of releases without layout `existing`. Missing history fails the tests themselves.
        return self.answers["layout"] == "new" or "is not there yet" not in settings


SERVER: Final = "from fastapi import FastAPI\n\napp = FastAPI()\n"
KINDS: Final = (
    Kind("new", {"layout": "new", "project_name": "order-intake", "package_name": "order_intake"}),
    Kind(
        "new with other answers",
        {
            "layout": "new",
            "project_name": "n" * 40,
            "package_name": "p" * 40,
            "honeycomb_region": "eu",
            "honeycomb_plan": "enterprise",
            "otlp_protocol": "grpc",
            "modal_secret": "elsewhere",
        },
    ),
    Kind(
        "package",
        {"layout": "existing", "project_name": "acme", "honeycomb_plan": "pro"},
        {"pyproject.toml": "", "src/acme/__init__.py": "", "src/acme/main.py": SERVER},
        folder="services/acme",
    ),
    Kind(
        "scripts",
        {"layout": "existing", "project_name": "acme", "otlp_protocol": "grpc"},
        {"requirements.txt": "fastapi\n", "main.py": SERVER},
    ),
)


def made() -> list[tuple[Kind, str]]:
    """Each kind of project with each release that supports it, or else with the working tree."""
    found = []
    for kind in KINDS:
        versions = [version for version, commit in releases().items() if kind.is_made_by(commit)]
        found += [(kind, version) for version in versions or [CURRENT]]
    return found


def oldest() -> list[tuple[Kind, str]]:
    """Each kind of project with the oldest release that supports it."""
    return list({kind.name: (kind, version) for kind, version in reversed(made())}.values())[::-1]


def contents(folder: Path) -> Files:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }


def executables(folder: Path) -> set[str]:
    return {name for name in contents(folder) if os.access(folder / name, os.X_OK)}


@dataclass
class Project:
    """A user's project, made by a release of the template."""

    template: Template
    kind: Kind
    folder: Path
    base: Files
    """The managed files of the release."""
    fresh: Files
    """The managed files of a fresh copy of the working tree."""

    def edit(self, change: Callable[[str, bytes], bytes | None]) -> None:
        """Replace each managed file by the result of `change`, or delete it for None."""
        for name, text in self.base.items():
            changed = text if name == ANSWERS_FILE else change(name, text)
            if changed is None:
                (self.folder / name).unlink()
            else:
                (self.folder / name).write_bytes(changed)

    def commit(self) -> None:
        git(self.folder, "add", "-A")
        git(self.folder, "commit", "-q", "--allow-empty", "-m", "Mine")

    def update(self, version: str = CURRENT, **answers: Any) -> None:
        """Commit, then update as `copier update --defaults` does."""
        self.commit()
        copier.run_update(
            self.folder,
            data=answers,
            defaults=True,
            overwrite=True,
            quiet=True,
            unsafe=False,
            vcs_ref=f"v{version}",
        )

    def conflicts(self) -> set[str]:
        """The files that git lists as unmerged."""
        listed = git(self.folder, "ls-files", "--unmerged", ".").splitlines()
        return {line.split("\t")[1] for line in listed}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def expected(before: Files, base: Files, fresh: Files) -> Files:
    """The files after an update of `before`.

    Every file of the user is kept. A managed file is merged as git merges it (a retired file is merged with
    an empty one), any other is unchanged. A file that the user deleted stays deleted, and new managed
    files are created.
    """
    after = {
        name: merge(mine, base.get(name, b""), fresh.get(name, b""))
        if name in base or name in fresh
        else mine
        for name, mine in before.items()
    }
    arriving = {name: text for name, text in fresh.items() if name not in base | before}
    return after | arriving | {ANSWERS_FILE: fresh[ANSWERS_FILE]}


@cache
def merge(mine: bytes, base: bytes, theirs: bytes) -> bytes:
    """Merge three versions as git does, with Copier's labels at the markers of a conflict."""
    if mine in (base, theirs):
        return theirs
    if base == theirs:
        return mine
    with TemporaryDirectory() as folder:
        versions = {"before updating": mine, "last update": base, "after updating": theirs}
        for name, text in versions.items():
            (Path(folder) / name).write_bytes(text)
        labels = [option for name in versions for option in ("-L", name)]
        return subprocess.run(
            ["git", "merge-file", "-p", *labels, *versions],
            cwd=folder,
            check=False,
            capture_output=True,
        ).stdout


def losses(before: Files, base: Files, after: Files) -> list[str]:
    """The files that an update deleted, and the lines of the user that it deleted."""
    lost = []
    for name, mine in before.items():
        if name == ANSWERS_FILE:
            continue
        if name not in after:
            lost.append(
                f"{name} would be deleted from the user's project. If the template dropped it, list"
                f" it in {RETIRED}, and mention it in CHANGELOG.md"
            )
        else:
            here = set(after[name].splitlines())
            own = set(mine.splitlines()) - set(base.get(name, b"").splitlines())
            lost += [f"{name} loses {line!r}" for line in sorted(own - here)]
    return lost
