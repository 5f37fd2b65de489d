"""A template with two releases and few files, and a project of the first: an update lasts a second."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..honeycomb.conftest import Commands, Result
from ..template.projects import ANSWERS_FILE, git, write

GUIDE: Final = "docs/guide.md"
SPANS: Final = "shop/observability/spans.py"
DROPPED: Final = "shop/observability/old/export.py"
BOARD: Final = "honeycomb/boards/overview.json"
NEW_BOARD: Final = "honeycomb/boards/costs.json"

_LINES: Final = [f"Line {number}.\n" for number in range(1, 21)]
_SETTINGS: Final = """\
_subdirectory: template
_answers_file: .copier-answers.yml
project_name: {type: str, default: shop}
honeycomb_region: {type: str, default: us, choices: [us, eu]}
layout: {type: str, default: new}
"""
_PROJECT: Final = '[project]\nname = "shop"\nversion = "1"\ndependencies = ["fastapi"]\n'
_FIRST: Final = {
    "CHANGELOG.md": "# Changelog\n\n## 1.0.0 - 2026-01-01\n\nThe first.\n",
    "copier.yml": _SETTINGS,
    "template/{{ _copier_conf.answers_file }}.jinja": "{{ _copier_answers | to_nice_yaml -}}\n",
    f"template/{GUIDE}": "".join(_LINES),
    f"template/{SPANS}": "".join(f"line_{number} = {number}\n" for number in range(1, 21)),
    f"template/{DROPPED}": "EXPORT = 1\n",
    f"template/{BOARD}": "{}\n",
    "template/region.txt.jinja": "{{ honeycomb_region }}\n",
    "template/pyproject.toml": _PROJECT,
}
_SECOND: Final = {
    "CHANGELOG.md": "# Changelog\n\n## 2.0.0 - 2026-02-01\n\nLine 3 is new: `${{ x }}`.\n\n"
    "## 1.0.0 - 2026-01-01\n\nThe first.\n",
    f"template/{GUIDE}": "".join(_LINES).replace("Line 3.", "The third line."),
    f"template/{SPANS}": _FIRST[f"template/{SPANS}"] + "line_21 = 21\n",
    f"template/{DROPPED}": "",
    f"template/{NEW_BOARD}": "{}\n",
    "template/pyproject.toml": _PROJECT.replace('"fastapi"', '"fastapi", "httpx"'),
}
CONFLICT: Final = (
    "<<<<<<< before updating\nMy third line.\n=======\nThe third line.\n>>>>>>> after updating\n"
)


def release_template(folder: Path) -> None:
    """Write the template to `folder`, with the releases v1.0.0 and v2.0.0."""
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    for release, files in (("v1.0.0", _FIRST), ("v2.0.0", _SECOND)):
        write(folder, files)
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "-m", release)
        git(folder, "tag", release)


@dataclass
class Small:
    """A project in its repository."""

    template: Path
    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, **variables: str) -> Result:
        return Commands(self.folder).run("update", *arguments, **self.variables, **variables)

    def refused(self, sentence: str, *arguments: str, **variables: str) -> None:
        """Check that the update is refused with `sentence`, and changes nothing."""
        before = self.state()
        done = self.run(*arguments, **variables)
        assert (done.code, done.out) == (1, "")
        assert done.err == f"Error: {sentence} Nothing was changed.\n"
        assert self.state() == before

    def read(self, name: str) -> str:
        return (self.folder / name).read_bytes().decode()

    def edit(self, name: str, old: str, new: str) -> None:
        text = self.read(name)
        assert old in text
        (self.folder / name).write_bytes(text.replace(old, new).encode())

    def commit(self) -> None:
        git(self.folder, "add", "-A", "-f")
        git(self.folder, "commit", "-q", "-m", "Mine")

    def files(self) -> dict[str, str]:
        """Every file, and link, of the project."""
        found = {}
        for parent, folders, names in os.walk(self.folder):
            if ".git" in folders:
                folders.remove(".git")
            for name in [*names, *folders]:
                place = Path(parent, name)
                if place.is_symlink():
                    found[str(place.relative_to(self.folder))] = f"-> {place.readlink()}"
                elif place.is_file():
                    found[str(place.relative_to(self.folder))] = place.read_bytes().decode(
                        "latin-1"
                    )
        return found

    def state(self) -> tuple[dict[str, str], str]:
        return self.files(), git(self.folder, "status", "--porcelain", "--ignored", check=False)


def copy_small(template: Path, rendered: Path, folder: Path) -> Small:
    """A project of release v1.0.0 in `folder`, a copy of `rendered`."""
    shutil.copytree(rendered, folder)
    git(folder, "init", "-q", "-b", "main")
    small = Small(template, folder)
    small.commit()
    return small


__all__ = [
    "ANSWERS_FILE",
    "BOARD",
    "CONFLICT",
    "DROPPED",
    "GUIDE",
    "NEW_BOARD",
    "SPANS",
    "Small",
    "copy_small",
    "release_template",
]
