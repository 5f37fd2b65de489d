"""The tokens and the cost of an LLM call, by the genai-prices package if it is installed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache, partial, reduce
from importlib.util import find_spec
from itertools import count
from operator import mul
from pathlib import Path
from threading import Thread
from typing import Any, Final, Self

from ._settings import warn_once
from .integrations import never_raises

# Providers of OpenTelemetry that genai-prices does not know, or mistakes for another.
_PROVIDERS: Final = {"azure.ai.openai": "azure", "gcp.gen_ai": "google", "x_ai": "x-ai"}
# Gateways serve their models, and report their usage, under the name of another provider.
_FIRST_PARTIES: Final = ("openai", "anthropic", "google", "aws", "x-ai")
# Patterns of names in the JSON of usage. They include those of LiteLLM, LangChain, pydantic-ai and
# spans, which genai-prices does not read. The outermost name that matches counts.
_NAMES: Final = {
    "input_tokens": r"(?:input|prompt)_tokens",
    "output_tokens": r"(?:output|completion)_tokens",
    "cache_read_tokens": r"(?:[\w.]+[_.])?(?:cache_read|cache_hit|cached)(?:[_.]\w+)?",
    "cache_write_tokens": r"[\w.]*cache_(?:creation|write)(?:_tokens|[_.]input_tokens)?",
    "cache_write_1h_tokens": r"[\w.]*(?:ephemeral|write)_1h_\w+",
    "cache_write_5m_tokens": r"[\w.]*(?:ephemeral|write)_5m_\w+",
    "input_audio_tokens": r'(?:input|prompt)_token\w*": {[^{}]*"audio\w*|input_audio\w*',
    "output_audio_tokens": r'(?:output|completion)_token\w*": {[^{}]*"audio\w*|output_audio\w*',
    "output_reasoning_tokens": r"[\w.]*(?:reasoning|thinking)[\w.]*",
    "web_searches": r"\w*web_search\w*",
}
_BASIC: Final = list(_NAMES)[:5]
# Conditions of a call. Any other value than the standard ones has another price.
_CONDITION: Final = re.compile(r'"(service_tier|speed|inference_geo)": "(?:on_demand_)?(\w+)"')
_STANDARD: Final = ("auto", "default", "on_demand", "standard", "global", "not_available")
_JSON: Final = json.JSONEncoder(default=lambda value: _fields(value), skipkeys=True)
_NUMBER: Final = re.compile(r": ([0-9]{1,15}(?:\.[0-9]+)?(?:e-[0-9]+)?)(?=[,}])")


@dataclass(kw_only=True)
class TokenUsage:
    """Tokens of one call. The input includes cached tokens, read or written."""

    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0  # of any lifetime
    cache_write_1h_tokens: int = 0  # those of them cached for an hour, at a higher price
    # As named in genai-prices, such as output_reasoning_tokens, input_audio_tokens, web_searches.
    others: Mapping[str, float] = field(default_factory=dict)
    conditions: Mapping[str, str] = field(default_factory=dict)  # such as a service_tier

    @classmethod
    def of(cls, usage: Any, provider: str = "openai") -> Self:
        """Convert the usage of a response of any SDK or framework, an object or a mapping.

        `provider` is its name in OpenTelemetry. Raises TypeError if no token count is recognized.
        """
        if isinstance(usage, cls):
            return usage
        parts = usage if isinstance(usage, tuple) else copy_usage(usage)
        kinds, conditions = _kinds(provider * price_loader.is_loaded, ": 0".join(parts[::2]))
        counts = {kind: sum([float(parts[n]) for n in numbers]) for kind, numbers in kinds.items()}
        written = counts.pop("cache_write_5m_tokens", 0) + counts.get("cache_write_1h_tokens", 0)
        counts["cache_write_tokens"] = max(written, counts.get("cache_write_tokens", 0))
        basic = {name: int(counts.pop(name, 0)) for name in _BASIC}
        return cls(**basic, others={k: v for k, v in counts.items() if v}, conditions=conditions)


def copy_usage(usage: Any, service_tier: str | None = None) -> tuple[str, ...]:
    """Return the JSON of usage, by the names in the API's: text, a number, text, and so on."""
    with suppress(Exception):
        return tuple(_NUMBER.split(_JSON.encode((usage or {}, {"service_tier": service_tier}))))
    return ("[{}, null]",)


def _fields(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True, warnings=False)
    return getattr(value, "__dict__", None) or (dict(value) if isinstance(value, Mapping) else None)


@lru_cache(maxsize=256)
def _kinds(provider: str, shape: str) -> tuple[dict[str, list[int]], dict[str, str]]:
    """Return the parts of usage to add up for each kind of tokens, and conditions of its price."""
    # genai-prices' own extraction is slow: it sees each shape once, and powers of two show its sums.
    parts = count(1, 2)
    text = _NUMBER.sub(lambda _: f": {1 << next(parts)}", shape)
    if '"prompt_token_count"' in text:  # Gemini's SDK renames the API's fields
        text = re.sub(r"_([a-z])", lambda letter: letter[1].upper(), text)
    usage, _ = json.loads(text)
    fields = {**usage}.items()  # TypeError if it is not an object
    text = json.dumps(dict(sorted(fields, key=lambda field: isinstance(field[1], dict | list))))
    found = {kind: re.search(rf'"(?:{name})": (\d+)', text) for kind, name in _NAMES.items()}
    sums = {kind: int(match[1]) for kind, match in found.items() if match}
    if "input_tokens" in sums and "prompt_tokens" not in usage:  # Anthropic's excludes cached ones
        for name in ("cache_creation_input_tokens", "cache_read_input_tokens"):
            sums["input_tokens"] += usage.get(name) or 0
    if provider:
        sums = sums | max(_extracted(provider, usage), key=len, default=sums)
    if not sums or re.search(r'tokens": [^0n{]', shape):  # such as negative numbers
        raise TypeError(f"unsupported usage object ({', '.join(usage)[:99]})")
    kinds = {kind: [n for n in range(s.bit_length()) if s >> n & 1] for kind, s in sums.items()}
    conditions = _CONDITION.findall(shape.replace("trafficType", "service_tier").lower())
    return kinds, {name: value for name, value in conditions if value not in _STANDARD}


def _extracted(provider: str, usage: dict[str, Any]) -> Iterator[dict[str, int]]:
    """Yield the tokens that each of genai-prices' extractors recognizes in `usage`."""
    from genai_prices.data_snapshot import get_snapshot

    for name in (_PROVIDERS.get(provider, provider), *_FIRST_PARTIES):
        with suppress(LookupError):
            for each in get_snapshot().find_provider(None, name, None).extractors or ():
                root: Any = [each.root] if isinstance(each.root, str) else each.root
                # The root may be `usage`, or a part of it.
                response = reduce(lambda inner, part: {part: inner, **usage}, reversed(root), usage)
                with suppress(ValueError):
                    yield vars(each.extract(response)[1])


def cost_usd(provider: str, model: str, usage: TokenUsage) -> Decimal | None:
    """Return the price of one call in US dollars, or None if it is unknown or not loaded yet."""
    quarter = int(time.time() // 900)  # some prices change with the date or the time of day
    if price_loader.is_loaded:
        try:
            return _price_of(provider, model, quarter, *usage.conditions.items())(usage) or None
        except Exception as error:  # noqa: BLE001 - telemetry never raises
            warn_once("Could not price a call of %s (%s).", model, type(error).__name__)
    return None


@lru_cache(maxsize=256)
def _price_of(provider: str, model: str, quarter: int, *conditions: Any) -> Callable[..., Decimal]:
    """Return a function that prices calls of `model`. It returns 0 without a price."""
    # genai-prices is slow. Nearly all prices are a rate per token, which is determined once.
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
    if context:
        batch = {"processing": context.get("service_tier", "")}
        calculate = partial(calculate, price_context={**batch, **context})
        if calculate(million).total_price == standard.total_price:
            warn_once("Calls of %s have no cost: no price for its %s.", model, ", ".join(context))
            return lambda usage: Decimal()
    prices = {k: v for k, v in vars(calculate(million).model_price).items() if v is not None}
    kinds = {each.replace("_mtok", "_tokens").removesuffix("_kcount") for each in prices}
    rates: list[Decimal] = []  # none for a tiered price, which is not a plain number
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
            given.setdefault("cache_audio_read_tokens", 0)  # Gemini omits it
            return factor * Decimal(calculate(Usage(**given)).total_price)
        return sum(map(mul, rates, tokens), Decimal())

    return price


class _PriceLoader:
    """Loads the prices once, on a background thread, when the first call needs them."""

    is_loaded = _has_ended = False

    def __init__(self) -> None:
        self._thread = Thread(target=self._load, name="llm-prices", daemon=True)
        self._waiting: list[Callable[[], None]] = []

    reset = __init__

    def start_loading(self) -> None:
        """Load the prices while the first call is in flight."""
        if not self._has_ended:
            with suppress(RuntimeError):  # started already, or out of threads
                self._thread.start()

    def when_loaded(self, callback: Callable[[], None]) -> None:
        """Call `callback` now, or on the loading thread."""
        self._waiting.append(callback)
        self.start_loading()
        if self._has_ended:
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
