"""A score or a paired difference with its interval, and what it says in words. Standard library only."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

CONFIDENCE = 0.95
FEW_ITEMS = 20
"""Below this many independent items an interval is a rough guide only, and is called so."""


POWER = 0.8
"""Share of evaluations that find a difference as large as the minimum detectable effect."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval, from `items` items in `clusters` independent groups.

    `standard_error` is NaN where it is not known.
    """

    value: float
    lower: float
    upper: float
    items: int
    clusters: int
    standard_error: float = math.nan

    @property
    def half_width(self) -> float:
        return (self.upper - self.lower) / 2

    @property
    def minimum_detectable_effect(self) -> float:
        """The least true difference that such an evaluation finds with POWER (two-sided, normal)."""
        normal = NormalDist()
        return (normal.inv_cdf(1 - (1 - CONFIDENCE) / 2) + normal.inv_cdf(POWER)) * self.standard_error

    def chance_below(self, limit: float) -> float:
        """One-sided p value of the statement that the true value is above `limit`; 1.0 where it is
        unknown."""
        if not math.isfinite(self.value) or self.clusters < 2 or math.isnan(self.standard_error):
            return 1.0
        if self.standard_error == 0:
            return 0.0 if self.value >= limit else 1.0
        return 1 - _t_cdf((self.value - limit) / self.standard_error, self.clusters - 1)

    @property
    def p_value(self) -> float:
        """Two-sided: how likely a value this far from zero is by chance."""
        below = self.chance_below(0.0)
        if self.standard_error == 0 and self.value == 0:
            return 1.0
        return min(1.0, 2 * min(below, 1 - below)) if below < 1.0 or self.value < 0 else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values (Holm 1979): each stays below a level only if the family-wise error does."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, running = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def t_quantile(probability: float, freedom: int) -> float:
    """Student's t quantile by the Cornish-Fisher expansion (Abramowitz and Stegun 26.7.5); within 1 % from 3
    up.
    """
    z = NormalDist().inv_cdf(probability)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    quantile: float = sum(term / freedom**power for power, term in enumerate(terms))
    return quantile


def _t_cdf(value: float, freedom: int) -> float:
    """Student's t by its normal approximation (Wallace 1959), within 0.001 from 5 degrees of freedom up."""
    size = math.sqrt(freedom * math.log1p(value * value / freedom)) * (8 * freedom + 1) / (8 * freedom + 3)
    return NormalDist().cdf(math.copysign(size, value))


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


def _items(count: int, what: str = "item") -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def items_needed(difference: Estimate) -> int | None:
    """About how many items would make the interval of this difference exclude zero; None where that cannot be
    said.

    The half width shrinks with the square root of the number of items, if more items are like these.
    """
    if difference.value == 0 or not math.isfinite(difference.value + difference.half_width):
        return None
    factor = (difference.half_width / abs(difference.value)) ** 2
    return max(difference.items + 1, math.ceil(difference.items * factor * 1.1))


def in_words(difference: Estimate, *, higher_is_better: bool | None, adjusted_p: float | None = None) -> str:
    """What the difference says: "better", or "cannot tell with 40 items; about 320 would do".

    Args:
        higher_is_better: None where neither direction is: then it says "higher" or "lower".
        adjusted_p: the p value corrected for the other metrics of the same comparison; where that is not
            significant any more the words say so.
    """
    found = verdict(difference, higher_is_better=higher_is_better is not False)
    caution = ""
    if difference.clusters < FEW_ITEMS:
        independent = _items(difference.clusters, "independent item")
        caution = f" (only {independent}: a rough guide)"
    if found is not Verdict.CANNOT_TELL:
        word = found.value
        if higher_is_better is None:
            word = "higher" if difference.value > 0 else "lower"
        if adjusted_p is not None and adjusted_p > 1 - CONFIDENCE:
            word += ", but not surely: one of several metrics may differ by chance"
        return word + caution
    if difference.value == 0 and difference.half_width == 0:
        return "the same on every item" + caution
    needed = items_needed(difference)
    if needed is None or needed > 1_000_000:
        return f"cannot tell with {_items(difference.items)}" + caution
    return f"cannot tell with {_items(difference.items)}; about {_round_up(needed)} would do" + caution


def _round_up(count: int) -> int:
    """Two leading digits: 313 becomes 320."""
    magnitude: int = 10 ** max(len(str(count)) - 2, 0)
    return math.ceil(count / magnitude) * magnitude
