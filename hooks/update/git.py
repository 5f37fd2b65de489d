"""git, with the settings of the user or with none."""

import os
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .errors import UpdateRefused

_REPOSITORY_VARIABLES: Final = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_INDEX_FILE",
    "GIT_LITERAL_PATHSPECS",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_WORK_TREE",
)
"""Set in a hook or an alias of git; they would redirect commands to its repository."""
_CONFIG: Final = """\
[core]
\tattributesFile = {null}
\texcludesFile = {null}
\thooksPath = {hooks}
\tautocrlf = false
\tfsync = none
[init]
\tdefaultBranch = main
\ttemplateDir =
[user]
\tname = copier-honeycomb
\temail = copier-honeycomb@localhost
[safe]
\tdirectory = *
[gc]
\tauto = 0
"""


class GitError(Exception):
    """A git command failed. The text is its output."""

    @property
    def reason(self) -> str:
        """The last line of git's output that names an error."""
        lines = str(self).splitlines() or ["no output"]
        named = [line for line in lines if line.startswith(("fatal: ", "error: "))]
        return (named or lines)[-1].removeprefix("fatal: ").removeprefix("error: ").rstrip(".")


def user_variables() -> dict[str, str]:
    """The environment of git commands in the user's repository."""
    kept = {name: value for name, value in os.environ.items() if name not in _REPOSITORY_VARIABLES}
    return kept | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"}


@dataclass(frozen=True)
class Git:
    """Runs git commands in `folder`."""

    folder: Path
    variables: Mapping[str, str] = field(default_factory=user_variables)

    def __call__(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """Return the output of a command. Raises GitError if it fails."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.folder,
            env=self.variables,
            input=stdin,
            check=False,
            capture_output=True,
        )
        if done.returncode != 0:
            raise GitError((done.stderr or done.stdout).decode(errors="replace").strip())
        return done.stdout

    def line(self, *arguments: str) -> str:
        """Return the output of a command without its line break."""
        return os.fsdecode(self(*arguments)).removesuffix("\n")

    def succeeds(self, *arguments: str) -> bool:
        try:
            self(*arguments)
        except GitError:
            return False
        return True


def isolate(workspace: Path, aliases: Mapping[str, Path], renderings: Path) -> dict[str, str]:
    """Return an environment without any setting of the user or the machine.

    Each URL in `aliases` is cloned from that folder instead. A hook copies each folder that is
    committed in this environment to `renderings`, once, and lists them in order in `order`. Raises
    UpdateRefused if a hook cannot run there.
    """
    if hasattr(os, "statvfs") and os.statvfs(workspace).f_flag & getattr(os, "ST_NOEXEC", 0):
        raise UpdateRefused(
            f"git cannot run a hook in {workspace.parent}, which does not allow programs to run."
            " Set TMPDIR to another folder, and update again."
        )
    hooks = workspace / "hooks"
    hooks.mkdir()
    renderings.mkdir()
    config = _CONFIG.format(null=_quote(os.devnull), hooks=_quote(hooks.as_posix()))
    for url, folder in aliases.items():
        config += f"[url {_quote(folder.as_posix())}]\n\tinsteadOf = {_quote(url)}\n"
    (workspace / "gitconfig").write_text(config, encoding="utf-8")
    hook = hooks / "post-commit"
    hook.write_text(
        "#!/bin/sh\n"
        f"cd {shlex.quote(renderings.as_posix())} || exit\n"
        'name=$(basename "$OLDPWD")\n'
        '[ -e "$name" ] || { cp -R "$OLDPWD" "$name" && echo "$name" >> order; }\n',
        encoding="utf-8",
    )
    hook.chmod(0o755)
    temporary = workspace / "tmp"
    temporary.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return kept | {
        "COPIER_CACHE_DIR": str(workspace / "cache"),
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(workspace / "gitconfig"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "LC_ALL": "C",
        "NO_COLOR": "1",
        "PYTHONUTF8": "1",
        **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary)),
    }


def _quote(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
