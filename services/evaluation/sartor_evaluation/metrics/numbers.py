"""Regression: how far predicted numbers are from the right ones."""

from collections.abc import Sequence

import numpy as np

from sartor_evaluation.items import Outcome
from sartor_evaluation.metrics.sums import Array, MetricSums, mean_of


def _error(outcome: Outcome) -> float:
    said = outcome.number
    assert said is not None  # the metrics apply to outcomes with a number only
    return said - float(outcome.item.reference)


def absolute_error(outcome: Outcome) -> float:
    """In the data's own unit."""
    return abs(_error(outcome))


def _square_rows(outcomes: Sequence[Outcome]) -> Array:
    """[outcomes, 4]: 1, squared error, right number, its square."""
    rows = [
        (1.0, _error(outcome) ** 2, wanted := float(outcome.item.reference), wanted**2)
        for outcome in outcomes
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def root_mean_squared_error(sums: Array) -> Array:
    """sqrt(mean of squared errors), in the data's own unit."""
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Array = np.sqrt(sums[..., 1] / sums[..., 0])
    return result


def r_squared(sums: Array) -> Array:
    """1 - squared errors / squared distances from the mean: 0 is as good as always saying the mean."""
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = sums[..., 3] - sums[..., 2] ** 2 / sums[..., 0]
        result: Array = np.where(spread > 0, 1.0 - sums[..., 1] / spread, np.nan)
    return result


METRICS: dict[str, MetricSums] = {
    "mean_absolute_error": mean_of(absolute_error),
    "root_mean_squared_error": MetricSums(_square_rows, root_mean_squared_error, None),
    "r_squared": MetricSums(_square_rows, r_squared, None),
}
