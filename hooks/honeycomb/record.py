"""The record of the last apply, kept on each object in Honeycomb.

It holds a digest of each part of the object as it was applied: of a field, or of a panel of a board.
The next plan compares it with the object, and so recognises the changes that people made since.
"""

import hashlib
import json
import re
from base64 import b32encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from .definitions import TAG
from .schema import Kind

RECORD_TAG: Final = "applied"
"""Key of the tag that holds the record."""
# Length of a tag's value, without its first letter.
_MAX_DIGESTS: Final = 126
_MAX_DIGEST: Final = 8
_MIN_DIGEST: Final = 2
# These have no tags: the record is at the end of their description.
_WITHOUT_TAGS: Final[tuple[Kind, ...]] = ("derived column", "burn alert", "saved query")
_MARK: Final = re.compile(r" ?\[(?:file:(?P<file>\S+) )?applied:(?P<record>[a-z0-9]*)\]$")


@dataclass(frozen=True)
class Record:
    """Digests of the parts that were applied last."""

    digests: frozenset[str]
    length: int
    """Characters of each digest."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The record in the value of a tag or in a mark: the length of a digest, then all of them."""
        length = ord(text[0]) - ord("a") if text[:1].isalpha() else 0
        digests = text[1:]
        starts = range(0, len(digests), length) if length else ()
        return cls(frozenset(digests[start : start + length] for start in starts), length)

    def holds(self, name: str, value: Any) -> bool:
        """Return True if the part was applied with this value."""
        return bool(self.length) and _digest(name, value, self.length) in self.digests


def record_of(parts: Mapping[str, Any], without: Iterable[str] = ()) -> str:
    """The record of `parts`, except those named in `without`."""
    names = [name for name in parts if name not in without]
    length = max(_MIN_DIGEST, min(_MAX_DIGEST, _MAX_DIGESTS // max(1, len(names))))
    digests = [_digest(name, parts[name], length) for name in names]
    return chr(ord("a") + length) + "".join(digests[: _MAX_DIGESTS // length])


def recorded(kind: Kind, body: Mapping[str, Any]) -> Record | None:
    """The record on an object, or None if apply did not create it, or an earlier release did."""
    if kind in _WITHOUT_TAGS:
        mark = _MARK.search(str(body.get("description") or ""))
        return Record.parse(mark["record"]) if mark else None
    for tag in body.get("tags") or ():
        if tag["key"] == RECORD_TAG:
            return Record.parse(tag["value"])
    return None


def marked_file(body: Mapping[str, Any]) -> str | None:
    """The tag of the file in the mark of an object that has no tags."""
    mark = _MARK.search(str(body.get("description") or ""))
    return mark["file"] if mark else None


def without_mark(description: str | None) -> str:
    return _MARK.sub("", description or "")


def with_record(kind: Kind, body: Mapping[str, Any], tag: str, record: str) -> dict[str, Any]:
    """`body` with the value `tag` by which the object is recognised, and its record."""
    if kind not in _WITHOUT_TAGS:
        tags = [*user_tags(body), {"key": TAG, "value": tag}, {"key": RECORD_TAG, "value": record}]
        return {**body, "tags": tags}
    # The alias already identifies a derived column.
    file = "" if kind == "derived column" else f"file:{tag} "
    mark = f"[{file}applied:{record}]"
    return {**body, "description": f"{body.get('description', '')} {mark}".lstrip()}


def user_tags(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The tags of an object without ours."""
    return [tag for tag in body.get("tags") or () if tag["key"] not in (TAG, RECORD_TAG)]


def _digest(name: str, value: Any, length: int) -> str:
    # The title of a panel, which the file may change, is also in its content.
    name = "panel" if name.startswith("panel ") else name
    digest = hashlib.sha256(f"{name}={json.dumps(value, sort_keys=True)}".encode()).digest()
    return b32encode(digest).decode().lower()[:length]
