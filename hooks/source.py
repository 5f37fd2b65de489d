"""The address of the template: as it is recorded, as git clones it, and as `uvx --from` accepts it.

`hooks/questions/template_source.jinja` does the same in Jinja.
"""

import re
import shlex
from pathlib import Path
from typing import Final
from urllib.parse import quote

_ALIASES: Final = {"gh:": "https://github.com/", "gl:": "https://gitlab.com/"}
_WINDOWS_DRIVE: Final = re.compile(r"[A-Za-z]:[/\\]")
_SCP: Final = re.compile(r"(?P<host>[\w.+-]+@[\w.-]+|[\w.-]{2,}):(?!//)/?(?P<path>.+)")
"""`git@github.com:acme/template.git`, or a host of ~/.ssh/config without a user."""
_RELEASE: Final = re.compile(r"v?\d+([.]\d+)+(\.?(a|b|rc|post|dev)\d+)*")


def without_credentials(source: str) -> str:
    """`source` without the user name and password of an HTTP URL, or the password of any other."""
    address = re.sub(r"(?i)^((?:git\+)?https?://)[^/]*@", r"\1", source)
    return re.sub(r"(?i)^([a-z+]+://[^/:@]*):[^/]*@", r"\1@", address)


def clone_url(source: str) -> str:
    """`source` as git accepts it: aliases expanded, without `git+`."""
    for alias, url in _ALIASES.items():
        if source.startswith(alias):
            return url + source[len(alias) :].lstrip("/")
    return source.removeprefix("git+")


def is_folder(source: str) -> bool:
    """Return true if `source` is a path, rather than a URL or an SSH address."""
    if _WINDOWS_DRIVE.match(source):
        return True
    return "://" not in source and not source.startswith(tuple(_ALIASES)) and not _SCP.match(source)


def requirement(source: str, release: str) -> str:
    """`source` as `uvx --from` accepts it, at `release` if that can be resolved later.

    `release` is recorded by Copier: a tag, or the output of `git describe`, which for a folder may
    name a commit that no longer exists.
    """
    source = without_credentials(source)
    tag = release if _RELEASE.fullmatch(release) else ""
    if is_folder(source):
        path = source.replace("\\", "/")
        if not _WINDOWS_DRIVE.match(path):
            path = Path(path).expanduser().resolve().as_posix()
        return f"git+file:///{quote(path.lstrip('/'), safe='/:')}@{tag}" if tag else path
    commit = tag or (release.rpartition("-g")[2] if "-g" in release else "")
    return _git_url(clone_url(source)) + (f"@{commit}" if commit else "")


def tool(source: str, release: str) -> str:
    """The beginning of a command line that runs the tools of the template."""
    return f"uvx --from {shlex.quote(requirement(source, release))} copier-honeycomb"


def _git_url(url: str) -> str:
    if scp := (None if "://" in url else _SCP.fullmatch(url)):
        url = f"ssh://{scp['host']}/{scp['path']}"
    return f"git+{url}"
