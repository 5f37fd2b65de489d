"""LLM calls in the user's own code, and how a span of their own goes around them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import libcst as cst
import libcst.matchers as m

from .find import enclosing
from .project import Project
from .source import Refused

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
    is_async: bool

    def snippet(self, module: str) -> str:
        """The call within a span of its own."""
        name = self.function.rsplit(".", 1)[-1] or "work"
        wait = "await " if self.is_async else ""
        return (
            f"from {module} import llm_call, traced\n\n"
            f'@traced("{self.provider}.{name}")                 # on {self.function or "the function"}\n'
            f'with llm_call("{self.provider}", {self.model}) as call:\n'
            f"    response = {wait}{self.call}(...)   # line {self.line}\n"
            f"    call.record_usage(response.usage, model=response.model)"
        )


def llm_uses(project: Project) -> Iterator[LLMUse]:
    """Each call of Anthropic's or OpenAI's SDK."""
    for path in project.containing(b"anthropic", b"openai", b"Anthropic", b"OpenAI"):
        try:
            source = project.source(path)
        except Refused:
            continue
        for call in m.findall(source.module, m.Call(func=m.Attribute())):
            assert isinstance(call, cst.Call)
            name = source.code(call.func)
            for provider, pattern in _SDKS:
                if not pattern.search(name):
                    continue
                model = next(
                    (
                        source.code(each.value)
                        for each in call.args
                        if each.keyword and each.keyword.value == "model"
                    ),
                    "model",
                )
                names: list[str] = []
                parent = enclosing(source, call, (cst.FunctionDef, cst.ClassDef))
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
                    isinstance(source.parents.get(call), cst.Await),
                )


def sdks(project: Project, names: frozenset[str]) -> frozenset[str]:
    """The SDKs that the repository uses: anthropic, openai."""
    found = {each for each in ("anthropic", "openai") if each in names}
    for each in ("anthropic", "openai"):
        pattern = re.compile(rf"(?m)^\s*(?:import|from) {each}\b")
        for path in project.containing(each.encode()):
            if pattern.search((project.root / path).read_text(errors="replace")):
                found.add(each)
                break
    return frozenset(found)
