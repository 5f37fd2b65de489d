"""The files of a repository."""

import os
import subprocess
from pathlib import Path


def listed_files(folder: Path) -> list[Path]:
    """Return the files in `folder`, relative to it; in a Git repository, without ignored files."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=folder,
        check=False,
        capture_output=True,
    )
    if listed.returncode == 0:
        names = {Path(os.fsdecode(name)) for name in listed.stdout.split(b"\0") if name}
    else:
        names = {path.relative_to(folder) for path in folder.rglob("*")}
    return sorted(
        name
        for name in names
        if (folder / name).is_file()
        and not any(part in ("node_modules", "site-packages", ".venv") for part in name.parts)
    )
