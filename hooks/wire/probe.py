"""Send one request to an application, with the telemetry that the service itself sets up.

`check` runs this file in the project's interpreter, where only the project's packages are installed.
The spans go to the receiver that the environment names. It uses the public API of the module.
"""

import asyncio
import functools
import importlib
import importlib.metadata
import inspect
import json
import logging
import sys
from importlib.machinery import PathFinder
from typing import Any, NoReturn

MARK = "copier-honeycomb wire "
_REQUEST_SECONDS = 30
_MAX_REASON = 300


def report(**result: Any) -> NoReturn:
    print(f"\n{MARK}{json.dumps(result)}")
    sys.stdout.flush()
    sys.exit(0)


def fail(
    reason: str, error: BaseException | None = None, *, is_inconclusive: bool = False
) -> NoReturn:
    missing = error.name if isinstance(error, ModuleNotFoundError) else ""
    report(failure=reason, missing=missing or "", is_inconclusive=is_inconclusive)


def described(error: BaseException) -> str:
    """Describe an exception in one line; a settings class names the variables that it lacks."""
    try:
        faults = error.errors()  # type: ignore[attr-defined]
        names = [str(each["loc"][-1]) for each in faults if each["type"] == "missing"]
        others = [
            ": ".join([*map(str, each["loc"][-1:]), each["msg"]])
            for each in faults
            if each["type"] != "missing"
        ]
    except Exception:  # noqa: BLE001 - another class
        names, others = [], []
    if names or others:
        wanted = [f"set {', '.join(names)}"] if names else []
        return f"{type(error).__name__}: {'; '.join(wanted + others)}, in .env or the environment"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:_MAX_REASON]


class MessageHandler(logging.Handler):
    """Collect log messages."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def import_observability(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("opentelemetry"):
            fail(
                f"OpenTelemetry is not installed ({error}). Install the packages, then run"
                " `copier-honeycomb wire --check`",
                error,
            )
        fail(f"{name} cannot be imported ({described(error)})", error)
    except Exception as error:  # noqa: BLE001 - reported
        fail(f"{name} cannot be imported ({described(error)})")


def record_calls(name: str) -> list[Any]:
    """Record each application that `instrument_app` of the module `name` is called with.

    Called before that module is imported: its parent package may create the application.
    """
    apps = []

    def record(module: Any) -> None:
        instrument_app = module.instrument_app

        @functools.wraps(instrument_app)
        def recorded(app: Any, **options: Any) -> None:
            apps.append(app)
            instrument_app(app, **options)

        module.instrument_app = recorded

    class Finder(PathFinder):
        @classmethod
        def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> Any:
            spec = super().find_spec(fullname, path, target) if fullname == name else None
            loader: Any = spec.loader if spec is not None else None
            if loader is not None:
                execute = loader.exec_module

                def exec_module(module: Any) -> None:
                    execute(module)
                    record(module)

                loader.exec_module = exec_module
            return spec

    sys.meta_path.insert(0, Finder)
    return apps


def import_served(target: str) -> Any:
    """Import `module:name` of the start command; None if it is not, or does not wrap, an application.

    The name may be local to a function, and the object a wrapper that cannot be looked into.
    """
    module, _, attribute = target.partition(":")
    app = getattr(imported(module), attribute, None)
    if inspect.isfunction(app) and not inspect.iscoroutinefunction(app):  # a factory
        app = import_app(module, attribute)
    return app if hasattr(unwrapped(app), "openapi_url") else None


def unwrapped(app: Any) -> Any:
    """Return the application inside ASGI middleware."""
    while not hasattr(app, "openapi_url") and hasattr(app, "app"):
        app = app.app
    return app


def imported(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except BaseException as error:  # noqa: BLE001 - reported; it may call sys.exit
        fail(f"{module} cannot be imported ({described(error)})", error)


def import_app(module: str, attribute: str) -> Any:
    """Import the application, or call its factory or Modal function."""
    try:
        app = getattr(imported(module), attribute)
    except AttributeError as error:
        fail(f"{module} cannot be imported ({described(error)})")
    is_app = callable(getattr(app, "build_middleware_stack", None)) or hasattr(app, "app")
    try:
        if is_app:
            return app
        if callable(getattr(app, "local", None)):  # a function of Modal
            return app.local()
        if required := required_arguments(app):
            fail(
                f"{module}.{attribute} requires arguments ({', '.join(required)}) that only the service"
                " has. Send a request to the running service instead",
                is_inconclusive=True,
            )
        return app() if callable(app) else app
    except Exception as error:  # noqa: BLE001 - reported
        fail(f"{module}.{attribute} cannot be called without arguments ({described(error)})", error)


def required_arguments(function: Any) -> list[str]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    return [
        each.name
        for each in parameters
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]


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


def installed() -> tuple[dict[str, str], list[str]]:
    """Return the versions of the installed packages, and the instrumentations that are enabled."""
    versions: dict[str, str] = {}
    enabled = []
    for each in importlib.metadata.distributions():
        name = (each.metadata["Name"] or "").lower().replace("_", "-")
        versions.setdefault(name, each.version)
        for entry in each.entry_points.select(group="opentelemetry_instrumentor"):
            if entry.module in sys.modules and entry.load()().is_instrumented_by_opentelemetry:
                enabled.append(name)
    return versions, enabled


def main(paths: str, served: str, module: str, attribute: str, observability: str) -> None:
    sys.path[:0] = json.loads(paths)
    handler = MessageHandler()
    logging.getLogger(observability).addHandler(handler)
    traced_apps = record_calls(observability)
    package = import_observability(observability)
    app = import_served(served) if served else None
    if app is None:
        app = import_app(module, attribute)
    inner = unwrapped(app)
    path = getattr(inner, "openapi_url", None) or "/"
    try:
        asyncio.run(send_request(app, path))
    except Exception as error:  # noqa: BLE001 - reported
        handler.messages.append(f"the request failed ({described(error)})")
    package.flush()
    if not any(each is inner for each in traced_apps):
        fail("; ".join(handler.messages[:2]) or "instrument_app was not called on this application")
    versions, enabled = installed()
    reason = "; ".join(handler.messages[:2])
    report(path=path, reason=reason, versions=versions, enabled=enabled)


if __name__ == "__main__":
    main(*sys.argv[1:])
