"""A score or a paired difference with its interval, and what it says in words. Standard library only."""

import math
from dataclasses import dataclass
from enum import StrEnum

CONFIDENCE = 0.95
FEW_ITEMS = 20
"""Below this many independent items an interval is a rough guide only, and is called so."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval, from `items` items in `clusters` independent groups."""

    value: float
    lower: float
    upper: float
    items: int
    clusters: int

    @property
    def half_width(self) -> float:
        return (self.upper - self.lower) / 2


class Verdict(StrEnum):
    """What a paired difference says at the given confidence."""

    BETTER = "better"
    WORSE = "worse"
    CANNOT_TELL = "cannot tell"


def verdict(difference: Estimate, *, higher_is_better: bool) -> Verdict:
    """Better or worse only where the whole interval lies on one side of zero."""
    if difference.lower > 0:
        return Verdict.BETTER if higher_is_better else Verdict.WORSE
    if difference.upper < 0:
        return Verdict.WORSE if higher_is_better else Verdict.BETTER
    return Verdict.CANNOT_TELL


def items_needed(difference: Estimate) -> int | None:
    """About how many items would make the interval of this difference exclude zero; None where that cannot be
    said.

    The half width shrinks with the square root of the number of items, if more items are like these.
    """
    if difference.value == 0 or not math.isfinite(difference.value + difference.half_width):
        return None
    factor = (difference.half_width / abs(difference.value)) ** 2
    return max(difference.items + 1, math.ceil(difference.items * factor * 1.1))


def in_words(difference: Estimate, *, higher_is_better: bool) -> str:
    """What the difference says: "better", or "cannot tell with 40 items; about 320 would do"."""
    found = verdict(difference, higher_is_better=higher_is_better)
    caution = ""
    if difference.clusters < FEW_ITEMS:
        caution = f" (only {difference.clusters} independent items: a rough guide)"
    if found is not Verdict.CANNOT_TELL:
        return found.value + caution
    if difference.value == 0 and difference.half_width == 0:
        return "the same on every item" + caution
    needed = items_needed(difference)
    if needed is None or needed > 1_000_000:
        return f"cannot tell with {difference.items} items" + caution
    return f"cannot tell with {difference.items} items; about {_round_up(needed)} would do" + caution


def _round_up(count: int) -> int:
    """Two leading digits: 313 becomes 320."""
    magnitude: int = 10 ** max(len(str(count)) - 2, 0)
    return math.ceil(count / magnitude) * magnitude
