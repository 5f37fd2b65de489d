"""The template of a project: fetched with the user's access to it, and its changelog."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .. import source
from ..project import Project
from .errors import UpdateRefused
from .git import Git, GitError


@dataclass(frozen=True)
class Template:
    """The template's repository on this machine."""

    repository: Path
    address: str
    """The recorded address, without credentials."""
    folder: Path = field(default_factory=Path.cwd)
    """The folder that a relative address refers to."""
    aliases: Mapping[str, Path] = field(default_factory=dict)
    """The URL that Copier clones, and the clone to use instead."""

    @property
    def location(self) -> str:
        """The address, absolute if it is a folder."""
        if source.is_folder(self.address):
            return str(self.folder / Path(self.address).expanduser())
        return self.address

    def changes(self, old: str, new: str) -> list[str]:
        """The sections of the changelog at release `new` that are later than release `old`."""
        try:
            changelog = Git(self.repository)("show", f"{new}:CHANGELOG.md").decode(errors="replace")
        except GitError:
            return []
        if old == new:
            return []
        text = re.sub(r"<!--.*?-->", "", changelog, flags=re.DOTALL)
        sections = [section.strip() for section in text.split("\n## ")[1:]]
        newer: list[str] = []
        for section in sections:
            if section.split()[0] == old.removeprefix("v"):
                return newer
            newer.append(section)
        # `old` is not in the changelog.
        return sections[:1]


def fetch_template(project: Project, workspace: Path) -> Template:
    """The template of `project`, cloned into `workspace` if it is remote.

    The clone uses the user's own git settings, and so their credentials. Raises UpdateRefused if
    the template cannot be reached.
    """
    recorded = str(project.answers.get("_src_path", ""))
    address = source.without_credentials(recorded)
    moved = f"If it moved, set its address as `_src_path` in {project.answers_file}, and commit."
    if source.is_folder(recorded):
        folder = _folder_of_relative_path(recorded, project.root)
        path = folder / Path(recorded).expanduser()
        if not path.exists():
            raise UpdateRefused(f"The template {recorded} does not exist. {moved}")
        if path.is_dir():
            try:
                Git(path)("rev-parse", "HEAD")
            except GitError as error:
                raise UpdateRefused(
                    f"git cannot read the template {path}: {error.reason}. {moved}"
                ) from None
            return Template(path, address, folder)
        return Template(_clone(str(path), workspace, moved), address, folder)
    url = source.clone_url(recorded)
    clone = _clone(url, workspace, moved)
    # Copier may add `.git` to the URL, and git finds the clone with and without it.
    alias = source.clone_url(address).removesuffix(".git")
    return Template(clone, address, aliases={alias: clone.with_suffix("")})


def _folder_of_relative_path(path: str, root: Path) -> Path:
    """The first folder that has `path`: the current one, or one that contains the project."""
    for folder in (Path.cwd(), root, *root.parents):
        if (folder / path).exists():
            return folder
    return Path.cwd()


def _clone(url: str, workspace: Path, moved: str) -> Path:
    clone = workspace / "template.git"
    try:
        Git(workspace)("clone", "--quiet", "--bare", "--", url, str(clone))
    except GitError as error:
        reason = re.sub(r"://[^/\s'\"]*@", "://", error.reason)
        raise UpdateRefused(
            f"The template {source.without_credentials(url)} cannot be reached"
            f" ({reason}). Check the network and your access."
            f" {moved}"
        ) from None
    return clone


def answers_without_credentials(project: Project) -> tuple[bytes, bool]:
    """The answers file without credentials in the address of the template, and if it had any."""
    text = (project.root / project.answers_file).read_bytes()
    recorded = str(project.answers.get("_src_path", ""))
    clean = source.without_credentials(recorded)
    return text.replace(os.fsencode(recorded), os.fsencode(clean)), clean != recorded
