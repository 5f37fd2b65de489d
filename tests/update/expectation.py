"""The expected result of `copier-honeycomb update`, where it differs from that of `copier update`."""

from collections.abc import Iterable
from pathlib import PurePosixPath

from ..template.projects import Files, expected


def expected_of_command(before: Files, base: Files, fresh: Files) -> Files:
    """The files after an update of `before` by the command.

    Files with CRLF are merged as if they had LF. Files without edits that the template dropped are
    deleted, and nothing arrives in, or instead of, a folder of which the user has deleted every file.
    """
    merged = expected({name: with_lf(text) for name, text in before.items()}, base, fresh)
    after = {
        name: text.replace(b"\n", b"\r\n") if has_crlf(before.get(name, b"")) else text
        for name, text in merged.items()
        if name in before
        or not folders([name, f"{name.removesuffix('.json')}/"]) & (folders(base) - folders(before))
    }
    dropped = {
        name
        for name in base.keys() & before.keys()
        if after[name] == b"" and with_lf(before[name]) == base[name] != b""
    }
    rest = folders(after.keys() - dropped)
    kept = {name for name in dropped if name.endswith("__init__.py") and parent(name) in rest}
    return {name: text for name, text in after.items() if name not in dropped - kept}


def has_crlf(text: bytes) -> bool:
    return b"\r\n" in text and text.count(b"\r\n") == text.count(b"\n")


def with_lf(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n") if has_crlf(text) else text


def folders(names: Iterable[str]) -> set[str]:
    return {
        folder.as_posix()
        for name in names
        for folder in PurePosixPath(name).parents
        if folder.as_posix() != "."
    }


def parent(name: str) -> str:
    return PurePosixPath(name).parent.as_posix()
