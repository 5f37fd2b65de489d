"""HTTP clients: one CLIENT span per request of httpx, httpx2, requests or aiohttp."""

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry import context, propagate, trace
from opentelemetry.trace import Span, SpanKind, StatusCode

from .._settings import is_disabled
from ..llm import is_call
from ..spans import traced
from . import when_imported

# Each library, with its name in OTEL_PYTHON_DISABLED_INSTRUMENTATIONS.
_LIBRARIES: Final = {
    "aiohttp": "aiohttp-client",
    "httpx": "httpx",
    "httpx2": "httpx",
    "requests": "requests",
}
# In the context of a request, for the contrib packages: they would create a second span.
_SUPPRESSED: Final = context._SUPPRESS_HTTP_INSTRUMENTATION_KEY
# In that of a call of LiteLLM, whose instrumentation does not make its span current.
_LLM_CALL: Final = "suppress_language_model_instrumentation"


def trace_http_clients() -> None:
    """Trace the requests of each library."""
    for name, standard in _LIBRARIES.items():
        if not is_disabled(standard):
            when_imported(name, _patch)


def _patch(module: Any) -> None:
    if module.__name__ == "aiohttp":
        _patch_aiohttp(module.ClientSession)
    elif module.__name__ == "requests":
        _patch_send(module.Session)
    else:
        _patch_send(module.Client)
        _patch_async_send(module.AsyncClient)


def _patch_send(client: Any) -> None:
    send = client.send

    @wraps(send)
    def traced_send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        with _request(request.method, str(request.url), request.headers) as span:
            return _ended(span, send(self, request, *args, **kwargs))

    client.send = traced_send


def _patch_async_send(client: Any) -> None:
    send = client.send

    @wraps(send)
    async def traced_send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        with _request(request.method, str(request.url), request.headers) as span:
            return _ended(span, await send(self, request, *args, **kwargs))

    client.send = traced_send


def _patch_aiohttp(session: Any) -> None:
    from multidict import CIMultiDict  # type: ignore[import-not-found, unused-ignore]

    send = session._request

    @wraps(send)
    async def traced_send(self: Any, method: str, url: Any, **kwargs: Any) -> Any:
        kwargs["headers"] = headers = CIMultiDict(kwargs.get("headers") or ())
        with _request(method, str(self._build_url(url)), headers) as span:
            return _ended(span, await send(self, method, url, **kwargs))

    session._request = traced_send


@contextmanager
def _request(method: str, url: str, headers: MutableMapping[str, str]) -> Iterator[Span | None]:
    """Create the span of a request, and add the trace context to `headers`.

    Outside a trace, and inside an LLM call or another request, there is no span.
    """
    parent: Any = trace.get_current_span()
    is_llm_call = context.get_value(_LLM_CALL) or is_call(getattr(parent, "attributes", None) or {})
    if not parent.get_span_context().is_valid or is_llm_call or context.get_value(_SUPPRESSED):
        yield None
        return
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    attributes: dict[str, str | int] = {
        "http.request.method": method.upper(),
        "server.address": parts.hostname or "",
        "server.port": port,
        "url.full": url,
    }
    with traced(method.upper(), attributes, kind=SpanKind.CLIENT) as span:
        propagate.inject(headers)
        previous = context.get_current()
        context.attach(context.set_value(_SUPPRESSED, True))
        try:
            yield span
        finally:
            context.attach(previous)


def _ended(span: Span | None, response: Any) -> Any:
    if span is not None:
        status = response.status if hasattr(response, "status") else response.status_code
        span.set_attribute("http.response.status_code", status)
        if status >= 400:
            span.set_attribute("error.type", str(status))
            span.set_status(StatusCode.ERROR)
    return response
