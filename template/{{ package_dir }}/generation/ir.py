"""The intermediate representation of a prompt, and how a model is asked for it."""

import ast
from keyword import iskeyword
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from ..observability import traced
from ..providers import Provider, Request

_SYSTEM: Final = """\
You turn a request for a Python function into a specification of it, as JSON.
`intent` says in one sentence what the function is for. `function` is its name, `parameters` are its
parameters with Python types, and `returns` is the type that it returns. `constraints` are rules that
an implementation keeps. `holes` are questions that the request leaves open and that change what the
function does; name each, and leave the list empty where nothing is open."""


class IRRejected(Exception):
    """What the model answered is no specification.

    The message says so without quoting the answer, as it goes on a span; `detail` says why.
    """

    def __init__(self, message: str, detail: str) -> None:
        super().__init__(message)
        self.detail = detail


def _identifier(name: str) -> str:
    if not name.isidentifier() or iskeyword(name):
        raise ValueError("is not a Python name")
    return name


def _type_expression(text: str) -> str:
    try:
        ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError("is not a Python type") from None
    return text


Identifier = Annotated[str, AfterValidator(_identifier)]
TypeExpression = Annotated[str, AfterValidator(_type_expression)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Parameter(_Part):
    """A parameter of the function."""

    name: Identifier
    type: TypeExpression


class Hole(_Part):
    """A question that the prompt leaves open."""

    name: str
    question: str


class IR(_Part):
    """What is wanted: one function, the rules it keeps, and what is still open about it."""

    intent: str
    function: Identifier
    parameters: list[Parameter]
    returns: TypeExpression
    constraints: list[str]
    holes: list[Hole]


async def generate_ir(prompt: str, provider: Provider, *, conversation_id: str) -> IR:
    """The IR of `prompt`. Raises ProviderError, or IRRejected where the answer is none."""
    with traced("ir.generate", {"ir.provider": provider.name, "ir.model": provider.model}) as span:
        completion = await provider.complete(
            Request(
                system=_SYSTEM,
                prompt=prompt,
                conversation_id=conversation_id,
                output_schema=IR.model_json_schema(),
            )
        )
        span.set_attribute("ir.validation_status", "invalid")
        ir = _validated(completion.text)
        span.set_attribute("ir.validation_status", "valid")
        span.set_attribute("ir.holes_count", len(ir.holes))
        span.set_attribute("ir.constraints_count", len(ir.constraints))
        return ir


@traced("ir.validate")
def _validated(text: str) -> IR:
    try:
        return IR.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        # Without a null byte in a name that the model made up: it is no text for PostgreSQL.
        place = ".".join(str(part) for part in first["loc"]).replace("\0", "") or "it"
        raise IRRejected(
            f"The specification is not valid ({first['type']}).",
            f"The specification is not valid: {place}: {first['msg']}.",
        ) from None
