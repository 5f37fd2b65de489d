"""Combinations of answers to render."""

from functools import cache
from itertools import combinations, product
from random import Random
from typing import Any, Final

REGIONS: Final = ("us", "eu")
PLANS: Final = ("free", "pro", "enterprise")
PROTOCOLS: Final = ("http/protobuf", "grpc")
# As short and as long as a name may be.
NAMES: Final = (
    {"project_name": "a", "package_name": "b"},
    {"project_name": "n" * 40, "package_name": "zz" + "p" * 38},
)
SECRETS: Final = ("honeycomb-secrets", "S." + "x" * 62)

FACTORS: Final = {
    "honeycomb_region": REGIONS,
    "honeycomb_plan": PLANS,
    "otlp_protocol": PROTOCOLS,
    "names": NAMES,
    "modal_secret": SECRETS,
}


def every_combination() -> list[dict[str, Any]]:
    return [dict(zip(FACTORS, values, strict=True)) for values in product(*FACTORS.values())]


def pairs(combination: dict[str, Any]) -> set[Any]:
    """All pairs of answers in `combination`."""
    return set(combinations(((name, repr(value)) for name, value in combination.items()), 2))


@cache
def covering_combinations() -> list[dict[str, Any]]:
    """A few combinations that contain every pair of answers at least once."""
    every = every_combination()
    # The result depends on the order: try fifty, the same ones each time.
    tries = (Random(seed).sample(every, len(every)) for seed in range(50))
    return min(map(_covering, tries), key=len)


def _covering(rest: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Choose from `rest` the combination with the most missing pairs, until no pair is missing."""
    missing = set().union(*map(pairs, rest))
    chosen: list[dict[str, Any]] = []
    while missing:
        best = max(rest, key=lambda combination: len(pairs(combination) & missing))
        missing -= pairs(best)
        chosen.append(best)
    return chosen


def as_answers(combination: dict[str, Any]) -> dict[str, Any]:
    """The answers as Copier expects them; `names` is two of them."""
    names: dict[str, Any] = combination["names"]
    return names | {name: value for name, value in combination.items() if name != "names"}


def label(combination: dict[str, Any]) -> str:
    answers = as_answers(combination)
    return "-".join(str(value)[:12].replace("/", "") for value in answers.values())
