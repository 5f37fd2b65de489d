"""Integrations with libraries, one per module. Each is used only if its library is installed."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from typing import Any, Final

from .._settings import warn

_trace_calls: Final[dict[str, Callable[[Any], Any]]] = {}  # by the name of a module


@contextmanager
def never_raises(warning: str) -> Iterator[None]:
    """Log an exception instead: a service must not fail because of its telemetry."""
    try:
        yield
    except Exception as error:  # noqa: BLE001
        warn("%s: %s", warning, error)


def when_imported(name: str, trace_calls: Callable[[Any], None]) -> None:
    """Call `trace_calls` with the module `name`, now or after its import, which may take seconds."""
    _trace_calls[name] = never_raises(f"Could not trace calls of {name}")(trace_calls)
    if module := sys.modules.get(name):
        _trace_calls[name](module)
    elif _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)


class _Finder:
    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        spec: Any = PathFinder.find_spec(name, path) if name in _trace_calls else None
        if spec:
            execute = spec.loader.exec_module
            spec.loader.exec_module = lambda module: execute(module) or _trace_calls[name](module)
        return spec
