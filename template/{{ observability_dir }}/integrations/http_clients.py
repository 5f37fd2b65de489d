"""HTTP clients: one CLIENT span per request of httpx, httpx2, requests or aiohttp."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial, wraps
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry import context, propagate, trace

from .._settings import is_disabled
from ..llm import is_call
from ..spans import traced
from . import when_imported

# Each library's name in OTEL_PYTHON_DISABLED_INSTRUMENTATIONS, the method that sends, its classes.
_LIBRARIES: Final = {
    "aiohttp": ("aiohttp-client", "_request", "ClientSession"),
    "httpx": ("httpx", "send", "Client", "AsyncClient"),
    "httpx2": ("httpx", "send", "Client", "AsyncClient"),
    "requests": ("requests", "send", "Session"),
}
_SUPPRESSED: Final = context._SUPPRESS_HTTP_INSTRUMENTATION_KEY  # for the contrib packages
_LLM_CALL: Final = "suppress_language_model_instrumentation"  # LiteLLM's span is not current


def trace_http_clients() -> None:
    """Trace the requests of each library."""
    for library, (standard, method, *clients) in _LIBRARIES.items():
        if not is_disabled(standard):
            when_imported(library, partial(_patch, method, clients))


def _patch(method: str, clients: list[str], module: Any) -> None:
    for client in map(vars(module).get, clients):
        setattr(client, method, _traced(getattr(client, method)))


def _traced(send: Any) -> Any:
    def traced_send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        with _span(self, request, args, kwargs) as end:
            return end(send(self, request, *args, **kwargs))

    async def traced_async_send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        with _span(self, request, args, kwargs) as end:
            return end(await send(self, request, *args, **kwargs))

    return wraps(send)(traced_async_send if inspect.iscoroutinefunction(send) else traced_send)


@contextmanager
def _span(client: Any, request: Any, args: Any, kwargs: Any) -> Iterator[Callable[[Any], Any]]:
    """Create the span of a request, which sends its context. Yield a function for the response."""
    parent: Any = trace.get_current_span()
    above = getattr(parent, "attributes", None) or {}
    is_request = "http.request.method" in above and parent.kind is trace.SpanKind.CLIENT
    is_inner = is_request or is_call(above) or context.get_value(_LLM_CALL)
    # Outside a trace, and inside an LLM call or another request, there is no span.
    if not parent.get_span_context().is_valid or is_inner or context.get_value(_SUPPRESSED):
        yield lambda response: response
        return
    if is_aiohttp := isinstance(request, str):  # a method
        method, headers = request.upper(), client._prepare_headers(kwargs.get("headers"))
        kwargs["headers"] = headers
    else:
        method, headers = request.method.upper(), request.headers
    attributes: dict[str, str | int] = {"http.request.method": method}
    with suppress(ValueError):  # an invalid URL, which the client rejects
        url = str(client._build_url(args[0]) if is_aiohttp else request.url)
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
        attributes |= {"server.address": parts.hostname or "", "server.port": port, "url.full": url}
    with traced(method, attributes, kind=trace.SpanKind.CLIENT) as span:
        propagate.inject(headers)
        context.attach(context.set_value(_SUPPRESSED, True))  # until `traced` restores the context

        def end(response: Any) -> Any:
            status = getattr(response, "status", None) or response.status_code
            span.set_attribute("http.response.status_code", status)
            if status >= 400:
                span.set_attribute("error.type", str(status))
                span.set_status(trace.StatusCode.ERROR)
            return response

        yield end
