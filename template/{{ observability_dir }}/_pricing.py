"""The cost of an LLM call, from the prices in the installed genai-prices package."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from functools import lru_cache
from importlib.util import find_spec
from operator import mul
from pathlib import Path
from subprocess import DEVNULL
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from genai_prices.types import PriceCalculation

logger = logging.getLogger(__name__)

# genai-prices has other names for a few of OpenTelemetry's providers.
_PROVIDER_IDS: Final = {
    "aws.bedrock": "aws",
    "azure.ai.openai": "azure",
    "gcp.gemini": "google",
    "gcp.vertex_ai": "google",
    "mistral_ai": "mistral",
    "x_ai": "x-ai",
}


@dataclass(frozen=True, kw_only=True)
class TokenUsage:
    """Tokens of one call. The input includes cached tokens, read or written."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0  # of any lifetime
    cache_write_1h_tokens: int = 0  # those of them cached for an hour, at a higher price

    @classmethod
    def of(cls, usage: Any) -> Self:
        """Convert the usage of a response of Anthropic's or OpenAI's SDK, an object or a mapping.

        Anthropic excludes cached tokens from the input. Raises TypeError for any other object.
        """
        if isinstance(usage, cls):
            return usage

        def tokens(*path: str) -> int:
            value = usage
            for name in path:
                is_mapping = isinstance(value, Mapping)
                value = value.get(name) if is_mapping else getattr(value, name, None)
            if value is not None and (type(value) is not int or value < 0):
                raise TypeError(f"{'.'.join(path)} is not a number of tokens")
            return value or 0

        def has(name: str) -> bool:
            return name in usage if isinstance(usage, Mapping) else hasattr(usage, name)

        if has("cache_read_input_tokens") or has("cache_creation_input_tokens"):
            read, written = tokens("cache_read_input_tokens"), tokens("cache_creation_input_tokens")
            return cls(
                input_tokens=tokens("input_tokens") + read + written,
                output_tokens=tokens("output_tokens"),
                cache_read_tokens=read,
                cache_write_tokens=written,
                cache_write_1h_tokens=tokens("cache_creation", "ephemeral_1h_input_tokens"),
            )
        for before, after in (("input", "output"), ("prompt", "completion")):
            if has(f"{before}_tokens"):
                return cls(
                    input_tokens=tokens(f"{before}_tokens"),
                    output_tokens=tokens(f"{after}_tokens"),
                    cache_read_tokens=tokens(f"{before}_tokens_details", "cached_tokens"),
                )
        raise TypeError(f"unsupported usage object: {type(usage).__name__}")


def cost_usd(provider: str, model: str, usage: TokenUsage) -> Decimal | None:
    """Return the price of one call in US dollars, or None for a model without a known price.

    `provider` is OpenTelemetry's name, such as aws.bedrock. Loading the prices takes half a second.
    """
    try:
        # Some prices change with the date or the time of day.
        return _price_of(provider, model, int(time.time() // 900))(usage)
    except Exception as error:  # noqa: BLE001 - telemetry never raises
        if not isinstance(error, ImportError):  # logged when the prices were loaded
            logger.warning("Could not price a call of %s (%s).", model, type(error).__name__)
        return None


@lru_cache(maxsize=256)
def _price_of(provider: str, model: str, quarter: int) -> Callable[[TokenUsage], Decimal | None]:
    """Return a function that prices calls of `model`.

    genai-prices needs as long for one call as the SDK for all spans of a request. Nearly all prices
    are a rate per token, which is determined once.
    """

    def calculation(usage: TokenUsage) -> PriceCalculation:
        tokens = genai_prices.Usage(**asdict(usage))
        return genai_prices.calc_price(tokens, model_ref=model, provider_id=provider_id)

    def total_price(usage: TokenUsage) -> Decimal:
        read, written = usage.cache_read_tokens, usage.cache_write_tokens
        plain, written_1h = usage.input_tokens - read - written, usage.cache_write_1h_tokens
        if plain < 0 or written_1h > written:
            return calculation(usage).total_price
        tokens = (plain, usage.output_tokens, read, written - written_1h, written_1h)
        return sum(map(mul, rates, tokens), Decimal())

    import genai_prices

    provider_id = _PROVIDER_IDS.get(provider, provider)
    try:
        free = calculation(TokenUsage(input_tokens=0, output_tokens=0))
    except LookupError:
        return lambda usage: None
    prices = vars(free.model_price).values()
    # A price per call is charged for zero tokens too; a tiered price is not a plain number.
    if free.total_price or not all(price is None or type(price) is Decimal for price in prices):
        return lambda usage: calculation(usage).total_price
    million = 1_000_000
    usage = TokenUsage(input_tokens=million, output_tokens=0)
    written = replace(usage, cache_write_tokens=million)
    output = TokenUsage(input_tokens=0, output_tokens=million)
    read = replace(usage, cache_read_tokens=million)
    usages = (usage, output, read, written, replace(written, cache_write_1h_tokens=million))
    rates = [calculation(usage).total_price / million for usage in usages]
    return total_price


class _PriceLoader:
    """Loads the prices once, on a background thread, when the first call needs them."""

    def __init__(self) -> None:
        self.is_loaded = False
        self._reset()
        if hasattr(os, "register_at_fork"):
            # A module that is half imported at a fork remains so in the child.
            os.register_at_fork(before=lambda: self.wait(5.0), after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock = Lock()
        self._thread: Thread | None = None
        self._finished = Event()
        self._waiting: list[Callable[[], None]] = []

    def start_loading(self) -> None:
        """Load the prices while the first call is in flight."""
        if self.is_loaded:
            return
        with self._lock:
            if self._thread is None:
                # Assigned before it starts, so that a fork waits for it.
                self._thread = Thread(target=self._load, name="llm-prices", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:  # out of threads: the next call tries again
                    self._thread = None

    def when_loaded(self, callback: Callable[[], None]) -> None:
        """Call `callback` now, or on the loading thread. It must not raise."""
        self.start_loading()
        with self._lock:
            if not self.is_loaded:
                self._waiting.append(callback)
                return
        callback()

    def wait(self, timeout: float) -> None:
        """Wait up to `timeout` seconds until loading prices, if started, and callbacks are done."""
        if self._thread is not None:
            self._finished.wait(timeout)

    def _load(self) -> None:
        try:
            _compile_prices()
            _price_of("anthropic", "", 0)
        except Exception as error:  # noqa: BLE001 - telemetry never raises
            logger.warning("Could not load LLM prices (%s); costs are missing.", error)
        with self._lock:
            self.is_loaded = True
        for callback in self._waiting:
            callback()
        self._finished.set()


price_loader: Final = _PriceLoader()


def _compile_prices() -> None:
    """Compile the price data, 1.6 MB of Python, in a subprocess if it is not compiled yet.

    Compiling holds the interpreter's lock: on a thread it would stall the event loop for 0.16 s.
    """
    spec = find_spec("genai_prices.data")
    if spec and spec.origin and spec.cached and not Path(spec.cached).exists():
        command = [sys.executable, "-m", "py_compile", spec.origin]
        subprocess.run(command, check=False, stdin=DEVNULL, capture_output=True, timeout=30)
