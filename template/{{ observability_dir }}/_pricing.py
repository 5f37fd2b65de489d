"""The tokens and the cost of an LLM call, by the genai-prices package if it is installed."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from ast import literal_eval
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache, partial, reduce
from importlib.util import find_spec
from operator import mul
from pathlib import Path
from threading import Thread
from typing import Any, Final, Self

from ._settings import warn_once
from .integrations import never_raises

# Providers of OpenTelemetry that genai-prices does not know, or takes for another.
_PROVIDERS: Final = {"azure.ai.openai": "azure", "gcp.gen_ai": "google", "x_ai": "x-ai"}
# Gateways serve their models, and report their usage, under the name of another provider.
_FIRST_PARTIES: Final = ("openai", "anthropic", "google", "aws", "x-ai")
# Names of LiteLLM, LangChain, pydantic-ai and spans, which genai-prices does not read, and those
# that are needed without it. The first that exists counts. Anthropic's input excludes cached tokens.
_NAMES: Final = {
    "input_tokens": "input_tokens+cache_read_input_tokens+cache_creation_input_tokens prompt_tokens",
    "output_tokens": "output_tokens completion_tokens",
    "cache_read_tokens": "cache_read_tokens cache_read_input_tokens cache_read.input_tokens"
    " input_token_details.cache_read input_tokens_details.cached_tokens"
    " prompt_tokens_details.cached_tokens prompt_cache_hit_tokens",
    "cache_write_tokens": "cache_write_tokens cache_creation_input_tokens cache_write.input_tokens"
    " cache_creation.input_tokens input_token_details.cache_creation",
    "cache_write_1h_tokens": "cache_creation.ephemeral_1h_input_tokens"
    " input_token_details.ephemeral_1h_input_tokens details.ephemeral_1h_input_tokens"
    " prompt_tokens_details.cache_creation_token_details.ephemeral_1h_input_tokens",
    "cache_write_5m_tokens": "input_token_details.ephemeral_5m_input_tokens",
    "input_audio_tokens": "input_audio_tokens input_token_details.audio",
    "output_audio_tokens": "output_audio_tokens output_token_details.audio",
    "web_searches": "web_searches",
    "output_reasoning_tokens": "reasoning.output_tokens output_token_details.reasoning",
}
_BASIC: Final = list(_NAMES)[:5]
# Other values of these have another price.
_STANDARD: Final = ("", "auto", "default", "on_demand", "standard", "global", "not_available")
_CONDITIONS: Final = ("service_tier", "speed", "inference_geo")
_Price = Callable[["TokenUsage"], Decimal]


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
        leaves, shape = usage if isinstance(usage, tuple) else flatten(usage)
        kinds = _kinds(provider if price_loader.is_loaded else "", shape, tuple(leaves))
        used = [leaves[path] for paths in kinds.values() for path in paths]
        if not used or not all(type(each) in (int, float) and 0 <= each < 1e15 for each in used):
            raise TypeError(f"unsupported usage object ({', '.join(leaves)[:99]})")
        counts = {kind: sum(leaves[path] for path in paths) for kind, paths in kinds.items()}
        written = counts.pop("cache_write_5m_tokens", 0) + counts.get("cache_write_1h_tokens", 0)
        counts["cache_write_tokens"] = max(written, counts.get("cache_write_tokens", 0))
        basic = {name: int(counts.pop(name, 0)) for name in _BASIC}
        tier = str(leaves.get("trafficType", "")).removeprefix("ON_DEMAND_")
        given = {"service_tier": tier, **leaves}
        named = {name: str(given.get(name, "")).lower() for name in _CONDITIONS}
        conditions = {k: v for k, v in named.items() if v not in _STANDARD}
        return cls(**basic, others={k: v for k, v in counts.items() if v}, conditions=conditions)


def flatten(usage: Any) -> tuple[dict[str, Any], str]:
    """Copy the leaves of an object, by the names in the API's JSON, joined by dots, and its shape."""
    leaves: dict[str, Any] = {}
    return leaves, repr(_shape(usage, leaves, ""))


def _shape(value: Any, leaves: dict[str, Any], path: str) -> Any:
    """Add the leaves of `value` to `leaves`. Return it with the n-th replaced by the n-th power of two."""
    if isinstance(value, str) and "[" in path:
        return str.__str__(value)  # such as the modality of tokens
    if type(value) is not int and hasattr(value, "model_dump"):
        value = value.model_dump(mode="json", by_alias=True, warnings=False)
    value = getattr(value, "__dict__", value)
    if isinstance(value, Mapping):
        if "prompt_token_count" in value:  # Gemini's SDK renames the API's fields
            value = {re.sub(r"_(.)", lambda m: m[1].upper(), name): value[name] for name in value}
        return {str(k): _shape(v, leaves, f"{path}.{k}") for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_shape(each, leaves, f"{path}[{index}]") for index, each in enumerate(value)]
    leaves[path.removeprefix(".")] = value
    return 1 << len(leaves) - 1


@lru_cache(maxsize=256)
def _kinds(provider: str, shape: str, paths: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the kinds of tokens in usage of a `shape`, with the paths of the leaves to add up."""
    # genai-prices' own extraction is ten times as slow as all the rest, so it sees each shape once.
    # Sums of different powers of two show what it added up.
    leaves = {path: 1 << index for index, path in enumerate(paths)}
    sums: dict[str, int] = {}
    for kind, names in _NAMES.items():
        for name in names.split():
            if name.partition("+")[0] in leaves:
                sums.setdefault(kind, sum(leaves.get(each, 0) for each in name.split("+")))
    if provider:
        found = max(_extracted(provider, literal_eval(shape)), key=len, default={})
        sums |= found
    return {kind: [path for path in paths if n & leaves[path]] for kind, n in sums.items()}


def _extracted(provider: str, usage: Any) -> Iterator[dict[str, int]]:
    """Yield the tokens that each of genai-prices' extractors recognizes in `usage`."""
    from genai_prices import data_snapshot

    for name in (_PROVIDERS.get(provider, provider), *_FIRST_PARTIES):
        with suppress(LookupError):
            seller = data_snapshot.get_snapshot().find_provider(None, name, None)
            for each in seller.extractors or ():
                root: Any = [each.root] if isinstance(each.root, str) else each.root
                for outer in (root, root[:1]):  # `usage` may be the root, or contain it
                    response = reduce(lambda inner, part: {part: inner}, reversed(outer), usage)
                    with suppress(ValueError):
                        yield vars(each.extract(response)[1])


def cost_usd(provider: str, model: str, usage: TokenUsage) -> Decimal | None:
    """Return the price of one call in US dollars, or None if it is unknown or not loaded yet."""
    if not price_loader.is_loaded:
        return None
    try:
        quarter = int(time.time() // 900)  # some prices change with the date or the time of day
        return _price_of(provider, model, quarter, *usage.conditions.items())(usage) or None
    except Exception as error:  # noqa: BLE001 - telemetry never raises
        warn_once("Could not price a call of %s (%s).", model, type(error).__name__)
        return None


@lru_cache(maxsize=256)
def _price_of(provider: str, model: str, quarter: int, *conditions: tuple[str, str]) -> _Price:
    """Return a function that prices calls of `model`. A model without a price costs nothing."""
    # genai-prices needs as long for a call as the SDK for all spans of a request. Nearly all prices
    # are a rate per token, which is determined once.
    from genai_prices import Usage, calc_price

    million = Usage(input_tokens=1_000_000, output_tokens=1_000_000)
    provider, name = _PROVIDERS.get(provider, provider), model.rpartition("/")[2]
    # LiteLLM's models begin with the provider.
    for seller, reference in ((provider, model), *((p, name) for p in (provider, *_FIRST_PARTIES))):
        calculate = partial(calc_price, model_ref=reference, provider_id=seller)
        with suppress(LookupError):
            standard = calculate(million)
            break
    else:
        return lambda usage: Decimal()
    context = dict(conditions)
    # Anthropic charges 10 % more for inference in the US.
    factor = Decimal("1.1") if context.pop("inference_geo", "") == "us" else Decimal(1)
    if context.get("service_tier") == "batch":
        context = {"processing": context.pop("service_tier"), **context}
    if context:
        calculate = partial(calculate, price_context=context)
        if calculate(million).total_price == standard.total_price:
            warn_once("Calls of %s have no cost: the price of its %s is unknown.", model, *context)
            return lambda usage: Decimal()
    prices = {k: v for k, v in vars(calculate(million).model_price).items() if v is not None}
    kinds = {each.replace("_mtok", "_tokens").removesuffix("_kcount") for each in prices}
    rates: list[Decimal] = []
    # A tiered price is not a plain number.
    if "requests" not in kinds and {*map(type, prices.values())} <= {Decimal}:
        # Cached tokens are a part of the input: their rate is the difference to that.
        amounts = (3_000_000, *[1_000_000] * 4)
        usages = [Usage(**dict(zip(_BASIC[:n], amounts, strict=False))) for n in range(6)]
        totals = [factor * calculate(each).total_price for each in usages]
        rates = [(b - a) / n for a, b, n in zip(totals, totals[1:], amounts, strict=False)]

    def price(usage: TokenUsage) -> Decimal:
        tokens = [getattr(usage, name) for name in _BASIC]
        input_, _, read, written, hour = tokens
        is_odd = read + written > input_ or hour > written
        if is_odd or not rates or not kinds.isdisjoint(usage.others):
            given: dict[str, Any] = {**dict(zip(_BASIC, tokens, strict=True)), **usage.others}
            if "input_audio_tokens" in given:  # Gemini omits those that are zero
                given.setdefault("cache_audio_read_tokens", 0)
            return factor * Decimal(calculate(Usage(**given)).total_price)
        return sum(map(mul, rates, tokens), Decimal())

    return price


class _PriceLoader:
    """Loads the prices once, on a background thread, when the first call needs them."""

    def __init__(self) -> None:
        self.is_loaded = self._has_ended = False
        self.reset()

    def reset(self) -> None:
        self._thread = Thread(target=self._load, name="llm-prices", daemon=True)
        self._waiting: list[Callable[[], None]] = []

    def start_loading(self) -> None:
        """Load the prices while the first call is in flight."""
        if not self._has_ended:
            with suppress(RuntimeError):  # started already, or out of threads
                self._thread.start()

    def when_loaded(self, callback: Callable[[], None]) -> None:
        """Call `callback` now, or on the loading thread."""
        if self._has_ended:
            callback()
            return
        self._waiting.append(callback)
        self.start_loading()
        if self._has_ended:  # meanwhile
            self.finish(0)

    def finish(self, timeout: float) -> None:
        """Wait until prices are loaded, if that has begun. Then end the spans that still wait."""
        with suppress(RuntimeError):  # not started, or on the thread itself
            self._thread.join(timeout)
        while self._waiting:
            with suppress(Exception):
                self._waiting.pop(0)()

    def _load(self) -> None:
        with never_raises("Could not load LLM prices; costs are missing"):
            spec = find_spec("genai_prices.data")
            if spec and spec.cached and not Path(spec.cached).exists():
                # Compiling 1.6 MB holds the interpreter's lock: event loops would stall for 0.16 s.
                command = [sys.executable, "-m", "py_compile", str(spec.origin)]
                subprocess.run(command, check=False, capture_output=True, timeout=30)
            _price_of("anthropic", "", 0)
            self.is_loaded = True
        self._has_ended = True
        self.finish(0)


price_loader: Final = _PriceLoader()
