"""What an LLM call costs, by the prices that the genai-prices package carries."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from genai_prices.types import PriceCalculation

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TokenUsage:
    """Tokens of one call. Input includes what was read from a cache or written to it."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    """All that was written, whatever it lives for."""
    cache_write_1h_tokens: int = 0
    """The part of `cache_write_tokens` that lives for an hour and costs more than the rest."""

    @classmethod
    def of(cls, usage: Any) -> Self:
        """The usage of an SDK's response: Anthropic's, OpenAI's of either API, or one of these.

        An object or a mapping. Anthropic counts cached tokens beside the input, OpenAI within it.
        Raises TypeError for anything else.
        """
        if isinstance(usage, cls):
            return usage

        def tokens(*path: str) -> int:
            value = usage
            for name in path:
                value = (
                    value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
                )
            if value is not None and (type(value) is not int or value < 0):
                raise TypeError(f"{'.'.join(path)} is no number of tokens.")
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
        raise TypeError(f"{type(usage).__name__} is no token usage that is known here.")


def cost_usd(provider: str, model: str, usage: TokenUsage) -> Decimal | None:
    """Price of one call in US dollars, or None for a model without a known price.

    `provider` is named as OpenTelemetry names it: anthropic, openai, aws.bedrock. Prices come from
    the installed genai-prices (no network). Loading them takes half a second: see `when_loaded`.
    """
    try:
        # Some prices change with the date or the time of day.
        return _price_of(provider, model, int(time.time() // 900))(usage)
    except ImportError:  # said when the prices were loaded
        return None
    except Exception as error:  # noqa: BLE001 - telemetry never raises
        logger.warning("A call of %s could not be priced (%s).", model, type(error).__name__)
        return None


@lru_cache(maxsize=256)
def _price_of(
    provider: str, model: str, quarter_of_an_hour: int
) -> Callable[[TokenUsage], Decimal | None]:
    """What calls of `model` cost, by their tokens.

    genai-prices takes as long for one call as the SDK does for all spans of a request. Nearly all
    prices are so much a token, which is found out once; the others depend on how many there are.
    """

    def calculation(usage: TokenUsage) -> PriceCalculation:
        return genai_prices.calc_price(
            genai_prices.Usage(**asdict(usage)),
            model_ref=model,
            provider_id=_PROVIDER_IDS.get(provider, provider),
        )

    def rate(**tokens: int) -> Decimal:
        usage = TokenUsage(**{"input_tokens": 0, "output_tokens": 0, **tokens})
        return calculation(usage).total_price / max(tokens.values())

    def total_price(usage: TokenUsage) -> Decimal:
        read, written = usage.cache_read_tokens, usage.cache_write_tokens
        plain, written_1h = usage.input_tokens - read - written, usage.cache_write_1h_tokens
        if plain < 0 or written_1h > written:
            return calculation(usage).total_price
        return (
            input_rate * plain
            + output_rate * usage.output_tokens
            + read_rate * read
            + write_rate * (written - written_1h)
            + write_1h_rate * written_1h
        )

    import genai_prices

    try:
        nothing = calculation(TokenUsage(input_tokens=0, output_tokens=0))
    except LookupError:
        return lambda usage: None
    prices = vars(nothing.model_price).values()
    # A price a call makes even nothing cost something; tiers are no plain numbers.
    if nothing.total_price or not all(price is None or type(price) is Decimal for price in prices):
        return lambda usage: calculation(usage).total_price
    million = 1_000_000
    input_rate = rate(input_tokens=million)
    output_rate = rate(output_tokens=million)
    read_rate = rate(input_tokens=million, cache_read_tokens=million)
    write_rate = rate(input_tokens=million, cache_write_tokens=million)
    write_1h_rate = rate(
        input_tokens=million, cache_write_tokens=million, cache_write_1h_tokens=million
    )
    return total_price


# genai-prices names a few providers otherwise than OpenTelemetry does.
_PROVIDER_IDS: Final = {
    "aws.bedrock": "aws",
    "azure.ai.openai": "azure",
    "gcp.gemini": "google",
    "gcp.vertex_ai": "google",
    "mistral_ai": "mistral",
    "x_ai": "x-ai",
}


class _Prices:
    """Loads the prices once, on a thread of its own, when the first call needs them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._thread: Thread | None = None
        self._loaded = False
        self._is_over = Event()
        self._waiting: list[Callable[[], None]] = []

    def start(self) -> None:
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None:
                # There before it starts, so that a fork waits for it.
                self._thread = Thread(target=self._load, name="llm-prices", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:  # the machine has no thread left: the next call tries again
                    self._thread = None

    def then(self, callback: Callable[[], None]) -> None:
        if not self._loaded:
            with self._lock:
                if not self._loaded:
                    self._waiting.append(callback)
                    return
        callback()

    def start_afresh(self) -> None:
        """In a process that was forked: what was loading there is not here."""
        if not self._loaded:
            self._lock = Lock()
            self._thread = None
            self._is_over = Event()
            self._waiting = []

    def is_loaded(self) -> bool:
        return self._loaded

    def wait(self, timeout: float) -> None:
        if self._thread is not None:
            self._is_over.wait(timeout)

    def _load(self) -> None:
        try:
            _compile_price_data()
            _price_of("anthropic", "", 0)
        except Exception as error:  # noqa: BLE001 - telemetry never raises
            logger.warning("LLM prices could not be loaded (%s): costs are missing.", error)
        with self._lock:
            self._loaded = True
            waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback()
        self._is_over.set()


_prices = _Prices()
if hasattr(os, "register_at_fork"):
    # A module that is half imported at a fork stays so in the child.
    os.register_at_fork(before=lambda: _prices.wait(5.0), after_in_child=_prices.start_afresh)


def start_loading() -> None:
    """Begins to load the prices, in the time that the first call takes to come back."""
    _prices.start()


def is_loaded() -> bool:
    return _prices.is_loaded()


def when_loaded(callback: Callable[[], None]) -> None:
    """Calls `callback` now, or on the loading thread once prices are there. It must not raise."""
    _prices.start()
    _prices.then(callback)


def wait_until_loaded(timeout: float) -> None:
    """Waits at most `timeout` seconds for a loading that has begun."""
    _prices.wait(timeout)


def _compile_price_data() -> None:
    """Compiles the prices, 1.6 MB of Python, in a process of its own where nobody has yet.

    Compiling holds the interpreter's lock: on a thread it would stall the event loop for 0.16 s.
    """
    spec = find_spec("genai_prices.data")
    if spec is None or spec.origin is None or spec.cached is None or Path(spec.cached).exists():
        return
    subprocess.run(
        [sys.executable, "-m", "py_compile", spec.origin],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=30,
    )
