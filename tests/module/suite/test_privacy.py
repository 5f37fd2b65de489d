"""No secret leaves, whichever library created the span that has seen it, and however."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from observability import get_tracer, instrument_app, llm_call, traced
from observability._otlp import encode_span
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode
from pydantic import BaseModel, Field
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from .conftest import FinishedSpans

SECRET = "c4n4ry"


def foreign(name: str, attributes: dict[str, Any], kind: SpanKind = SpanKind.INTERNAL) -> None:
    """A span as an instrumentation that knows nothing of the module creates it."""
    get_tracer("an.instrumentation").start_span(name, kind=kind, attributes=attributes).end()


def fastapi_request() -> None:
    app = FastAPI()
    instrument_app(app)

    @app.post("/orders/{number}")
    async def order(number: str) -> None:
        raise RuntimeError("failed")

    client = TestClient(app, raise_server_exceptions=False)
    headers = dict.fromkeys(("authorization", "cookie", "user-agent", "x-api-key", "host"), SECRET)
    headers["baggage"] = f"key={SECRET}"
    headers["traceparent"] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers["tracestate"] = f"{SECRET}=1,ot=th:8"
    client.post(f"/orders/{SECRET}?token={SECRET}", content=SECRET, headers=headers)


def sqlalchemy_query() -> None:
    engine = create_engine("sqlite://")
    statement = f"SELECT :a, '{SECRET}', \"{SECRET}\" /* {SECRET} */"
    with traced("work"), engine.connect() as connection:
        connection.execute(text(statement), {"a": SECRET})


def exception_event(kind: str) -> None:
    """The event of an exception whose whole message may be a value."""
    with get_tracer("an.instrumentation").start_as_current_span("work") as span:
        span.add_event("exception", {"exception.type": kind, "exception.message": SECRET})


class DuplicateOrder(IntegrityError):
    """An error of the application, in its own module."""


class Order(BaseModel):
    text: str = Field(max_length=3)


def sql_error() -> Exception:
    try:
        with create_engine("sqlite://").connect() as connection:
            connection.execute(text("SELECT * FROM missing WHERE a = :a"), {"a": SECRET})
    except DBAPIError as error:
        return error
    raise AssertionError


def pydantic_error() -> Exception:
    try:
        Order(text=SECRET)
    except ValueError as error:
        return error
    raise AssertionError


def with_note(error: Exception) -> Exception:
    error.add_note(SECRET)
    return error


def with_cause(cause: Exception) -> Exception:
    try:
        raise RuntimeError("could not load") from cause
    except RuntimeError as error:
        return error


ERRORS: dict[str, Callable[[], Exception]] = {
    "SQL parameters": sql_error,
    "pydantic input": pydantic_error,
    "subclass": lambda: DuplicateOrder(SECRET, {"a": SECRET}, Exception(SECRET)),
    "note": lambda: with_note(ValueError("odd")),
    "cause": lambda: with_cause(sql_error()),
    "cause of a cause": lambda: with_cause(with_cause(ValueError(SECRET))),
    "group": lambda: ExceptionGroup("several", [pydantic_error(), with_note(sql_error())]),
    "group in a group": lambda: ExceptionGroup("a", [ExceptionGroup("b", [pydantic_error()])]),
    "URL": lambda: RuntimeError(f"401 for url 'https://host/path?api_key={SECRET}'"),
    "relative URL": lambda: RuntimeError(f"exceeded with url: /path?api_key={SECRET} (Caused by"),
    "password": lambda: RuntimeError(f"cannot open https://user:{SECRET}@host/path"),
    "detail": lambda: RuntimeError(f"duplicate key\nDETAIL:  Key (email)=({SECRET}) exists."),
    "quoted": lambda: RuntimeError(f"failed: {sql_error()}"),
    "URL of OData": lambda: RuntimeError(f"404 for url 'https://host/items(3)?$filter={SECRET}'"),
    "URL with a quote": lambda: RuntimeError(f"for url: https://host/p?n=O'Brien&key={SECRET}"),
    "odd URL": lambda: RuntimeError(
        f"for https://host/a-?&key={SECRET} or https://[::1]?={SECRET}"
    ),
    "password with @": lambda: RuntimeError(f"cannot open postgresql://user:p@{SECRET}@host/path"),
    # h11, http.client and requests quote the key that ends in a line break.
    "header": lambda: RuntimeError(f"Illegal header value b'Bearer {SECRET}\\n'"),
    "other header": lambda: RuntimeError(f"character(s) in header value: '{SECRET}\\n'"),
    "token": lambda: RuntimeError(f"<CIMultiDictProxy('Authorization': 'Bearer {SECRET * 3}')>"),
    # pydantic-ai, Mistral's and Cohere's SDK quote the response.
    "body": lambda: RuntimeError(f"status_code: 400, model_name: m, body: {{'a': '{SECRET}'}}"),
    "headers": lambda: RuntimeError(f"headers: {{'a': '{SECRET}'}}, status_code: 400"),
    **{
        beginning: lambda beginning=beginning: RuntimeError(f"failed: {beginning} {SECRET}")  # type: ignore[misc]
        for beginning in (
            "(psycopg.errors.UniqueViolation)",
            "(duckdb.duckdb.ConstraintException)",
            "(sqlalchemy.dialects.postgresql.asyncpg.IntegrityError)",
            "1 validation error for Order\n",
            "2 validation errors:\n",
            "1 validation error detected: Value",
            "Error code: 400 - {'error':",
            "litellm.BadRequestError:",
        )
    },
}


def raise_in(start: Callable[[], Any], error: Exception) -> None:
    with pytest.raises(type(error)), start():
        raise error


def set_status(error: Exception) -> None:
    with get_tracer("user").start_as_current_span("work") as span:
        span.set_status(StatusCode.ERROR, str(error))
        span.record_exception(error, {"exception.message": str(error)})


WAYS: dict[str, Callable[[Exception], None]] = {
    "traced": lambda error: raise_in(lambda: traced("work"), error),
    "OpenTelemetry": lambda error: raise_in(
        lambda: get_tracer("user").start_as_current_span("work"), error
    ),
    "by hand": set_status,
    "llm_call": lambda error: raise_in(lambda: llm_call("anthropic", "claude-sonnet-4-6"), error),
}

LLM = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
# Content as it is named by OpenTelemetry, pydantic-ai, OpenLLMetry, OpenInference, Langfuse, MCP,
# and by instrumentations that do not exist yet.
CONTENT = """
    gen_ai.input.messages gen_ai.output.messages gen_ai.system_instructions gen_ai.tool.definitions
    gen_ai.tool.call.arguments gen_ai.tool.call.result gen_ai.prompt.0.content gen_ai.prompt
    gen_ai.completion.0.content gen_ai.completion.0.tool_calls.0.arguments gen_ai.tool.description
    gen_ai.retrieval.query.text gen_ai.future.thought pydantic_ai.all_messages all_messages_events
    final_result model_request_parameters tool_arguments tool_response traceloop.entity.input
    traceloop.entity.output llm.prompts llm.completions llm.input_messages.0.message.content
    llm.invocation_parameters input.value output.value tool.parameters retrieval.documents.0.content
    langfuse.observation.input langchain.task.data mcp.request.argument logfire.msg request_data
    acme.user_prompt.text acme.messages gen_ai.security.text gen_ai.prompt.0.image_url
    llm.input_messages.0.message.contents.0.message_content.image.image.url lmnr.span.input
""".split()  # noqa: SIM905 - a list would need 36 lines


@dataclass(frozen=True)
class Canary:
    """Work with the secret, and the package that it needs, if any."""

    work: Callable[[], None]
    package: str = ""


# A new instrumentation is one line.
CANARIES: dict[str, Canary] = {
    "FastAPI": Canary(fastapi_request),
    "SQLAlchemy": Canary(sqlalchemy_query),
    **{
        f"{error}, {way}": Canary(lambda record=record, create=create: record(create()))  # type: ignore[misc]
        for error, create in ERRORS.items()
        for way, record in WAYS.items()
    },
    **{name: Canary(lambda name=name: foreign("chat", {**LLM, name: SECRET})) for name in CONTENT},  # type: ignore[misc]
    "image": Canary(lambda: foreign("chat", {**LLM, "image_url": f"data:image/png,{SECRET}"})),
    "headers": Canary(
        lambda: foreign(
            "GET",
            {
                "http.request.header.authorization": [SECRET],
                "http.response.header.set_cookie": [SECRET],
                "rpc.grpc.request.metadata.authorization": [SECRET],
            },
        )
    ),
    "connection": Canary(lambda: foreign("SELECT", {"db.connection_string": f"a:{SECRET}@host"})),
    "list": Canary(lambda: foreign("chat", {**LLM, "gen_ai.prompt": [SECRET]})),
    "psycopg": Canary(lambda: foreign("SELECT", {"db.statement": f"SELECT '{SECRET}', 1"})),
    "query parameter": Canary(lambda: foreign("SELECT", {"db.query.parameter.0": SECRET})),
    "HTTP client": Canary(
        lambda: foreign(
            f"GET /path?key={SECRET}",
            {"url.full": f"https://u:{SECRET}@host/p?key={SECRET}#{SECRET}", "url.query": SECRET},
            SpanKind.CLIENT,
        )
    ),
    "name": Canary(lambda: foreign(f"GET https://user:{SECRET}@host/path", {})),
    **{
        kind: Canary(lambda kind=kind: exception_event(kind))  # type: ignore[misc]
        for kind in (
            "aiosqlite.Error",
            "asyncpg.exceptions.DataError",
            "fastapi.exceptions.ResponseValidationError",
            "psycopg.errors.UniqueViolation",
            "psycopg2.errors.UniqueViolation",
            "pydantic_core._pydantic_core.ValidationError",
            "pymysql.err.IntegrityError",
            "sqlalchemy.exc.StatementError",
            "sqlite3.IntegrityError",
            "pg8000.exceptions.DatabaseError",
            "mariadb.IntegrityError",
            "pymongo.errors.DuplicateKeyError",
            "jsonschema.exceptions.ValidationError",
        )
    },
    **{
        url: Canary(lambda url=url: foreign("work", {"app.callbackUrl": url, "url.full": url}))  # type: ignore[misc]
        for url in (
            f"https://host?{SECRET}",
            f"https://host/p?$filter=a eq '{SECRET}'",
            f"https://host/p?=O'Brien {SECRET}",
            f"https://user:p@{SECRET}@host/p",
            f"https://host/p#{SECRET}",
        )
    },
    "older HTTP client": Canary(
        lambda: foreign(
            "GET", {"http.url": f"https://host/p?{SECRET}", "http.target": f"/?{SECRET}"}
        )
    ),
}


@pytest.mark.parametrize("name", CANARIES)
def test_secret_does_not_leave(
    name: str, spans: FinishedSpans, caplog: pytest.LogCaptureFixture
) -> None:
    canary = CANARIES[name]
    if canary.package and not find_spec(canary.package):
        pytest.skip(f"requires {canary.package}")

    canary.work()

    assert spans()
    for span in spans():
        assert SECRET not in complete(span)
    assert SECRET not in caplog.text


def complete(span: ReadableSpan) -> str:
    """Return everything that is exported of `span`."""
    return str(span.to_json()) + str(span.context.trace_state)


@pytest.mark.parametrize("name", ["gen_ai.user.message", "gen_ai.content.prompt", "acme.event"])
@pytest.mark.parametrize("attribute", ["gen_ai.prompt", "content", "gen_ai.input.messages"])
def test_event_with_content_does_not_leave(name: str, attribute: str, spans: FinishedSpans) -> None:
    with get_tracer("an.instrumentation").start_as_current_span("chat", attributes=LLM) as span:
        span.add_event(name, {"gen_ai.system": "openai", attribute: SECRET})
        span.add_event("gen_ai.evaluation.result", {"gen_ai.evaluation.score.value": 0.5})

    [chat] = spans()
    assert SECRET not in complete(chat)
    assert "gen_ai.evaluation.result" in [event.name for event in chat.events]


@pytest.mark.parametrize("name", ["gen_ai.user.message", "gen_ai.choice", "message"])
def test_event_whose_attributes_have_plain_names_does_not_leave(
    name: str, spans: FinishedSpans
) -> None:
    # As in Strands: only the name of the event, or its span, is that of an LLM call.
    attributes = {} if name.startswith("gen_ai.") else LLM
    with get_tracer("an.instrumentation").start_as_current_span(
        "chat", attributes=attributes
    ) as span:
        span.add_event(name, {"content": SECRET, "message": SECRET, "role": "user"})

    [chat] = spans()
    assert SECRET not in complete(chat)
    assert dict(chat.events[0].attributes or {}) == {"role": "user"}


def test_words_that_contain_url_are_no_urls(spans: FinishedSpans) -> None:
    attributes = {"app.security_note": "why? #1", "app.hourly": "a? b"}
    foreign("work", attributes)

    [span] = spans()
    assert dict(span.attributes or {}) == attributes


@pytest.mark.parametrize(
    "message",
    [
        "Really? Yes.",
        "Did you mean 'orders'?",
        "expected (?P<name>...), got `a`?",
        "WHERE a = ? AND b IN (?, ?)",
        "What?!",
        "basic authentication required",
        "the body is empty",
        "no header value",
        "Really?? The answer is no.",
        "nothing to repeat in \\d+?\\s*",
        "Order(note='Sure?\\nYes', total=3)",
        "a basic misunderstanding of the format",
        "basic src/app/configuration.py is missing",
        "no order (app.models.Order) with the number 7",
        "2 validation errors in prices.csv, line 3",
        "upload failed with Error code: 500, retrying",
        "litellm.completion needs a model",
    ],
)
def test_message_that_quotes_nothing_leaves(message: str, spans: FinishedSpans) -> None:
    with pytest.raises(LookupError), traced("work"):
        raise LookupError(message)

    [span] = spans()
    assert (span.events[0].attributes or {})["exception.message"] == message


def test_content_of_a_link_does_not_leave(spans: FinishedSpans) -> None:
    context = get_tracer("an.instrumentation").start_span("chat").get_span_context()
    attributes = {"gen_ai.prompt": SECRET, "url.full": f"https://host/?key={SECRET}", "kind": "a"}
    with get_tracer("an.instrumentation").start_as_current_span("work") as span:
        span.add_link(context, attributes)

    [work] = spans()
    assert SECRET.encode() not in encode_span(work)
    assert b"https://host/" in encode_span(work)


@pytest.mark.parametrize("name", CONTENT)
def test_content_leaves_if_capture_is_enabled(
    name: str, spans: FinishedSpans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")
    foreign("chat", {**LLM, name: SECRET})

    [span] = spans()
    assert (span.attributes or {})[name] == SECRET


def test_properties_of_calls_and_own_attributes_leave(spans: FinishedSpans) -> None:
    attributes = {
        "gen_ai.system": "openai",
        "gen_ai.provider.name": "openai",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.request.model": "gpt-5",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.id": "r1",
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.output.type": "json",
        "gen_ai.tool.name": "search",
        "gen_ai.tool.call.id": "c1",
        "gen_ai.conversation.id": "s1",
        "gen_ai.agent.name": "planner",
        "traceloop.span.kind": "tool",
        "openai.response.service_tier": "default",
        "server.address": "api.openai.com",
        "app.tenant": "acme",
        "session.prompt_length": 12,
        "session.source": "api",
        "code.language": "python",
        "user.id": "u1",
        "app.is_prompt": True,
    }
    foreign("work", attributes)

    [span] = spans()
    assert dict(span.attributes or {}) == attributes


def test_message_class_and_frames_of_an_exception_leave(spans: FinishedSpans) -> None:
    def load() -> None:
        raise LookupError("no such order")

    def handle() -> None:
        try:
            load()
        except LookupError as error:
            raise RuntimeError("could not load") from error

    with pytest.raises(RuntimeError), traced("work"):
        handle()
    with pytest.raises(RuntimeError), get_tracer("user").start_as_current_span("work"):
        handle()

    for span in spans():
        assert span.status.description == "RuntimeError: could not load"
        [event] = span.events
        attributes = dict(event.attributes or {})
        assert attributes["exception.type"] == "RuntimeError"
        assert attributes["exception.message"] == "could not load"
        stack = str(attributes["exception.stacktrace"])
        assert stack.endswith("\nRuntimeError")
        assert stack.count("Traceback (most recent call last):") == 2
        assert 'raise LookupError("no such order")' in stack
        assert "\nLookupError\n" in stack
        assert ", in handle" in stack


def test_nested_spans_of_both_kinds_have_one_event(spans: FinishedSpans) -> None:
    for error in (sql_error(), pydantic_error()):
        tracer = get_tracer("user")
        with (
            pytest.raises(type(error)),
            tracer.start_as_current_span("outermost"),
            traced("middle"),
            tracer.start_as_current_span("innermost"),
        ):
            raise error

    named = [(span.name, len(span.events)) for span in spans()]
    assert named == [("outermost", 0), ("middle", 0), ("innermost", 1)] * 2
