"""Redaction: the private values that are removed from every span, whoever created it.

The content of LLM calls and tools is removed unless `_settings.captures_content()` opts in. Each text
is truncated before it is searched, so that the time is linear in its size.
"""

import re
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from inspect import signature
from typing import Any, Final

from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import SpanKind, Status

from ._settings import captures_content

_MAX_NAME, _MAX_NAMES, _MAX_TEXT = 255, 4_096, 4_096
MAX_LONG_TEXT: Final = 16_384  # of SQL or a stack trace
_FIELDS: Final = signature(ReadableSpan).parameters.keys() - {"instrumentation_info"}  # deprecated

# Attributes of LLM calls and tools, by the first word of their names.
_LLM: Final = re.compile(
    r"(?:gen_?ai|llm|ai|mcp|agents?|traceloop|openinference|pydantic_ai|logfire|lang\w+|llama\w*"
    r"|litellm|crewai|autogen|haystack|dspy|openai|anthropic|cohere|mistral\w*|bedrock|vertex\w*"
    r"|agentops|agno|braintrust|lmnr|mlflow|opik|semantic_kernel|smolagents|strands)\."
)
# Kinds of private values and the names of their attributes. The first that matches counts.
_RULES: Final = (
    ("removed", r"^url\.query$|^db\.connection_string$|^(?:http|rpc)\.[\w.]*(?:header|metadata)\."),
    # Recorded besides route, method and status: addresses, hosts and paths, which identify people.
    ("request", r"^(?:client|server)\.(?:address|port|socket)|^net\w*\.(?:host|local|peer)\."),
    ("request", r"^http\.(?:client_ip|flavor|host|scheme|server_name|target|url|user_agent)$"),
    ("request", r"^(?:url|user_agent)\.|^network\.protocol\.version$|\.request\.method_original$"),
    ("sql", r"^db\.(?:query\.text|statement)$"),
    ("message", r"^(?:exception|error)\.message$"),
    ("stack", r"^(?:exception|error)\.stacktrace$"),
    ("content", r"^db\.(?:query|statement|operation)\.param"),
    # The last word may name a property of content instead.
    ("", r"(?:^|[._])(?:ids?|names?|types?|kind|roles?|models?|providers?|operation|versions?)$"),
    ("", r"(?:^|[._])(?:reasons?|formats?|languages?|status|code|tier|fingerprint|address|port)$"),
    ("", r"(?:^|[._])(?:route|method|mode|effort|label|explanation|hash|geo|speed|outcome)$"),
    ("", r"^\w+\.system$|(?:^|[._])(?:length|(?:in|out)put_tokens|cost_usd)$"),
    ("content", f"^{_LLM.pattern}"),
    ("content", r"(?:^|[._])(?:prompts?|completions?|messages|transcripts?)(?:$|[._])"),
    ("content", r"(?:^|[._])(?:instructions|tool_?arguments)(?:$|[._])"),
    ("url", r"(?:^|[._])ur[li]|ur[li]s?(?:$|[._])|U(?:rl|RL|ri|RI)"),
    # Content on spans that have an attribute of an LLM call.
    ("bare", r"^(?:[^.]+$|(?:input|output|tool|message|document|retrieval|embedding|reranker)\.)"),
)

# This and the next patterns are compiled at the first exception, because the start has to be fast.
# Exceptions that quote their input: parameters, rows, responses.
_QUOTING: Final = (
    r"(?:(?:aio|cy|py)?mysql|(?:aio)?sqlite3?|async(?:my|pg)|clickhouse_\w+|cx_Oracle|duckdb|mariadb"
    r"|MySQLdb|oracledb|peewee|pg8000|psycopg\w*|pydantic_core|pymongo|pymssql|pyodbc|jsonschema"
    r"|snowflake|sqlalchemy|pydantic(?:\.v1)?\.error_wrappers)\.|fastapi\.exceptions\.\w*Validation"
)
# SQLAlchemy begins with the class of the driver's exception, validators with a count of errors, LLM
# SDKs with the status of a response that may quote the prompt.
_PREFIX: Final = (
    r"\((?:psycopg2?\.errors\.\w{1,99}|(?:\w{1,99}\.){1,9}\w{0,99}(?:Error|Exception|Warning))\)"
    r"|\b\d{1,6} validation errors?(?: for \w{1,99}|(?=:| detected))|\b[45]\d\d [A-Z_]{3,99}(?=\. )"
    r"|\b(?:(?:[Bb]ody|headers)[:=]|header value:?)(?= ?b?['\"<{])|\bError code: \d{3}(?= - )"
    r"|\(\w{1,99}\) when calling the (?:Converse|InvokeModel)\w* operation|\blitellm\.\w{1,99}(?=:)"
)
_QUOTED: Final = rf"(?P<kept>{_PREFIX})|\[SQL: |\[parameters: |DETAIL: |input_value="
# User and password of a URL; tokens in a header, but not words; query strings, but not sentences.
_USER: Final = r"(?<=://)[^\s/'\"]{1,999}@"
_TOKEN: Final = r"(?i:(?<=bearer )|(?<=basic ))(?=\S*[A-Z\d])[\w.~+/=-]{16,}"
_QUERY: Final = rf"{_USER}|{_TOKEN}|(?<![\s'\"(<])\?[\w%&=$+/@[\x7b](?:[^\s'\"]|'(?=\w))*"
# Kept of a stack trace: frames with their source, classes of exceptions, how they are chained.
_TRACEBACK: Final = (
    r"(?m)^(?:Exception Group )?Traceback \(most recent call last\):"
    r'(?:\n  (?:File "[^"\n]{1,999}", line \d{1,9}, in|\[Previous line repeated) .*(?:\n    .*)*)*+'
    r"(?:\n(?:[\w.]|<locals>)++(?=:|$))?"
    r"|^The above exception was the direct cause of the following exception:$"
    r"|^During handling of the above exception, another exception occurred:$"
)

# Names in each dialect. "x" may be a text in SQLite, and is treated as one in an unlisted dialect.
_NAME: Final = r'"(?:[^"]|"")*+(?:"|\Z) | `[^`]*+(?:`|\Z)'
_OTHER: Final = r"`[^`]*+(?:`|\Z) | \#[^\n]*+"  # the latter is a comment of MySQL
_SQL: Final = {
    **dict.fromkeys(("aws.redshift", "clickhouse", "cockroachdb", "duckdb", "oracle"), _NAME),
    **dict.fromkeys(("oracle.db", "postgresql", "redshift", "snowflake", "trino"), _NAME),
    **dict.fromkeys(("mssql", "microsoft.sql_server"), rf"\[[^\]]*+(?:\]|\Z) | {_NAME}"),
    "sqlite": r'`[^`]*+(?:`|\Z) | "\w+"(?=\.)'
    r'| (?:(?<=\.)|(?<=UPDATE\s)|(?<=FROM\s|INTO\s|JOIN\s))"\w+"',
}
# Comments and values. Texts with a backslash before a quote, which dialects read differently, and
# Oracle's q'[it's]' end the statement. Placeholders ($1, :name_1) and names contain numbers.
_VALUE: Final = (
    r"--[^\n]*+ | /\*(?:[^*/]|\*(?!/)|/(?!\*)|/\*.*?(?:\*/|\Z))*+(?:\*/|\Z)"
    r"| (?<!\w)N?Q'.*"
    r"| (?:(?<!\w)[BENX])?(['\"])(?:(?!\2)[^\\]|\2\2|\\(?!\2).)*+(?:\2|\\\2.*|\\?\Z)"
    r"| (?<!\w)\$(\w{0,99})\$.*?(?:\$\3\$|\Z) | (?<![\w$:.])\.?\d(?:[\w.]|(?<=e)[+-])*+"
)
_plain: Final[set[str]] = set()  # names that `_rule` leaves alone


def redact_span(span: ReadableSpan, events: list[Event] | None, weight: int) -> ReadableSpan:
    """Return `span` as it is exported: with `events`, its `SampleRate`, and without private values."""
    original: Any = span.attributes or {}
    name, description, state = span.name, span.status.description, span.context.trace_state
    attributes = redact_attributes(original, is_server=span.kind is SpanKind.SERVER)
    if weight > 1 or (state and "ot" in state):
        # Without it, Honeycomb multiplies by the rate in the trace state, also if the trace failed.
        attributes = {**attributes, "SampleRate": weight}
    changed = {} if attributes is original else {"attributes": attributes}
    if events is not None:
        changed["events"] = events
    if description:
        changed["status"] = Status(span.status.status_code, _redact_description(description, span))
    if "?" in name or "@" in name:
        changed["name"] = re.sub(_QUERY, "", name[:_MAX_TEXT])
    return copy_span(span, **changed) if changed else span


def redact_attributes(attributes: Any, *, is_server: bool = False, is_llm: bool = False) -> Any:
    """Return `attributes` without private values: the same object if it contains none."""
    if _plain.issuperset(attributes):
        return attributes
    rules = {name: _rule(name[:_MAX_NAME]) for name in attributes if name not in _plain}
    is_llm = is_llm or ("bare" in rules.values() and any(map(_LLM.match, attributes)))
    redacted = dict(attributes)
    for name, rule in rules.items():
        value = redacted.pop(name)
        is_removed = rule == "removed" or (rule == "request" and is_server)
        if rule == "content" or (rule == "bare" and is_llm):
            is_removed = type(value) not in (bool, int, float) and not captures_content()
        if not is_removed:
            text = rule and isinstance(value, str)
            redacted[name[:_MAX_NAME]] = _redact_text(rule, value, attributes) if text else value
    return attributes if redacted == attributes else redacted


@lru_cache(maxsize=_MAX_NAMES)
def _rule(name: str) -> str:
    """Return the kind of values that an attribute has, or an empty string if they are not private."""
    rule = next((rule for rule, pattern in _RULES if re.search(pattern, name)), "")
    if not rule and len(_plain) < _MAX_NAMES:
        _plain.add(name)
    return rule


def _redact_text(rule: str, value: str, attributes: Mapping[str, Any]) -> str:
    if rule == "sql":
        system = attributes.get("db.system.name") or attributes.get("db.system")
        return redact_sql(value[:MAX_LONG_TEXT], str(system))
    if rule in ("request", "url"):
        return re.sub(rf"(?s){_USER}|[?#].*|(?<=\bdata:).*", "", value[:_MAX_TEXT])
    if rule == "message":
        return redact_text(value, str(attributes.get("exception.type", "")))
    return redact_stack(value) if rule == "stack" else value


def redact_event(event: Event, span: ReadableSpan) -> Event | None:
    """Return `event` of `span` without private values, or None if nothing is left to export."""
    is_llm = any(map(_LLM.match, (event.name, *(span.attributes or ()))))
    redacted = redact_attributes(attributes := event.attributes or {}, is_llm=is_llm)
    changed = Event(event.name, redacted, event.timestamp) if redacted else None
    return event if redacted is attributes else changed


def copy_span(span: ReadableSpan, **changed: Any) -> ReadableSpan:
    """Return a copy of a finished span, whose own fields are immutable, with `changed` fields."""
    fields = {name: getattr(span, name) for name in _FIELDS if name not in changed}
    return ReadableSpan(**fields, **changed)


@lru_cache(maxsize=512)
def redact_sql(statement: str, dialect: str) -> str:
    """Replace values in `statement` by question marks. Pass at most MAX_LONG_TEXT characters."""
    tokens, comments = f"(?isx)({_SQL.get(dialect, _OTHER)}) | {_VALUE}", ("--", "/*", "#")
    text = re.sub(tokens, lambda t: " " if t[0].startswith(comments) else t[1] or "?", statement)
    return " ".join(text.split())


def qualified_name(error: type[BaseException]) -> str:
    """Return the name of a class with its module, as OpenTelemetry's `error.type`."""
    module, name = error.__module__, error.__qualname__
    return name if module == "builtins" else f"{module}.{name}"


def describe_exception(error: BaseException) -> dict[str, str]:
    """Return the attributes of an exception event of `error`, without private values."""
    message, stack = "", (kind := qualified_name(type(error)))
    with suppress(Exception):  # a broken __str__ in the application
        message = redact_text(str(error), kind)
    with suppress(Exception):  # such as a SyntaxError whose fields are not texts
        stack = redact_stack("".join(traceback.format_exception(error)))
    return {"exception.type": kind, "exception.message": message, "exception.stacktrace": stack}


def redact_text(text: str, kind: str = "") -> str:
    """Remove values that an exception quotes, of class `kind` if it is known, and query strings."""
    text = text[:_MAX_TEXT]
    module, _, name = kind.rpartition(".")
    bases = getattr(getattr(sys.modules.get(module), name, None), "__mro__", ())
    if any(re.match(_QUOTING, each) for each in (kind, *map(qualified_name, bases))):
        return prefix[0] if (prefix := re.match(_PREFIX, text)) else ""
    if quoted := re.search(_QUOTED, text):
        text = text[: quoted.end("kept") if quoted["kept"] else quoted.start()]
    return re.sub(_QUERY, "", text)


def _redact_description(description: str, span: ReadableSpan) -> str:
    operation = str((span.attributes or {}).get("gen_ai.operation.name"))
    if re.search("agent|tool|workflow", operation) and not captures_content():
        return ""  # frameworks copy the error of a tool, which is content like its result
    description = description[:_MAX_TEXT]
    for event in span.events:
        attributes = event.attributes or {}
        if message := str(attributes.get("exception.message", ""))[:_MAX_TEXT]:
            redacted = redact_text(message, str(attributes.get("exception.type", "")))
            description = description.replace(message, redacted)
    return redact_text(description)


def redact_stack(text: str) -> str:
    """Keep the frames of a stack trace and the classes of its exceptions, without messages or notes."""
    if len(text) > 2 * MAX_LONG_TEXT:
        text = f"{text[:MAX_LONG_TEXT]}\n{text[-MAX_LONG_TEXT:]}"
    text = re.sub(r"(?m)^ *[|+] ", "", text)  # before the lines of an exception group
    return "\n".join(match[0] for match in re.finditer(_TRACEBACK, text))[-MAX_LONG_TEXT:]
