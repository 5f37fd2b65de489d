"""Integrations with libraries, one per module. Each is used only if its library is installed."""

import logging
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

logger = logging.getLogger(__name__)


def when_imported(name: str, trace_calls: Callable[[Any], None]) -> None:
    """Call `trace_calls` with the module `name`, now or after its import, which may take seconds."""

    def act(module: Any) -> None:
        try:
            trace_calls(module)
        except Exception as error:  # noqa: BLE001 - telemetry never raises
            logger.warning("Could not trace calls of %s: %s", name, error)

    if name in sys.modules:
        act(sys.modules[name])
    else:
        sys.meta_path.insert(0, _Finder(name, act))


class _Finder:
    def __init__(self, name: str, action: Callable[[Any], None]) -> None:
        self._name = name
        self._action = action

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != self._name or not (spec := PathFinder.find_spec(name, path)):
            return None
        loader: Any = spec.loader
        execute = loader.exec_module

        def execute_and_act(module: Any) -> None:
            execute(module)
            self._action(module)

        loader.exec_module = execute_and_act
        return spec
