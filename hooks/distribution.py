"""The template that this command was installed with."""

import json
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

_CHECKOUT: Final = Path(__file__).resolve().parents[1]


class Source(NamedTuple):
    """A template, as `copier copy` accepts it."""

    location: str
    commit: str


def template_source() -> Source | None:
    """Return the checkout of this file or the repository it was installed from, or None."""
    if (_CHECKOUT / "copier.yml").is_file():
        return Source(str(_CHECKOUT), "HEAD")
    try:
        record = json.loads(distribution("copier-honeycomb").read_text("direct_url.json") or "{}")
    except PackageNotFoundError:
        return None
    url = str(record.get("url", ""))
    if "vcs_info" in record:
        return Source(f"git+{url}", str(record["vcs_info"]["commit_id"]))
    if url.startswith("file:"):
        return Source(url2pathname(urlsplit(url).path), "HEAD")
    return None
