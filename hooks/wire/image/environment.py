"""Environments on this machine with the packages that an image would contain."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import platformdirs

from ...interpreter import PROGRAMS, site_packages
from ...terminal import progress
from ..routes.container import Container
from .commands import UvCommand, uv_commands
from .errors import ImageNotBuilt, NotInstallable, NotInstalled

_DAY: Final = 24 * 3600
_MAX_AGE: Final = 7 * _DAY
_MAX_FILE: Final = 1_000_000
_MAX_REASON: Final = 300
_UNREACHABLE: Final = re.compile(
    r"(?i)network was disabled|dns error|error sending request|failed to fetch|tcp connect"
)
# A package of a private index.
_UNKNOWN: Final = re.compile(
    r"not found in the (?:package registry|provided package)|no versions of"
)
_UNSET: Final = ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONPATH", "UV_SYSTEM_PYTHON", "UV_NO_SYNC",
                 "UV_PROJECT", "UV_FROZEN", "UV_LOCKED", "UV_PYTHON", "UV_TARGET")  # fmt: skip


@dataclass(frozen=True)
class ImageEnvironment:
    """An environment with the packages of an image."""

    python: Path
    version: str
    """The version of Python, such as `3.12`."""
    packages: int
    """The number of packages."""


@dataclass(frozen=True)
class _Installer:
    """Runs uv until a deadline."""

    uv: str
    root: Path
    """The folder of the repository's files."""
    deadline: float

    def run(
        self,
        words: Sequence[str],
        label: str,
        folder: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> str:
        """Run uv and return its output. Raises NotInstalled if it fails or is not done in time."""
        kept = {name: text for name, text in os.environ.items() if name not in _UNSET}
        settings = {"NO_COLOR": "1", "UV_NO_PROGRESS": "1", "UV_PYTHON_DOWNLOADS": "never"}
        started = time.monotonic()
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(
                [self.uv, *words],
                cwd=folder or tempfile.gettempdir(),
                env={**kept, **settings, **(variables or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
            )
            try:
                while process.poll() is None:
                    now = time.monotonic()
                    if now > self.deadline:
                        raise NotInstalled(
                            "there was not enough time to install them; run `copier-honeycomb wire"
                            " --check --wait 600`"
                        )
                    if now > started + 1:
                        left = int(self.deadline - now)
                        progress(f"Installing the packages of {label} (at most {left} s more) ...")
                    time.sleep(0.05)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
            output.seek(0)
            errors.seek(0)
            if process.returncode:
                raise _failure(label, errors.read())
            return output.read()

    def install(self, command: UvCommand, environment: Path) -> None:
        """Run a command in a folder with its files, for `environment`."""
        with tempfile.TemporaryDirectory() as folder:
            for path, file in command.files.items():
                _lay_out(Path(folder), path, file, self.root)
            words = [*command.words, "--python", str(_python(environment))]
            if command.words[0] == "sync":
                words.append("--inexact")
            variables = {**command.variables, "UV_PROJECT_ENVIRONMENT": str(environment)}
            working = Path(folder) / command.folder.relative_to("/")
            self.run(words, str(command.place), working, variables)


def image_environment(
    container: Container, root: Path, local: Path | None, seconds: int
) -> ImageEnvironment:
    """Return an environment with the packages of `container`, and its Python if uv has that.

    `root` is the folder of the repository's files, and `local` the interpreter whose Python is used
    otherwise. The environment is made once, within `seconds`, and kept for some days; after a day,
    packages without a fixed version are resolved again. Raises NotInstalled.
    """
    commands = uv_commands(container)
    if not commands:
        raise NotInstalled("no command that installs packages was found")
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        raise NotInstalled("this needs uv; install it (https://docs.astral.sh/uv)")
    installer = _Installer(uv, root, time.monotonic() + seconds)
    python, version = _interpreter(installer, container, local)
    wanted = ".".join(map(str, container.python or ())) or version
    parts = [
        version,
        container.client,
        *(text for each in commands for text in each.content(container.read)),
    ]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    folder = platformdirs.user_cache_path("copier-honeycomb") / "images" / key
    made = folder / "made"
    if not made.exists() or time.time() - made.stat().st_mtime > _DAY:
        try:
            _make(installer, python, commands, container.client, folder)
        except NotInstalled as error:
            if not made.exists():  # else the older environment is used
                if isinstance(error, NotInstallable) and wanted != version:
                    raise NotInstalled(
                        f"with Python {version}, {error}. To use Python {wanted} as the image, run"
                        f" `uv python install {wanted}`"
                    ) from None
                raise
    packages = sum(len(list(each.glob("*.dist-info"))) for each in site_packages(folder))
    return ImageEnvironment(_python(folder), version, packages)


def _make(
    installer: _Installer,
    python: str,
    commands: Sequence[UvCommand],
    client: str,
    folder: Path,
) -> None:
    """Create the environment `folder`, and replace an older one. Remove all that are too old."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for each in folder.parent.glob("*/made"):
        if time.time() - each.stat().st_mtime > _MAX_AGE:
            shutil.rmtree(each.parent, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as temporary:
        new = Path(temporary) / "environment"
        label = str(commands[-1].place)
        installer.run(["venv", "--no-project", "--python", python, str(new)], label)
        for command in commands:
            installer.install(command, new)
        [packages] = site_packages(new)
        if not (packages / "fastapi").exists():
            places = ", ".join(dict.fromkeys(str(each.place) for each in commands))
            raise NotInstalled(f"FastAPI is not among those that {places} installs")
        if client and not (packages / client).exists():
            # Behind the packages of the image, as on the platform.
            target = ["--target", str(new / "client")]
            words = ["pip", "install", "--python", str(_python(new)), *target, client]
            installer.run(words, label)
            (packages / "client.pth").write_text(f"{folder / 'client'}\n")
        (new / "made").touch()
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)


def _interpreter(
    installer: _Installer, container: Container, local: Path | None
) -> tuple[str, str]:
    """Return an interpreter with the Python of the image, else of `local`, and its version."""
    if container.python is not None:
        wanted = ".".join(map(str, container.python))
        try:
            found = installer.run(["python", "find", "--no-project", "--system", wanted], "Python")
            return found.strip(), wanted
        except NotInstalled:
            pass
    python = str(local or sys.executable)
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([python, "-c", program], check=False, capture_output=True, text=True)
    if done.returncode:
        raise NotInstalled(f"{python} cannot be run")
    return python, done.stdout.strip()


def _python(environment: Path) -> Path:
    return next(
        (path for each in PROGRAMS if (path := environment / each).exists()),
        environment / PROGRAMS[0],
    )


def _lay_out(top: Path, path: PurePosixPath, file: Path | str, root: Path) -> None:
    target = top / path.relative_to("/")
    if (
        isinstance(file, Path)
        and (root / file).stat().st_size > _MAX_FILE
        and ".lock" not in path.name
    ):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(file, str):
        target.write_text(file)
    else:
        shutil.copy(root / file, target)


def _failure(label: str, errors: str) -> NotInstalled:
    """Return the exception for the output of uv."""
    text = re.sub(r"//[^/@\s]+@", "//", " ".join(re.sub(r"[│├─╰▶×]", " ", errors).split()))
    if match := re.search(r"Failed to (?:build|download and build) `?([\w.@-]+)", text):
        name = match[1].partition("@")[0]
        return NotInstallable(f"{name} has no wheel and could not be built on this machine")
    if re.search(r"\b(?:401 Unauthorized|403 Forbidden)\b", text):
        return NotInstalled("the package index requires credentials that this machine lacks")
    if _UNREACHABLE.search(text):
        return NotInstalled("the package index cannot be reached")
    if "No solution found" in text and not _UNKNOWN.search(text):
        reason = text[text.find("Because") :].partition(". ")[0]
        return ImageNotBuilt(f"{label} cannot be installed. {_shortened(reason)}")
    reason = text.rpartition("error: ")[2].partition(" hint: ")[0].rstrip(".")
    return NotInstallable(f"uv fails for {label}: {_shortened(reason)}")


def _shortened(text: str) -> str:
    return textwrap.shorten(text, _MAX_REASON, placeholder=" ...").rstrip(".")
