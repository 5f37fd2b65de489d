"""Redaction: the private values that are removed from every span, whoever created it.

The content of LLM calls and tools is removed unless `_settings.captures_content()` opts in. Each text
is truncated before it is searched, so that the time is linear in its size.
"""

import re
import sys
import traceback
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import SpanKind, Status

from ._settings import captures_content

_MAX_NAME: Final = 255
_MAX_TEXT: Final = 4_096
_MAX_STACK: Final = 16_384
_MAX_SQL: Final = 16_384
_MAX_NAMES: Final = 4_096

# FastAPI and its instrumentation record these besides route, method and status: paths, query
# strings, hosts and addresses, which identify people and are billed as columns.
_REQUEST: Final = re.compile(
    r"(?:client|server|url|user_agent|net\.host|net\.peer|network\.local|network\.peer)\."
    r"|network\.protocol\.version$"
    r"|http\.(?:client_ip|flavor|host|scheme|server_name|target|url|user_agent)$"
)
# Attributes of LLM calls and tools, by the first word of their names.
_LLM: Final = re.compile(
    r"(?:gen_?ai|llm|ai|mcp|agents?|traceloop|openinference|pydantic_ai|logfire|lang\w+|llama\w*"
    r"|litellm|crewai|autogen|haystack|dspy|openai|anthropic|cohere|mistral\w*|bedrock|vertex\w*)\."
)
# On spans with such an attribute, names that need not begin with one of these words.
_BARE: Final = re.compile(
    r"[^.]+$|(?:input|output|tool|message|document|retrieval|embedding|reranker|prompt)\."
)
# Words that name content in any attribute, and last words that name a property of content instead.
_CONTENT: Final = re.compile(
    r"(?:^|[._])(?:prompts?|completions?|messages|transcripts?|instructions|tool_?arguments)(?:$|[._])"
)
_PROPERTY: Final = re.compile(
    r"(?:^|[._])(?:ids?|names?|types?|kind|roles?|models?|providers?|operation|versions?|reasons?"
    r"|formats?|languages?|status|code|tier|fingerprint|address|port|route|method|mode|effort|label"
    r"|explanation|hash|geo|speed|outcome|length)$|^\w+\.system$"
)

# Exceptions that quote their input: parameters, rows, responses.
_QUOTING: Final = re.compile(
    r"(?:aiomysql|aiosqlite|asyncmy|asyncpg|cx_Oracle|duckdb|mysql|MySQLdb|oracledb|psycopg2?"
    r"|pydantic_core|pymssql|pymysql|pyodbc|sqlalchemy|sqlite3|pydantic(?:\.v1)?\.error_wrappers)\."
    r"|fastapi\.exceptions\.\w*ValidationError"
)
# SQLAlchemy begins with the class of the driver's exception, Pydantic and FastAPI with a count, LLM
# SDKs with the status of a response that may quote the prompt.
_PREFIX: Final = (
    r"\((?:\w{1,99}\.){1,9}[A-Z]\w{0,99}\)|(?<!\d)\d{1,6} validation errors?(?: for \w{1,99})?"
    r"|\bError code: \d{3}|(?<!\w)[45]\d\d [A-Z_]{3,99}(?=\. )|\blitellm\.\w{1,99}"
    r"|\(\w{1,99}\) when calling the (?:Converse|InvokeModel)\w{0,99} operation"
)
_QUOTED: Final = re.compile(
    rf"(?P<kept>{_PREFIX})|\[SQL: |\[parameters: |\bDETAIL: |\binput_value="
)
_QUERY: Final = re.compile(r"(?<=[\w/])\?[\w%\[][^\s'\"<>]*|(?<=://)[^\s/@'\"]{1,999}@")
_FRAME: Final = re.compile(r'  File "[^"]{1,999}", line \d{1,9}, in |  \[Previous line repeated ')
_CHAIN: Final = (
    "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
)

_COMMENT: Final = r"--[^\n]*+ | /\*(?:[^*/]|\*(?!/)|/(?!\*)|/\*.*?(?:\*/|\Z))*+(?:\*/|\Z)"
_DOLLAR_QUOTED: Final = r"\$(?P<tag>\w{0,99})\$.*?(?:\$(?P=tag)\$|\Z)"
_ESCAPED: Final = r"'(?:[^'\\]|''|\\.)*+(?:'|\Z)"
_TEXT: Final = rf"(?<!\w)[eE]{_ESCAPED} | [BNXbnx]?'(?:[^']|'')*+(?:'|\Z)"
# Not a placeholder ($1, :name_1) and not a part of a name.
_NUMBER: Final = r"(?<![\w$:.])\d[\d.]*+(?:[eE][+-]?\d+)?\b"
_NAME: Final = r'"(?:[^"]|"")*+(?:"|\Z) | `[^`]*+(?:`|\Z)'
_SQL: Final = {
    "mysql": rf"(?P<comment>{_COMMENT} | \#[^\n]*+) | `[^`]*+(?:`|\Z) | (?P<value>{_ESCAPED}"
    rf'| "(?:[^"\\]|""|\\.)*+(?:"|\Z) | {_NUMBER})',
    "mssql": rf"(?P<comment>{_COMMENT}) | \[[^\]]*+(?:\]|\Z) | {_NAME}"
    rf" | (?P<value>{_TEXT} | {_NUMBER})",
    # SQLite takes an unknown name for text.
    "sqlite": rf"(?P<comment>{_COMMENT}) | (?:\b(?:AS|FROM|INTO|JOIN|TABLE|UPDATE)\s | \.)(?:{_NAME})"
    rf'| "\w+"\.(?:{_NAME})? | (?P<value>{_NAME} | {_TEXT} | {_NUMBER})',
    "": rf"(?P<comment>{_COMMENT}) | {_NAME} | (?P<value>{_DOLLAR_QUOTED} | {_TEXT} | {_NUMBER})",
}
_SQL.update(mariadb=_SQL["mysql"], **{"microsoft.sql_server": _SQL["mssql"]})
# Names that `_rule` leaves alone.
_plain: Final[set[str]] = set()


def redact_span(span: ReadableSpan, events: list[Event], weight: int) -> ReadableSpan:
    """Return `span` as it is exported: with `events`, its `SampleRate`, and without private values."""
    original: Any = span.attributes or {}
    status, name = span.status, span.name
    attributes = redact_attributes(original, is_server=span.kind is SpanKind.SERVER)
    if weight > 1 or (span.context.trace_state and "ot" in span.context.trace_state):
        # Honeycomb multiplies each event by it. Without it, the rate in the trace state counts, even
        # if the trace was kept because it failed.
        attributes = {**attributes, "SampleRate": weight}
    if status.description:
        status = Status(status.status_code, _description(span))
    if "?" in name or "@" in name:
        name = _QUERY.sub("", name[:_MAX_TEXT])
    if attributes is original and status is span.status and name is span.name and not span.events:
        return span
    return copy_span(span, name=name, attributes=attributes, events=events, status=status)


def redact_attributes(attributes: Mapping[str, Any], *, is_server: bool = False) -> Any:
    """Return `attributes` without private values: the same object if it contains none."""
    if _plain.issuperset(attributes):
        return attributes
    rules = {name: _rule(name[:_MAX_NAME]) for name in attributes}
    is_llm = "bare" in rules.values() and any(map(_LLM.match, attributes))
    redacted: dict[str, Any] = {}
    for name, value in attributes.items():
        rule = rules[name]
        if (rule == "request" and is_server) or name == "url.query":
            continue
        is_content = rule == "content" or rule == "bare" and is_llm
        if is_content and not isinstance(value, int | float) and not captures_content():
            continue
        if rule and isinstance(value, str):
            value = _redact_text(rule, name, value, attributes)
        redacted[name[:_MAX_NAME]] = value
    return redacted


@lru_cache(maxsize=_MAX_NAMES)
def _rule(name: str) -> str:
    """Return the kind of values that an attribute has, or an empty string if they are not private."""
    rule = ""
    if _REQUEST.match(name):
        rule = "request"
    elif re.match(r"db\.(?:query\.text|statement)$", name):
        rule = "sql"
    elif re.match(r"(?:exception|error)\.(?:message|stacktrace)$", name):
        rule = "text"
    elif "url" in name or "uri" in name:
        rule = "url"
    elif re.match(r"db\.(?:query|statement|operation)\.param", name):
        rule = "content"
    elif not _PROPERTY.search(name):
        rule = "content" if _LLM.match(name) or _CONTENT.search(name) else ""
        rule = rule or ("bare" if _BARE.match(name) else "")
    if not rule and len(_plain) < _MAX_NAMES:
        _plain.add(name)
    return rule


def _redact_text(rule: str, name: str, value: str, attributes: Mapping[str, Any]) -> str:
    if rule in ("request", "url"):
        return _QUERY.sub("", value[:_MAX_TEXT]).partition("#")[0]
    if rule == "sql":
        system = attributes.get("db.system.name") or attributes.get("db.system")
        return redact_sql(value, str(system))
    if rule == "text":
        return redact_stack(value) if name.endswith("stacktrace") else redact_text(value)
    return value


def redact_event(event: Event) -> Event | None:
    """Return `event` without private values, or None if nothing of it is left to export."""
    attributes = event.attributes or {}
    redacted = redact_attributes(attributes)
    if event.name == "exception":
        kind = str(attributes.get("exception.type", ""))
        message = str(attributes.get("exception.message", ""))
        redacted = {**redacted, "exception.message": redact_message(kind, message)}
        if stack := attributes.get("exception.stacktrace"):
            last = f"{kind[:_MAX_NAME]}: {redacted['exception.message']}"
            redacted["exception.stacktrace"] = redact_stack(str(stack), last)
    elif len(redacted) < len(attributes) and not any(
        isinstance(value, int | float) for value in redacted.values()
    ):
        return None  # a prompt or an answer
    return Event(event.name, redacted, event.timestamp) if redacted is not attributes else event


def copy_span(
    span: ReadableSpan,
    *,
    attributes: Any,
    name: str | None = None,
    events: Any = None,
    status: Status | None = None,
) -> ReadableSpan:
    """Return a copy of a finished span, whose own attributes are immutable."""
    return ReadableSpan(
        name=span.name if name is None else name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=attributes,
        events=span.events if events is None else events,
        links=span.links,
        kind=span.kind,
        status=status or span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def redact_sql(statement: str, dialect: str) -> str:
    """Replace each text and number in `statement` with a question mark, and join its lines."""
    return _redact_sql(statement[:_MAX_SQL], dialect)


@lru_cache(maxsize=512)
def _redact_sql(statement: str, dialect: str) -> str:
    def redact(token: re.Match[str]) -> str:
        return "?" if token["value"] else " " if token["comment"] else token[0]

    return " ".join(_sql_tokens(dialect).sub(redact, statement).split())


@lru_cache
def _sql_tokens(dialect: str) -> re.Pattern[str]:
    return re.compile(_SQL.get(dialect, _SQL[""]), re.VERBOSE | re.DOTALL | re.IGNORECASE)


def qualified_name(error: BaseException) -> str:
    """Return the class of `error` with its module, as OpenTelemetry's `error.type`."""
    module, name = type(error).__module__, type(error).__qualname__
    return name if module == "builtins" else f"{module}.{name}"


def describe_exception(error: BaseException) -> dict[str, str]:
    """Return the attributes of an exception event of `error`, without private values."""
    kind = qualified_name(error)
    try:
        message = redact_message(kind, str(error))
    except Exception:  # noqa: BLE001 - a broken __str__ in the application
        message = ""
    stack = redact_stack("".join(traceback.format_exception(error)), f"{kind}: {message}")
    return {
        "exception.type": kind,
        "exception.message": message,
        "exception.stacktrace": stack,
    }


def redact_message(kind: str, message: str) -> str:
    """Remove quoted values from the message of an exception of class `kind`."""
    if not _quotes_values(kind[:_MAX_NAME]):
        return redact_text(message)
    prefix = re.match(_PREFIX, message[:_MAX_TEXT])
    return prefix[0] if prefix else ""


def redact_text(text: str) -> str:
    """Cut `text` before the values that an exception quotes, and remove query strings from URLs."""
    text = text[:_MAX_TEXT]
    if quoted := _QUOTED.search(text):
        text = text[: quoted.end("kept") if quoted["kept"] else quoted.start()]
    return _QUERY.sub("", text)


@lru_cache(maxsize=1_024)
def _quotes_values(kind: str) -> bool:
    module, _, name = kind.rpartition(".")
    bases = getattr(getattr(sys.modules.get(module), name, None), "__mro__", ())
    names = [f"{base.__module__}.{base.__qualname__}" for base in bases]
    return any(map(_QUOTING.match, [kind, *names]))


def _description(span: ReadableSpan) -> str:
    description = (span.status.description or "")[:_MAX_TEXT]
    for event in span.events:
        attributes = event.attributes or {}
        message = str(attributes.get("exception.message", ""))[:_MAX_TEXT]
        if message and message in description:
            redacted = redact_message(str(attributes.get("exception.type", "")), message)
            description = description.replace(message, redacted)
    return redact_text(description)


def redact_stack(text: str, last: str = "") -> str:
    """Keep the frames of a formatted stack trace, and the classes of its exceptions, up to `last`.

    Messages are removed, with notes, and those of causes and of the members of a group.
    """
    if len(text) > 2 * _MAX_STACK:
        text = f"{text[:_MAX_STACK]}\n{text[-_MAX_STACK:]}"
    kept: list[str] = []
    prefix, in_traceback, after_frame = "", False, False
    for line in text.splitlines():
        content, rest = line.lstrip(" |+"), line.removeprefix(prefix)
        if content.startswith(("Traceback (most recent", "Exception Group Traceback (most recent")):
            # Lines of an exception group are indented, and begin with a bar.
            prefix = line[: len(line) - len(content)].replace("+", "|")
            in_traceback, after_frame = True, False
        elif in_traceback and _FRAME.match(rest):
            after_frame = True
        elif not (after_frame and rest.startswith("    ")):
            line = content.partition(":")[0]  # the class of the exception, before its message
            is_class = line.replace(".", "").replace("<locals>", "").isidentifier()
            if not (content in _CHAIN or in_traceback and is_class):
                in_traceback = after_frame = False
                continue
            in_traceback = after_frame = False
        kept.append(line[:_MAX_TEXT])
    if last and kept and kept[-1] == last.partition(":")[0]:
        kept.pop()
    return "\n".join([*kept, last])[-_MAX_STACK:]
