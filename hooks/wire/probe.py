"""Run one request through an application and print its SERVER span.

`check` runs this file in the project's interpreter, where only the project's packages are installed.
It uses the public API of the observability module.
"""

import asyncio
import functools
import importlib
import json
import logging
import sys
from typing import Any, NoReturn

MARK = "copier-honeycomb wire "
_REQUEST_SECONDS = 30


def report(**result: Any) -> NoReturn:
    print(f"\n{MARK}{json.dumps(result)}")
    sys.stdout.flush()
    sys.exit(0)


def fail(reason: str) -> NoReturn:
    report(failure=reason)


def described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


class MessageHandler(logging.Handler):
    """Collect log messages."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def import_observability(name: str) -> tuple[Any, Any]:
    """Import the module and its `capture_spans`."""
    try:
        module = importlib.import_module(name)
        testing = importlib.import_module(f"{name}.testing")
    except ModuleNotFoundError as error:
        if error.name == f"{name}.testing":
            report(is_old=True)
        if (error.name or "").startswith("opentelemetry"):
            fail(
                f"OpenTelemetry is not installed ({error}). Install the packages, then check again"
            )
        fail(f"{name} cannot be imported ({described(error)})")
    except Exception as error:  # noqa: BLE001 - reported
        fail(f"{name} cannot be imported ({described(error)})")
    return module, testing.capture_spans


def record_calls(module: Any) -> list[Any]:
    """Record each application that `instrument_app` of the module is called with."""
    instrument_app = module.instrument_app
    apps = []

    @functools.wraps(instrument_app)
    def recorded(app: Any, **options: Any) -> None:
        apps.append(app)
        instrument_app(app, **options)

    module.instrument_app = recorded
    return apps


def import_app(module: str, attribute: str) -> Any:
    """Import the application, or call its factory."""
    try:
        app = getattr(importlib.import_module(module), attribute)
    except BaseException as error:  # noqa: BLE001 - reported; it may call sys.exit
        fail(f"{module} cannot be imported ({described(error)})")
    is_app = callable(getattr(app, "build_middleware_stack", None)) or hasattr(app, "app")
    if is_app or not callable(app):
        return app
    try:
        return app()
    except Exception as error:  # noqa: BLE001 - reported
        fail(f"{module}.{attribute} cannot be called without arguments ({described(error)})")


async def send_request(app: Any, path: str) -> None:
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
        "root_path": "", "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80), "state": {},
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        pass

    await asyncio.wait_for(app(scope, receive, send), _REQUEST_SECONDS)


def main(root: str, module: str, attribute: str, observability: str) -> None:
    sys.path.insert(0, root)
    handler = MessageHandler()
    logging.getLogger(observability).addHandler(handler)
    package, capture_spans = import_observability(observability)
    traced_apps = record_calls(package)
    app = import_app(module, attribute)
    inner = app
    while not hasattr(inner, "openapi_url") and hasattr(inner, "app"):
        inner = inner.app
    path = getattr(inner, "openapi_url", None) or "/"
    with capture_spans() as spans:
        try:
            asyncio.run(send_request(app, path))
        except Exception as error:  # noqa: BLE001 - reported
            handler.messages.append(f"the request failed ({described(error)})")
    reason = "; ".join(handler.messages[:2])
    if not any(each is inner for each in traced_apps):
        fail(reason or "instrument_app was not called on this application")
    for span in spans:
        if span.kind.name == "SERVER":
            report(span=span.name, attributes={k: str(v) for k, v in span.attributes.items()})
    fail(reason or f"the request to {path} created no SERVER span")


if __name__ == "__main__":
    main(*sys.argv[1:])
