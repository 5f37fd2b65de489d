"""Results of the rendered queries, evaluated over the events of real requests.

The requests are those of the rendered contract test: of five, one fails in the provider, one in the
database, and one gets no valid code. A sixth is the first of a container on Modal. An agent calls a tool and
two models, one of which has no price.
"""

import json
import operator
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from hooks.honeycomb.definitions import load

from ..conftest import Render, Workshop

Event = dict[str, Any]
Query = dict[str, Any]
WRITE_EVENTS: Final = """\
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind

from order_intake.observability import TokenUsage, llm_call, span_attributes, traced
from order_intake.observability.integrations.modal import invocation_attributes
from order_intake.observability._setup import create_resource
from order_intake.observability._settings import Settings
from order_intake.observability.testing import capture_spans
from opentelemetry import trace

from .events import events_of
from .test_contract import send_requests

MODAL = {
    "MODAL_IS_REMOTE": "1",
    "MODAL_CLOUD_PROVIDER": "CLOUD_PROVIDER_AWS",
    "MODAL_REGION": "us-east-1",
    "MODAL_TASK_ID": "ta-1",
    "MODAL_IMAGE_ID": "im-1",
}
RUNTIME = SimpleNamespace(
    current_input_id=lambda: "in-1", current_function_call_id=lambda: "fc-1"
)

def run_agent():
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}
    usage = TokenUsage(input_tokens=1000, output_tokens=100)
    with span_attributes(user_id="user-2", conversation_id="thread-1"), traced("task.run"):
        for model in ("claude-sonnet-4-6", "a-model-without-a-price"):
            with llm_call("anthropic", model, agent_name="researcher") as call:
                call.record_first_chunk()
                call.record_usage(usage, model=model, finish_reason="max_tokens")
        with traced("invoke_agent researcher", {"gen_ai.operation.name": "invoke_agent"}):
            with traced("execute_tool search", tool):
                pass

def test_events(tmp_path, monkeypatch):
    with capture_spans() as spans:
        send_requests(tmp_path)
        monkeypatch.setitem(sys.modules, "modal", RUNTIME)
        monkeypatch.setenv("MODAL_IS_REMOTE", "1")
        attributes = invocation_attributes("http")
        span = trace.get_tracer(__name__).start_span(
            "WS /chat", kind=SpanKind.SERVER, attributes=attributes
        )
        span.end()
        run_agent()
    for name, value in MODAL.items():
        monkeypatch.setenv(name, value)
    resource = create_resource(Settings(variables={}))
    events = [event for span in spans for event in events_of(span, resource)]
    Path("events.json").write_text(json.dumps(events))
"""


class Absent:
    """The value of a column that an event does not have: false in each comparison."""

    def __bool__(self) -> bool:
        return False

    def _false(self, other: object) -> bool:
        return False

    def _absent(self, other: object) -> "Absent":
        return self

    __lt__ = __le__ = __gt__ = __ge__ = _false
    __add__ = __radd__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _absent


ABSENT: Final = Absent()
FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "IF": lambda condition, then, otherwise=ABSENT: then if condition else otherwise,
    "EXISTS": lambda value: value is not ABSENT,
    "COALESCE": lambda *values: next((value for value in values if value is not ABSENT), ABSENT),
    "IN": lambda value, *values: value in values,
    "STARTS_WITH": lambda value, start: isinstance(value, str) and value.startswith(start),
}
COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "in": lambda value, values: value in values,
    "does-not-contain": lambda value, text: text not in value,
}


def calculated(expression: str, event: Event) -> Any:
    """The value of a calculated field, translated to Python, whose operators differ slightly."""
    words = {"AND": "and", "OR": "or", "=": "==", "!": "not "}
    python = re.sub(
        r'"[^"]*"|\$([\w.]+)|AND|OR|[<>!]=|[=!]',
        lambda token: f"column({token[1]!r})" if token[1] else words.get(token[0], token[0]),
        expression,
    )
    return eval(python, {**FUNCTIONS, "column": lambda name: event.get(name, ABSENT)})


class Dataset:
    """Events, and the columns that are calculated from them."""

    def __init__(self, project: Path) -> None:
        self.project = project
        self.events: list[Event] = json.loads((project / "events.json").read_text())
        columns = json.loads((project / "honeycomb/derived_columns.json").read_text())
        self.expressions = {each["alias"]: each["expression"] for each in columns.values()}
        self.triggers = json.loads((project / "honeycomb/triggers.json").read_text())

    def answer(self, query: Query) -> list[Event]:
        """The events that match the filters of `query`."""
        return [
            event
            for event in self.events
            if all(self._matches(filter_, event, query) for filter_ in query.get("filters", []))
        ]

    def value(self, name: str, event: Event, query: Query) -> Any:
        own = {field["name"]: field["expression"] for field in query.get("calculated_fields", [])}
        expressions = self.expressions | own
        if name in expressions:
            return calculated(expressions[name], event)
        if name.startswith(("any.", "root.")):
            relation, _, name = name.partition(".")
            trace = [
                other for other in self.events if other["trace.trace_id"] == event["trace.trace_id"]
            ]
            related = [
                other for other in trace if relation == "any" or "trace.parent_id" not in other
            ]
            return next((other[name] for other in related if name in other), ABSENT)
        return event.get(name, ABSENT)

    def values(self, name: str, query: Query) -> list[Any]:
        found = [self.value(name, event, query) for event in self.answer(query)]
        return [value for value in found if value is not ABSENT]

    def panel(self, board: str, name: str) -> Query:
        """The query of a panel."""
        [query] = [query for place, query in self.queries() if place == f"{board}: {name}"]
        return query

    def trigger(self, name: str) -> Query:
        query: Query = self.triggers[name]["query"]
        return query

    def queries(self) -> Iterator[tuple[str, Query]]:
        for path in sorted((self.project / "honeycomb/boards").glob("*.json")):
            for panel in json.loads(path.read_text())["panels"]:
                if "query_panel" in panel:
                    name = panel["query_panel"]["query_annotation"]["name"]
                    yield f"{path.stem}: {name}", panel["query_panel"]["query"]
        for name in self.triggers:
            yield name, self.trigger(name)
        for saved in json.loads((self.project / "honeycomb/saved_queries.json").read_text()):
            yield saved["name"], saved["query"]
        runbooks = (self.project / "docs/runbooks.md").read_text()
        for number, block in enumerate(re.findall(r"```json\n(.+?)```", runbooks, re.DOTALL)):
            yield f"runbook query {number}", json.loads(block)

    def _matches(self, filter_: dict[str, Any], event: Event, query: Query) -> bool:
        value = self.value(filter_["column"], event, query)
        if filter_["op"] in ("exists", "does-not-exist"):
            return (value is not ABSENT) is (filter_["op"] == "exists")
        return COMPARISONS[filter_["op"]](value, filter_["value"])


@pytest.fixture(scope="module")
def dataset(render: Render, workshop: Workshop) -> Dataset:
    project = render()
    workshop.install(project)
    shutil.copy(Path(__file__).with_name("events.py"), project / "tests/observability")
    (project / "tests/observability/test_events.py").write_text(WRITE_EVENTS)
    workshop.tool(project, "pytest", "-q", "tests/observability/test_events.py")
    return Dataset(project)


def test_each_query_matches_events_with_each_of_its_columns(dataset: Dataset) -> None:
    queries = dict(dataset.queries())

    assert len(queries) > 70
    for place, query in queries.items():
        assert dataset.answer(query), place
        columns = {calculation.get("column") for calculation in query["calculations"]} - {None}
        for column in columns | set(query.get("breakdowns", [])):
            assert dataset.values(column, query), f"{place}: {column}"


def test_request_and_its_failure_count_once(dataset: Dataset) -> None:
    rate = dataset.panel("quick-overview", "Request rate")
    success = dataset.panel("quick-overview", "Success rate")
    errors = dataset.panel("error-tracking", "Error rate by route")

    assert len(dataset.answer(rate)) == 6
    assert Counter(dataset.values("error_percent", errors)) == {0: 4, 100: 2}
    assert Counter(dataset.values("success_percent", success)) == {100: 4, 0: 2}
    assert dataset.answer(dataset.trigger("high-error-rate")) == dataset.answer(rate)
    assert dataset.answer(dataset.trigger("missing-traffic")) == dataset.answer(rate)


def test_exception_counts_once(dataset: Dataset) -> None:
    exceptions = dataset.panel("error-tracking", "Exceptions")

    assert Counter(
        value.rpartition(".")[2] for value in dataset.values("exception.type", exceptions)
    ) == {"CodeRejected": 3, "ProviderError": 1, "OperationalError": 1}


def test_failures_of_provider_and_database_alert_once_each(dataset: Dataset) -> None:
    [provider] = dataset.answer(dataset.trigger("llm-provider-failure"))
    [database] = dataset.answer(dataset.trigger("database-failure"))

    assert provider["name"] == "llm.call"
    assert provider["llm.provider"] == "anthropic"
    assert database["parent_name"] == "INSERT"
    assert database["exception.type"] == "sqlalchemy.exc.OperationalError"


def test_cost_of_an_llm_call_counts_once(dataset: Dataset) -> None:
    # Per million tokens of claude-sonnet-4-6: 3 in, 0.30 read, 3.75 written, 15 out.
    call = (120 * 3 + 5_000 * 0.3 + 2_000 * 3.75 + 60 * 15) / 1_000_000
    cost = dataset.trigger("llm-cost-spike")
    failed = dataset.panel("business-metrics", "LLM cost of failed traces")

    of_agent = (1_000 * 3 + 100 * 15) / 1_000_000
    assert dataset.values("llm.cost_usd", cost) == pytest.approx([call] * 7 + [of_agent])
    # Four of the session without valid code, and one of the session that the database rejected.
    assert dataset.values("llm.cost_usd", failed) == pytest.approx([call] * 5)


def test_agents_and_tools_are_not_llm_calls(dataset: Dataset) -> None:
    calls = dataset.answer(dataset.panel("performance-analysis", "LLM calls by model"))
    [tool] = dataset.answer(dataset.panel("error-tracking", "Tools of agents"))

    assert {event["name"] for event in calls} == {"llm.call"}
    assert tool["name"] == "execute_tool search"


def test_cost_is_attributed_to_users_conversations_and_agents(dataset: Dataset) -> None:
    def costs(name: str, column: str) -> dict[str, float]:
        total: dict[str, float] = {}
        for event in dataset.answer(dataset.panel("business-metrics", f"LLM cost by {name}")):
            total[event[column]] = total.get(event[column], 0) + event["llm.cost_usd"]
        return total

    assert costs("agent", "gen_ai.agent.name") == pytest.approx({"researcher": 0.0045})
    assert costs("user", "user.id")["user-2"] == pytest.approx(0.0045)
    assert costs("conversation", "gen_ai.conversation.id")["thread-1"] == pytest.approx(0.0045)


def test_trace_of_an_agent_has_its_llm_calls(dataset: Dataset) -> None:
    query = dataset.panel("request-overview", "Calls and queries by route")
    [root] = [event for event in dataset.events if event["name"] == "task.run"]
    trace = [event for event in dataset.events if event["trace.trace_id"] == root["trace.trace_id"]]

    assert sum(dataset.value("llm_calls", event, query) for event in trace) == 2
    assert sum(dataset.value("requests", event, query) for event in trace) == 0


def test_completion_that_was_truncated_is_incomplete(dataset: Dataset) -> None:
    [query] = [
        query for place, query in dataset.queries() if place.endswith("Incomplete completions")
    ]

    reasons = set(dataset.values("gen_ai.response.finish_reasons", query))

    assert reasons == {'["max_tokens"]'}


def test_slo_covers_requests_only(dataset: Dataset) -> None:
    def sli(alias: str) -> Counter[Any]:
        return Counter(dataset.values(alias, {}))

    assert sli("sli.request_succeeded") == {True: 4, False: 2}
    # Five requests, fast or, on a busy machine, not: a WebSocket is open as long as its client likes.
    assert sli("sli.request_was_fast").total() == 5
    slow = {"span.kind": "server", "http.request.method": "GET", "duration_ms": 10_000.5}
    assert calculated(dataset.expressions["sli.request_was_fast"], slow) is False


def test_failed_connection_is_a_database_failure(dataset: Dataset) -> None:
    expression = dataset.expressions["is_database_failure"]
    event = {"meta.annotation_type": "span_event", "exception.type": "ConnectionRefusedError"}

    assert calculated(expression, event)
    assert not calculated(expression, event | {"exception.type": "sqlalchemy.exc.IntegrityError"})
    assert not calculated(expression, {"span.kind": "client", "exception.type": "OSError"})


def test_columns_are_created_with_the_type_that_is_sent(dataset: Dataset) -> None:
    columns = load(dataset.project / "honeycomb", "order-intake", "pro").columns
    types = {str: "string", bool: "boolean", int: "integer", float: "float"}
    for event in dataset.events:
        for name, value in event.items():
            expected = {types[type(value)]} | ({"float"} if type(value) is int else set())
            assert columns.type_of(name) in expected, name


def test_no_column_that_a_query_compares_or_aggregates_is_created_as_text(
    dataset: Dataset,
) -> None:
    columns = load(dataset.project / "honeycomb", "order-intake", "pro").columns
    used: set[str] = set()
    expressions = [*dataset.expressions.values()]
    for _, query in dataset.queries():
        used |= {
            calculation["column"]
            for calculation in query["calculations"]
            if "column" in calculation and calculation["op"] != "COUNT_DISTINCT"
        }
        used |= {
            filter_["column"]
            for filter_ in query.get("filters", ())
            if filter_["op"] in (">", ">=", "<", "<=")
            or isinstance(filter_.get("value"), bool | int | float)
        }
        expressions += [field["expression"] for field in query.get("calculated_fields", ())]
    for expression in expressions:
        used |= set(re.findall(r"\$([\w.]+)(?=[^\w.,]*[-+*/%<>] *[\d$])", expression))
        used |= set(re.findall(r"[-+*/%<>]=? *\$([\w.]+)", expression))

    assert {"duration_ms", "llm.cost_usd", "faas.coldstart"} <= used
    own = {
        *dataset.expressions,
        *(f["name"] for _, q in dataset.queries() for f in q.get("calculated_fields", ())),
    }
    assert not {name for name in used - own if columns.type_of(name) in ("string", None)}
