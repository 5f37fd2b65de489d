"""LLM calls in the user's own code, and how a span of their own goes around them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import libcst as cst
import libcst.matchers as m

from .find import enclosing
from .project import Project
from .source import Refused, Source

_SDKS = (
    ("anthropic", re.compile(r"(?:^|\.)messages\.(?:create|stream|parse)$")),
    (
        "openai",
        re.compile(r"(?:^|\.)(?:chat\.completions|responses|embeddings)\.(?:create|stream|parse)$"),
    ),
)


@dataclass(frozen=True)
class LLMUse:
    """One call of an SDK."""

    provider: str
    path: Path
    line: int
    function: str
    """The function that makes the call, with its class."""
    model: str
    """The expression that names the model."""
    call: str
    result: str
    """The variable that takes the answer."""
    is_awaited: bool
    is_streamed: bool
    """Whether the answer comes piece by piece: its usage is not where that of others is."""
    is_async: bool
    """Whether the function is."""
    is_generator: bool

    def snippet(self, module: str) -> str:
        """The call within a span of its own, in the words of the user's code. Not for a stream."""
        name = self.function.rsplit(".", 1)[-1] or "work"
        prefix = "async " if self.is_async else ""
        where = f"  # {self.function}" if "." in self.function else ""
        wait = "await " if self.is_awaited else ""
        names = "llm_call" if self.is_generator else "llm_call, traced"
        return "\n".join(
            [
                f"from {module} import {names}",
                "",
                # It does not go on a generator.
                *([] if self.is_generator else [f'@traced("{self.provider}.{name}")']),
                f"{prefix}def {name}(...):{where}",
                "    ...",
                f'    with llm_call("{self.provider}", {self.model}) as call:',
                f"        {self.result} = {wait}{self.call}(...)",
                f"        call.record_usage({self.result}.usage, model={self.result}.model)",
            ]
        )


def llm_uses(project: Project, used: frozenset[str]) -> Iterator[LLMUse]:
    """Each call of one of the SDKs that are `used`."""
    for path in project.containing(
        b".messages.", b".completions.", b".responses.", b".embeddings."
    ):
        try:
            source = project.source(path)
        except Refused:
            continue
        for call in m.findall(source.module, m.Call(func=m.Attribute())):
            assert isinstance(call, cst.Call)
            name = source.code(call.func)
            for provider, pattern in _SDKS:
                if provider not in used or not pattern.search(name):
                    continue
                model = next(
                    (
                        source.code(each.value)
                        for each in call.args
                        if each.keyword and each.keyword.value == "model"
                    ),
                    "model",
                )
                is_streamed = name.endswith(".stream") or any(
                    each.keyword
                    and each.keyword.value == "stream"
                    and source.code(each.value) != "False"
                    for each in call.args
                )
                names: list[str] = []
                parent = enclosing(source, call, (cst.FunctionDef, cst.ClassDef))
                function = parent if isinstance(parent, cst.FunctionDef) else None
                while isinstance(parent, cst.FunctionDef | cst.ClassDef):
                    names.insert(0, parent.name.value)
                    parent = enclosing(source, parent, (cst.FunctionDef, cst.ClassDef))
                yield LLMUse(
                    provider,
                    path,
                    source.line(call),
                    ".".join(names),
                    model,
                    name,
                    _result(source, call),
                    is_awaited=isinstance(source.parents.get(call), cst.Await),
                    is_streamed=is_streamed,
                    is_async=function is not None and function.asynchronous is not None,
                    is_generator=function is not None and _yields(source, function),
                )


def _yields(source: Source, function: cst.FunctionDef) -> bool:
    return any(
        enclosing(source, each, (cst.FunctionDef, cst.Lambda)) is function
        for each in m.findall(function.body, m.Yield())
    )


def _result(source: Source, call: cst.Call) -> str:
    parent = source.parents.get(call)
    if isinstance(parent, cst.Await):
        parent = source.parents.get(parent)
    if isinstance(parent, cst.Assign) and isinstance(parent.targets[0].target, cst.Name):
        return parent.targets[0].target.value
    return "answer"


def sdks(project: Project, names: frozenset[str]) -> frozenset[str]:
    """The SDKs that the repository uses: anthropic, openai."""
    found = {each for each in ("anthropic", "openai") if each in names}
    for each in ("anthropic", "openai"):
        pattern = re.compile(rf"(?m)^\s*(?:import|from) {each}\b")
        for path in project.containing(each.encode()):
            if pattern.search(project.text(path)):
                found.add(each)
                break
    return frozenset(found)
