"""Code for an IR, asked for until it validates."""

import ast
import json
import re
from typing import Final

from ..observability import traced
from ..providers import Provider, Request
from .ir import IR

MAX_RETRIES: Final = 2

_SYSTEM: Final = """\
You write one Python function for the specification that you are given as JSON: its name, its
parameters in their order, its constraints. Where `holes` leave a question open, take the simplest
answer and say so in the docstring. `rejected`, where it is there, says why your last code was not
taken. Answer with Python code and nothing else."""
_FENCED: Final = re.compile(r"\A\s*```(?:python)?\n(?P<code>.*?)```\s*\Z", re.DOTALL)


class CodeRejected(Exception):
    """The code is not what was specified.

    The message says why without quoting the code, as it goes on a span; `detail` quotes it.
    """

    def __init__(self, message: str, detail: str | None = None) -> None:
        super().__init__(message)
        self.detail = detail or message


async def generate_code(ir: IR, provider: Provider, *, conversation_id: str) -> str:
    """Validated code for `ir`, asked for at most `MAX_RETRIES` times more.

    Raises ProviderError, or CodeRejected with the reason of the last attempt.
    """
    with traced(
        "code.generate", {"code.language": "python", "code.generator": provider.model}
    ) as span:
        rejected: CodeRejected | None = None
        for retries in range(MAX_RETRIES + 1):
            span.set_attribute("code.retries", retries)
            span.set_attribute("code.success", False)
            code = await _write(ir, provider, rejected, conversation_id=conversation_id)
            try:
                validate_code(code, ir)
            except CodeRejected as error:
                rejected = error
                continue
            span.set_attribute("code.success", True)
            span.set_attribute("code.lines", len(code.splitlines()))
            return code
        assert rejected is not None
        raise rejected


async def _write(
    ir: IR, provider: Provider, rejected: CodeRejected | None, *, conversation_id: str
) -> str:
    specification = ir.model_dump() | ({"rejected": rejected.detail} if rejected else {})
    request = Request(
        system=_SYSTEM,
        prompt=json.dumps(specification),
        conversation_id=conversation_id,
    )
    async with provider.stream(request) as pieces:
        text = "".join([piece async for piece in pieces])
    fenced = _FENCED.match(text)
    return fenced["code"] if fenced else text


@traced("code.validate")
def validate_code(code: str, ir: IR) -> None:
    """Checks that `code` is Python and defines the function of `ir`, without running any of it.

    Raises CodeRejected.
    """
    try:
        tree = ast.parse(code)
        compile(tree, "<generated>", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CodeRejected("It is not Python.", f"It is not Python: {error}.") from None
    for statement in tree.body:
        if (
            isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
            and statement.name == ir.function
        ):
            _check_parameters(statement, ir)
            return
    raise CodeRejected("It does not define the function.", f"It defines no function {ir.function}.")


def _check_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef, ir: IR) -> None:
    signature = function.args
    written = [argument.arg for argument in signature.posonlyargs + signature.args]
    if signature.vararg:
        written.append(f"*{signature.vararg.arg}")
    written += [argument.arg for argument in signature.kwonlyargs]
    if signature.kwarg:
        written.append(f"**{signature.kwarg.arg}")
    wanted = [parameter.name for parameter in ir.parameters]
    if written != wanted:
        raise CodeRejected(
            "Its parameters are not those that are specified.",
            f"{ir.function} takes ({', '.join(written)}) and should take ({', '.join(wanted)}).",
        )
