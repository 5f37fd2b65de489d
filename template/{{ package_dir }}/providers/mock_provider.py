"""A provider without a model: offline, always the same answer, and open about it."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from keyword import iskeyword
from typing import Any, Final

from ..observability import TokenUsage
from .base import Completion, Provider, Request, record

_NOTE: Final = "Written by the mock provider; with ANTHROPIC_API_KEY set, a model writes it."
# Words that say what to do with a function rather than what the function does.
_FILLER: Final = re.compile(
    r"\b(a|an|and|code|create|for|function|implement|in|make|me|method|of|please|python|script|that"
    r"|the|to|which|write)\b"
)


class MockProvider(Provider):
    """Names a function after the prompt, and writes one that returns that name in words.

    Its tokens are words, counted. It has no price, so its calls have no cost.
    """

    name = "mock"
    model = "mock-1"
    temperature = 0.0

    async def complete(self, request: Request) -> Completion:
        with self._call(request) as call:
            completion = self._answer(request)
            record(call, request, completion)
            return completion

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[AsyncIterator[str]]:
        with self._call(request) as call:
            completion = self._answer(request)

            async def lines() -> AsyncIterator[str]:
                for line in completion.text.splitlines(keepends=True):
                    yield line

            yield lines()
            record(call, request, completion)

    def _answer(self, request: Request) -> Completion:
        if request.output_schema is not None:
            text = json.dumps(_ir(request.prompt))
        else:
            text = _code(json.loads(request.prompt))
        words = len(request.system.split()) + len(request.prompt.split())
        return Completion(
            text=text,
            model=self.model,
            usage=TokenUsage(input_tokens=words, output_tokens=len(text.split())),
        )


def _ir(prompt: str) -> dict[str, Any]:
    words = re.findall(r"[a-z][a-z0-9]*", _FILLER.sub("", prompt.lower()))
    name = "_".join(words[:4]) or "answer"
    return {
        "intent": prompt,
        "function": f"{name}_" if iskeyword(name) else name,
        "parameters": [],
        "returns": "str",
        "constraints": [_NOTE],
        "holes": [{"name": "result", "question": "What is returned, beside the name in words?"}],
    }


def _code(ir: dict[str, Any]) -> str:
    name = ir["function"]
    words = name.replace("_", " ").strip()
    return f'def {name}() -> str:\n    """{_NOTE}"""\n    return {words!r}\n'
