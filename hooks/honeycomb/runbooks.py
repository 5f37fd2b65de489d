"""Links from descriptions in Honeycomb to the runbooks in the project's repository."""

import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

RUNBOOKS: Final = "docs/runbooks.md"
_ANCHORS: Final = (
    ("/_git/", "&_a=preview&anchor="),
    ("bitbucket", "#markdown-header-"),
    ("", "#"),
)
"""Part of a URL, and the beginning of an anchor on such a host."""
_LINK: Final = re.compile(
    rf"(https?://\S+?/)?{re.escape(RUNBOOKS)}"
    rf"({'|'.join(re.escape(anchor) for _, anchor in _ANCHORS)})?"
)
# SCP-like and URL-like addresses of a remote: the host without its port, and the path.
_REMOTE: Final = re.compile(
    r"(?:(?:https?|ssh|git)://(?:[^@/]+@)?(?P<host>[^/:]+)(?::\d+)?/|(?:[^@/]+@)(?P<scp>[^/:]+):)"
    r"(?P<path>\S+?)(?:\.git)?/?"
)
_TREES: Final = (("gitlab", "/-/blob/HEAD/"), ("bitbucket", "/src/HEAD/"), ("", "/blob/HEAD/"))
"""Part of a host's name, and the path to a file of the default branch on such a host."""


def with_links(base: str | None) -> Callable[[str], str]:
    """Replace the path of the runbooks in a text by its URL, if `base` is known."""
    anchor = next(anchor for part, anchor in _ANCHORS if part in (base or ""))
    return lambda text: _LINK.sub(
        lambda link: f"{base or ''}{RUNBOOKS}{anchor if link[2] else ''}", text
    )


def base_from_git(project: Path) -> str | None:
    """The URL of the project's folder in its repository, from the remote of git."""
    remotes = _git(project, "remote").split()
    if not remotes:
        return None
    name = "origin" if "origin" in remotes else remotes[0]
    return base_of(_git(project, "remote", "get-url", name), project)


def base_of(repository: str, project: Path) -> str | None:
    """The URL of the project's folder in a repository, or None if it is not a URL of one."""
    remote = _REMOTE.fullmatch(repository.strip())
    if remote is None:
        return None
    host, path = remote["host"] or remote["scp"], remote["path"]
    folder = quote(_git(project, "rev-parse", "--show-prefix").strip())
    if azure := _azure_repository(host, path):
        return f"https://{azure}?path=/{folder}"
    tree = next(tree for name, tree in _TREES if name in host)
    return f"https://{host}/{path}{tree}{folder}"


def _azure_repository(host: str, path: str) -> str | None:
    """The page of a repository in Azure DevOps, without the scheme."""
    parts = path.split("/")
    if host in ("ssh.dev.azure.com", "vs-ssh.visualstudio.com") and len(parts) == 4:
        _, organization, project, repository = parts
        return f"dev.azure.com/{organization}/{project}/_git/{repository}"
    if "_git" not in parts:
        return None
    organization, _, domain = host.partition(".")
    if domain == "visualstudio.com":
        return f"dev.azure.com/{organization}/{path.removeprefix('DefaultCollection/')}"
    return f"{host}/{path}"


def base_in(bodies: Iterable[Any]) -> str | None:
    """The URL that an earlier apply has put into a description."""
    for body in bodies:
        link = _LINK.search(str(body.get("description") or ""))
        if link and link[1]:
            return link[1]
    return None


def _git(project: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", project, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            text=True,
            timeout=30,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
