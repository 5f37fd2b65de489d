"""Generate code for an IR, and retry if it does not validate."""

import ast
import json
import re
import warnings
from typing import Final

from ..observability import traced
from ..providers import Provider, Request
from .ir import IR

MAX_RETRIES: Final = 2

_SYSTEM: Final = """\
Write one Python function for a specification in JSON: its name, its parameters in order, and its
constraints. If `holes` lists open questions, choose the simplest answer to each and document it in
the docstring. If `rejected` is present, it is the reason why your previous code was rejected.
Respond with Python code only."""
_FENCED: Final = re.compile(r"\A\s*```(?:python)?\n(?P<code>.*?)```\s*\Z", re.DOTALL)


class CodeRejected(Exception):
    """Generated code that does not match its specification.

    The message is recorded on a span, so it does not quote the code; `detail` does.
    """

    def __init__(self, message: str, detail: str | None = None) -> None:
        super().__init__(message)
        self.detail = detail or message


async def generate_code(ir: IR, provider: Provider) -> str:
    """Generate code for `ir` and validate it, with up to `MAX_RETRIES` retries.

    Raises ProviderError, or CodeRejected with the reason of the last attempt.
    """
    with traced(
        "code.generate", {"code.language": "python", "code.generator": provider.model}
    ) as span:
        rejected: CodeRejected | None = None
        for retries in range(MAX_RETRIES + 1):
            span.set_attribute("code.retries", retries)
            span.set_attribute("code.success", False)
            code = await _write(ir, provider, rejected)
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


async def _write(ir: IR, provider: Provider, rejected: CodeRejected | None) -> str:
    specification = ir.model_dump() | ({"rejected": rejected.detail} if rejected else {})
    request = Request(system=_SYSTEM, prompt=json.dumps(specification))
    async with provider.stream(request) as chunks:
        text = "".join([chunk async for chunk in chunks])
    fenced = _FENCED.match(text)
    return fenced["code"] if fenced else text


@traced("code.validate")
def validate_code(code: str, ir: IR) -> None:
    """Check that `code` is valid Python and defines the function of `ir`, without executing it.

    Raises CodeRejected.
    """
    try:
        # A warning, such as about "\d", quotes the code and would be logged.
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(code)
            compile(tree, "<generated>", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CodeRejected(
            "The code is not valid Python.", f"The code is not valid Python: {error}."
        ) from None
    for statement in tree.body:
        if (
            isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
            and statement.name == ir.function
        ):
            _check_parameters(statement, ir)
            return
    raise CodeRejected(
        "The code does not define the function.",
        f"The code does not define the function {ir.function}.",
    )


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
            "The parameters do not match the specification.",
            f"The parameters are ({', '.join(written)}); the specification requires"
            f" ({', '.join(wanted)}).",
        )
