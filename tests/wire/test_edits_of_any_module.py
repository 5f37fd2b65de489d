"""Property test: any server module gets only the new lines, and removal restores every byte."""

from collections import Counter
from pathlib import Path

import libcst
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hooks.wire.app_calls import all_app_calls
from hooks.wire.project import Project
from hooks.wire.server import unwire_server, wire_server
from hooks.wire.source import EditRefused

MAIN = Path("acme/main.py")

# Parts of modules.
STATEMENTS = st.sampled_from(
    [
        "X = 1  # a comment",
        "# a comment",
        "",
        "    # indented comment",
        "def f(a, /, *, b: int = 1) -> None:\n    return None",
        "@decorated(\n    1,\n)\nclass C:\n    x: int = 1",
        "async def g():\n    async with a as b, c as d:\n        yield (await e)",
        "if X:\n    pass\nelif Y:\n    pass\nelse:\n    pass",
        "match X:\n    case {'a': [1, *rest]} if rest:\n        pass\n    case _:\n        pass",
        "try:\n    pass\nexcept* ValueError:\n    pass",
        "type Alias[T] = list[T]",
        "def generic[T: int](x: T) -> T: return x",
        "print(f'{X!r:>{Y}} {\"nested\"}')",
        "lambda: (yield)",
        "x = y = 1; z = 2",
        '"""A string\nof lines."""',
        "größe = 'ß'",
        "with (open('a') as a, open('b') as b,): pass",
    ]
)
IMPORTS = st.sampled_from(
    [
        "import os",
        "import os  # why",
        "from typing import (\n    Any,  # all\n    Final,\n)",
        "from acme.models import X",
        "from .settings import Y",
        "import acme.other as other",
        "",
        "# a comment above",
    ]
)
MAKES = st.sampled_from(
    [
        "app = FastAPI()",
        "app: FastAPI = FastAPI(title='x')  # made here",
        "app = FastAPI(\n    title='x',\n    # inside\n    docs_url=None,\n)",
        "if True:\n    app = FastAPI()",
        "if os:\n    app = FastAPI()\nelse:\n    app = FastAPI(title='y')",
        "def create_app():\n\tapp = FastAPI()\n\treturn app",
        "def create_app():\n  app = FastAPI()  # made\n  return app",
        "class App(FastAPI): pass\napp = App()",
        "app = FastAPI(); version = 1",
        "with open('x') as f:\n    app = FastAPI()",
    ]
)


@st.composite
def modules(draw: st.DrawFn) -> bytes:
    head = draw(
        st.sampled_from(["", "#!/usr/bin/env python\n", '"""Docs."""\n', '"""Docs."""\n\n'])
    )
    future = draw(st.sampled_from(["", "from __future__ import annotations\n"]))
    imports = draw(st.lists(IMPORTS, max_size=4))
    place = draw(st.integers(0, len(imports)))
    imports.insert(place, "from fastapi import FastAPI")
    before = draw(st.lists(STATEMENTS, max_size=3))
    after = draw(st.lists(STATEMENTS, max_size=3))
    lines = [*imports, *before, draw(MAKES), *after]
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "latin-1", "cp1252"]))
    cookie = f"# -*- coding: {encoding} -*-\n" if encoding in ("latin-1", "cp1252") else ""
    if head.startswith("#!"):
        head, cookie = head + cookie, ""
    text = cookie + head + future + "\n".join(lines) + draw(st.sampled_from(["\n", "", "\n\n"]))
    ending = draw(st.sampled_from(["\n", "\r\n"]))
    return text.replace("\n", ending).encode(encoding)


def in_memory(content: bytes) -> Project:
    """Return a repository with one server module, without files."""
    project = Project(Path("/nowhere"))
    others = [Path("acme/models.py"), Path("acme/settings.py")]
    project.__dict__.update(
        answers={"package_dir": "acme", "import_name": "acme"},
        files=[MAIN, *others],
        _contents={MAIN: content, **dict.fromkeys(others, b"")},
    )
    return project


@settings(max_examples=80, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(modules())
@example(b"\xef\xbb\xbffrom fastapi import FastAPI\nimport acme.other as other\napp = FastAPI()\n")
def test_edit_adds_only_lines_and_removal_restores_every_byte(content: bytes) -> None:
    project = in_memory(content)
    try:
        project.source(MAIN)
    except EditRefused:
        # Some combinations are not valid, such as a statement before a __future__ import.
        return
    app = all_app_calls(project)[0]

    lines = wire_server(project, app)

    before, after = content.splitlines(keepends=True), lines.content.splitlines(keepends=True)
    if before and not before[-1].endswith(b"\n"):
        # The last line gets a line break if a line is added below it.
        after = [line.rstrip(b"\r\n") for line in after]
        before = [line.rstrip(b"\r\n") for line in before]
    rest = iter(after)
    assert all(line in rest for line in before), "a line was changed, moved or removed"
    added = Counter(after) - Counter(before)
    assert {line.strip() for line in added} - {b""} <= {
        b"from acme.observability import instrument_app",
        b"from .observability import instrument_app",
        b"instrument_app(app)",
    }
    wired = in_memory(lines.content)
    again = wire_server(wired, all_app_calls(wired)[0])
    assert again.is_unchanged
    assert again.content == lines.content
    assert unwire_server(wired, MAIN) == content


def test_files_that_create_no_application_are_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    parse, parsed = libcst.parse_module, []

    def recorded(text: str) -> libcst.Module:
        parsed.append(text)
        return parse(text)

    monkeypatch.setattr(libcst, "parse_module", recorded)
    main = "from fastapi import FastAPI\n\napp = FastAPI()\n"
    project = in_memory(main.encode())
    router = b"from fastapi import APIRouter, FastAPI, Request\n\n\ndef add(app: FastAPI): ...\n"
    project._contents[Path("acme/router.py")] = router
    project.files.append(Path("acme/router.py"))

    assert len(all_app_calls(project)) == 1

    assert parsed == [main]
