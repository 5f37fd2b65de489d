"""The rendered tests fail after an edit of the module that breaks a promise."""

from pathlib import Path

import pytest

from ..depth import in_depth
from ..environments import Environment
from ..template.copying import SERVER, add_observability
from ..template.projects import write

# A file, a text in it, its replacement, and the first test that fails.
EDITS = {
    "health check": (
        "integrations/fastapi.py", '"/healthz", ', "",
        "test_health_check_has_no_span",
    ),
    "duplicate exception": (
        "_processor.py", "exception in recorded or", "",
        "test_unhandled_exception_is_one_event_and_marks_every_span",
    ),
    "async function": (
        "spans.py", "is_async = inspect.iscoroutinefunction(function)", "is_async = False",
        "test_unhandled_exception_is_one_event_and_marks_every_span",
    ),
    "error type": (
        "spans.py", 'span.set_attribute("error.type", qualified_name(type(error)))', "pass",
        "test_unhandled_exception_is_one_event_and_marks_every_span",
    ),
    "response": (
        "spans.py", "error.status_code < 500", "error.status_code < 600",
        "test_response_is_an_error_from_500_on",
    ),
    "trace context": (
        "integrations/http_clients.py", "propagate.inject(headers)", "pass",
        "test_outgoing_request_continues_the_trace_of_the_block",
    ),
    "shared attributes": (
        "spans.py", "context.attach(context.set_value(SHARED, before))", "pass",
        "test_outgoing_request_continues_the_trace_of_the_block",
    ),
    "failed trace": (
        "_sampling.py", "span.status.status_code is StatusCode.ERROR", "False",
        "test_sampling_keeps_failed_slow_and_expensive_traces",
    ),
    "weight": (
        "_redaction.py", '{**attributes, "SampleRate": weight}', "attributes",
        "test_sampling_keeps_failed_slow_and_expensive_traces",
    ),
    "status": (
        "_redaction.py", "return redact_text(description)", "return description",
        "test_secret_planted_everywhere_is_exported_nowhere",
    ),
    "prompt": (
        "_redaction.py", '("content", f"^{_LLM.pattern}"),', "",
        "test_secret_planted_everywhere_is_exported_nowhere",
    ),
    "column": (
        "llm.py", '"llm.provider": provider,', '"llm.vendor": provider,',
        "test_declared_columns_are_sent_with_their_type",
    ),
}  # fmt: skip


# One edit costs two seconds of CPU.
@pytest.mark.parametrize(
    "edit",
    [pytest.param(edit, marks=in_depth, id=name) for name, edit in EDITS.items()],
)
def test_rendered_tests_fail_after_an_edit_that_breaks_a_promise(
    edit: tuple[str, str, str, str], newest: Environment, tmp_path: Path
) -> None:
    file, text, replacement, test = edit
    write(tmp_path, {"pyproject.toml": "", "acme/__init__.py": "", "acme/main.py": SERVER})
    add_observability(tmp_path)
    path = tmp_path / "acme/observability" / file
    assert path.read_text().count(text) == 1
    path.write_text(path.read_text().replace(text, replacement))

    done = newest.run(tmp_path, "-m", "pytest", "-qx", "-p", "no:cacheprovider", "tests")

    assert done.returncode == 1, done.stdout
    assert test in done.stdout
