"""The form every metric takes: rows of sufficient statistics that add up, and a value of their sum.

A mean is (sum, count); perplexity is exp(loss sum / tokens); macro F1 is a function of the confusion matrix.
Because the rows only ever need adding, one vectorised bootstrap serves all of them, ratios and macro averages
included.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sartor_evaluation.items import Outcome

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class MetricSums:
    """How a metric is computed.

    rows: outcomes -> float64 [outcomes, k], one row of statistics each.
    value: float64 [..., k] sums -> float64 [...]; NaN where it is undefined (nothing to divide by).
    per_item: what one outcome scores alone, to find the worst; None where that has no meaning.
    is_mean: the metric is the mean of per_item: its rows are (score, 1).
    """

    rows: Callable[[Sequence[Outcome]], Array]
    value: Callable[[Array], Array]
    per_item: Callable[[Outcome], float] | None
    is_mean: bool = False


def mean_of(score: Callable[[Outcome], float]) -> MetricSums:
    """The metric that is the mean of a score an item."""

    def rows(outcomes: Sequence[Outcome]) -> Array:
        return np.array([(score(outcome), 1.0) for outcome in outcomes], dtype=np.float64).reshape(-1, 2)

    return MetricSums(rows, ratio, score, is_mean=True)


def ratio(sums: Array) -> Array:
    """Column 0 over column 1; NaN where column 1 is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Array = np.where(sums[..., 1] > 0, sums[..., 0] / sums[..., 1], np.nan)
    return result
