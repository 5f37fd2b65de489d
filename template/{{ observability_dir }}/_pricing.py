"""The tokens and the cost of an LLM call, by the genai-prices package if it is installed."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from importlib.util import find_spec
from operator import mul
from pathlib import Path
from subprocess import DEVNULL
from threading import RLock, Thread
from typing import Any, Final, Self

logger = logging.getLogger(__name__)
warn_once: Final = lru_cache(maxsize=256)(logger.warning)

# Providers of OpenTelemetry that genai-prices does not know, or takes for another.
_PROVIDERS: Final = {"azure.ai.openai": "azure", "gcp.gen_ai": "google", "x_ai": "x-ai"}
# Gateways serve their models, and report their usage, under the name of another provider.
_FIRST_PARTIES: Final = ("openai", "anthropic", "google", "aws", "x-ai")
# Names of LiteLLM, LangChain, pydantic-ai and spans, which genai-prices does not read, and those
# that are needed without it. The first that exists counts.
_NAMES: Final = {
    "input_tokens": "input_tokens prompt_tokens",
    "output_tokens": "output_tokens completion_tokens",
    "cache_read_tokens": "cache_read_tokens cache_read_input_tokens cache_read.input_tokens"
    " input_token_details.cache_read input_tokens_details.cached_tokens"
    " prompt_tokens_details.cached_tokens prompt_cache_hit_tokens",
    "cache_write_tokens": "cache_write_tokens cache_creation_input_tokens cache_write.input_tokens"
    " cache_creation.input_tokens input_token_details.cache_creation",
    "cache_write_5m_tokens": "input_token_details.ephemeral_5m_input_tokens",
    "cache_write_1h_tokens": "cache_creation.ephemeral_1h_input_tokens"
    " input_token_details.ephemeral_1h_input_tokens details.ephemeral_1h_input_tokens"
    " prompt_tokens_details.cache_creation_token_details.ephemeral_1h_input_tokens",
    "input_audio_tokens": "input_audio_tokens input_token_details.audio",
    "output_audio_tokens": "output_audio_tokens output_token_details.audio",
    "web_searches": "web_searches",
    "output_reasoning_tokens": "reasoning.output_tokens output_token_details.reasoning",
}
_BASIC: Final = [*list(_NAMES)[:4], "cache_write_1h_tokens"]
# Other values of these have another price.
_STANDARD: Final = ("auto", "default", "on_demand", "standard", "global", "not_available")
_CONDITIONS: Final = ("service_tier", "speed", "inference_geo")


@dataclass(frozen=True, kw_only=True)
class TokenUsage:
    """Tokens of one call. The input includes cached tokens, read or written."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0  # of any lifetime
    cache_write_1h_tokens: int = 0  # those of them cached for an hour, at a higher price
    # As named in genai-prices, such as output_reasoning_tokens, input_audio_tokens, web_searches.
    others: Mapping[str, float] = field(default_factory=dict)
    # A service_tier, speed or inference_geo that has another price.
    conditions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, usage: Any, provider: str = "openai") -> Self:
        """Convert the usage of a response of any SDK or framework, an object or a mapping.

        `provider` is its name in OpenTelemetry. Raises TypeError if no token count is recognized.
        """
        if isinstance(usage, cls):
            return usage
        raw = plain(usage)
        tokens = _tokens(raw, provider) if isinstance(raw, dict) else None
        if not tokens:
            raise TypeError(f"unsupported usage object ({type(usage).__name__})")
        written = tokens.pop("cache_write_5m_tokens", 0) + tokens.get("cache_write_1h_tokens", 0)
        tokens["cache_write_tokens"] = max(written, tokens.get("cache_write_tokens", 0))
        basic = {name: int(tokens.pop(name, 0)) for name in _BASIC}
        traffic = str(raw.get("trafficType", "")).lower().removeprefix("on_demand").strip("_")
        given = {"service_tier": traffic, **raw}
        conditions = {name: str(given.get(name, "")).lower() for name in _CONDITIONS}
        conditions = {k: v for k, v in conditions.items() if v and v not in _STANDARD}
        return cls(**basic, others={k: v for k, v in tokens.items() if v}, conditions=conditions)


def plain(value: Any) -> Any:
    """Copy `value` into dictionaries and lists with the names of the API's JSON, without nulls."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json", by_alias=True, warnings=False)
    elif hasattr(value, "__dict__"):
        value = vars(value)
    if isinstance(value, Mapping):
        if "prompt_token_count" in value:  # Gemini's SDK renames the API's fields
            value = {re.sub(r"_(.)", lambda m: m[1].upper(), name): value[name] for name in value}
        return {str(name): plain(each) for name, each in value.items() if each is not None}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def _tokens(raw: dict[str, Any], provider: str) -> dict[str, float]:
    tokens: dict[str, float] = {}
    for kind, name, path in _named(tuple(raw)):
        value = raw.get(name) if name in raw else _value(raw, path)
        if value is not None and (type(value) not in (int, float) or value < 0):
            raise TypeError(f"{name} is not a number of tokens")
        if value is not None:
            tokens.setdefault(kind, value)
    if "input_tokens" in raw:  # Anthropic excludes cached tokens from the input.
        for name in ("cache_read_input_tokens", "cache_creation_input_tokens"):
            tokens["input_tokens"] += raw.get(name, 0)
    if price_loader.is_loaded:
        shape = tuple((k, *v) if isinstance(v, dict) else (k,) for k, v in raw.items())
        with suppress(ImportError, LookupError):
            tokens |= _extract(raw, _api(_PROVIDERS.get(provider, provider), shape))
    return tokens


@lru_cache(maxsize=256)
def _named(keys: tuple[str, ...]) -> list[tuple[str, str, list[str]]]:
    """Return the kind, name and path of tokens that a usage object with `keys` may have."""
    named = (
        (kind, each, each.split(".")) for kind, all_ in _NAMES.items() for each in all_.split()
    )
    return [(kind, name, path) for kind, name, path in named if name in keys or path[0] in keys]


def _extract(raw: dict[str, Any], api: list[tuple[list[Any], str]]) -> dict[str, float]:
    tokens: dict[str, float] = {}
    for path, kind in api:
        value = _value(raw, path)
        if type(value) in (int, float) and value >= 0:
            tokens[kind] = tokens.get(kind, 0) + value
    return tokens


def _value(value: Any, path: list[Any]) -> Any:
    """Follow names, and genai-prices' matches of an item in a list."""
    for part in path:
        if isinstance(value, dict) and isinstance(part, str):
            value = value.get(part)
        elif isinstance(value, list) and not isinstance(part, str):
            value = part.extract(value)
        else:
            return None
    return value


@lru_cache(maxsize=256)
def _api(provider: str, shape: tuple[tuple[str, ...], ...]) -> list[tuple[list[Any], str]]:
    """Return genai-prices' paths and kinds of tokens for the API that matches `shape` best.

    Its `extract_usage` follows the same paths in ten times the time.
    """
    from genai_prices import Usage, data_snapshot

    raw: Any = {name: dict.fromkeys(names, 1) if names else 1 for name, *names in shape}
    matches: list[tuple[int, list[tuple[list[Any], str]]]] = []
    for name in dict.fromkeys((provider, *_FIRST_PARTIES)):
        with suppress(LookupError):
            known = data_snapshot.get_snapshot().find_provider(None, name, None)
            for each in known.extractors or ():
                root = _as_list(each.root)
                for outer, inner in ((root, []), (root[:1], root[1:])):
                    response = raw
                    for part in reversed(outer):
                        response = {part: response}
                    with suppress(ValueError):
                        found = len(vars(each.extract(response)[1]))
                        paths = [([*inner, *_as_list(to.path)], to.dest) for to in each.mappings]
                        matches.append((found, paths))
    if not matches:
        raise LookupError(f"unknown usage: {', '.join(raw)}")
    api = max(matches, key=lambda match: match[0])[1]
    return [(path, kind) for path, kind in api if path[0] in raw and hasattr(Usage(), kind)]


def _as_list(path: Any) -> list[Any]:
    return [path] if isinstance(path, str) else list(path)


def cost_usd(provider: str, model: str, usage: TokenUsage) -> Decimal | None:
    """Return the price of one call in US dollars, or None for a model without a known price.

    `provider` is OpenTelemetry's name, such as aws.bedrock. Loading the prices takes half a second.
    """
    conditions = tuple(usage.conditions.items())
    try:
        # Some prices change with the date or the time of day.
        price = _price_of(provider, model, conditions, int(time.time() // 900))
        return price(usage) or None  # zero for usage without a price
    except Exception as error:  # noqa: BLE001 - telemetry never raises
        if not isinstance(error, ImportError):  # logged when the prices were loaded
            warn_once("Could not price a call of %s (%s).", model, type(error).__name__)
        return None


@lru_cache(maxsize=256)
def _price_of(
    provider: str, model: str, conditions: tuple[tuple[str, str], ...], quarter: int
) -> Callable[[TokenUsage], Decimal]:
    """Return a function that prices calls of `model`.

    genai-prices needs as long for one call as the SDK for all spans of a request. Nearly all prices
    are a rate per token, which is determined once.
    """
    from genai_prices import Usage

    found, context = _find_model(provider, model), dict(conditions)
    # Anthropic charges 10 % more for inference in the US.
    factor = Decimal("1.1") if context.pop("inference_geo", "") == "us" else Decimal(1)
    if context.get("service_tier") == "batch":
        context = {"processing": context.pop("service_tier"), **context}
    if found is None:
        return lambda usage: Decimal()
    seller, info = found
    variants = (info.price_variants or ()) if any(each is info for each in seller.models) else ()
    applied = [each.when for each in variants if each.when.items() <= context.items()]
    if unpriced := context.keys() - set().union(*applied):
        warn_once("Calls of %s have no cost: the price of its %s is unknown.", model, *unpriced)
        return lambda usage: Decimal()
    options = {"price_context": context} if context else {}

    def exact(usage: TokenUsage) -> Decimal:
        tokens = {**{name: getattr(usage, name) for name in _BASIC}, **usage.others}
        if "input_audio_tokens" in tokens:  # Gemini omits those that are zero
            tokens.setdefault("cache_audio_read_tokens", 0)
        return factor * Decimal(info.calc_price(Usage(**tokens), seller, **options).total_price)

    def by_rates(usage: TokenUsage) -> Decimal:
        read, written = usage.cache_read_tokens, usage.cache_write_tokens
        others, hour = usage.input_tokens - read - written, usage.cache_write_1h_tokens
        if others < 0 or hour > written or prices.keys() & usage.others.keys():
            return exact(usage)
        tokens = (others, usage.output_tokens, read, written - hour, hour)
        return factor * sum(map(mul, rates, tokens), Decimal()) / 1_000_000

    listed = vars(info.get_prices(datetime.now(UTC), *options.values()))
    names = {name: name.replace("_mtok", "_tokens").removesuffix("_kcount") for name in listed}
    prices = {names[name]: each for name, each in listed.items() if each is not None}
    # A tiered price is not a plain number.
    if "requests" in prices or not all(type(each) is Decimal for each in prices.values()):
        return exact
    plain_rate = prices.get("input_tokens", Decimal())
    read_rate = prices.get("cache_read_tokens", plain_rate)
    write_rate = prices.get("cache_write_tokens", plain_rate)
    hour_rate = prices.get("cache_write_1h_tokens", write_rate)
    output_rate = prices.get("output_tokens", Decimal())
    rates = (plain_rate, output_rate, read_rate, write_rate, hour_rate)
    return by_rates


def _find_model(provider: str, model: str) -> tuple[Any, Any] | None:
    """Return the provider and the model in genai-prices. LiteLLM's models begin with the provider."""
    from genai_prices import data_snapshot

    provider, name = _PROVIDERS.get(provider, provider), model.rpartition("/")[2]
    for pair in ((provider, model), *((each, name) for each in (provider, *_FIRST_PARTIES))):
        with suppress(LookupError):
            return data_snapshot.get_snapshot().find_provider_model(pair[1], None, pair[0], None)
    return None


class _PriceLoader:
    """Loads the prices once, on a background thread, when the first call needs them."""

    def __init__(self) -> None:
        self.is_loaded = False
        self.reset()

    def reset(self) -> None:
        self._lock = RLock()
        self._thread: Thread | None = None
        self._loaded: Future[None] = Future()

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
        if self.is_loaded:
            callback()
        else:
            self.start_loading()
            self._loaded.add_done_callback(lambda _: callback())

    def wait(self, timeout: float) -> None:
        """Wait up to `timeout` seconds until loading prices, if started, and callbacks are done."""
        if self._thread is not None:
            self._thread.join(timeout)

    def finish(self, timeout: float) -> None:
        """Wait as `wait` does, then end the spans that are still waiting, without prices."""
        self.wait(timeout)
        with self._lock:
            if self.is_loaded:
                return
            waiting, self._loaded = self._loaded, Future()
        waiting.set_result(None)

    def _load(self) -> None:
        try:
            _compile_prices()
            _find_model("anthropic", "")
        except Exception as error:  # noqa: BLE001 - telemetry never raises
            logger.warning("Could not load LLM prices (%s); costs are missing.", error)
        with self._lock:
            self.is_loaded = True
            self._loaded.set_result(None)


price_loader: Final = _PriceLoader()


def _compile_prices() -> None:
    """Compile the price data, 1.6 MB of Python, in a subprocess if it is not compiled yet.

    Compiling holds the interpreter's lock: on a thread it would stall the event loop for 0.16 s.
    """
    spec = find_spec("genai_prices.data")
    if spec and spec.origin and spec.cached and not Path(spec.cached).exists():
        command = [sys.executable, "-m", "py_compile", spec.origin]
        subprocess.run(command, check=False, stdin=DEVNULL, capture_output=True, timeout=30)
