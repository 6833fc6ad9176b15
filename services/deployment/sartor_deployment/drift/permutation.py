"""Permutation tests: how often does a random split of the same requests differ as much as the real one?

Exact whatever the distribution, as long as requests are exchangeable while nothing drifts (Good, Permutation,
Parametric and Bootstrap Tests of Hypotheses). Work stops early where drift is out of the question (Besag and
Clifford 1991), which can only lower the rate of false alarms.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Splits = NDArray[np.bool_]
"""[splits, requests]: True where a request counts to the window."""
Statistic = Callable[[Splits], Floats]
"""One value a split; larger is more different."""

_BATCH = 250
_HOPELESS = 10
"""So many random splits that differ as much as the real one: the p value will not be small."""


class RandomSplits:
    """The real split and random ones of the same sizes; several statistics share them."""

    def __init__(self, before: int, window: int, seed: int = 0) -> None:
        self._before, self._window, self._seed = before, window, seed
        self._batches: list[Splits] = []

    @property
    def real(self) -> Splits:
        """The requests as they came: the reference first."""
        return np.arange(self._before + self._window)[None, :] >= self._before

    def batch(self, number: int) -> Splits:
        """The random splits of this batch, always the same."""
        while len(self._batches) <= number:
            random = np.random.default_rng((self._seed, len(self._batches)))
            size = self._before + self._window
            keys = random.random((_BATCH, size), dtype=np.float32)
            edge = np.partition(keys, self._before - 1, axis=1)[:, self._before - 1 : self._before]
            self._batches.append(keys > edge)
        return self._batches[number]


def p_value(statistic: Statistic, splits: RandomSplits, least: float) -> tuple[float, float]:
    """The real split's statistic and its p value.

    Args:
        least: p values of this size must be told apart; as many random splits are made.
    """
    real = float(statistic(splits.real)[0])
    needed = int(np.ceil(2.0 / least / _BATCH))
    exceeding, made = 0, 0
    for number in range(needed):
        # A little below, so that rounding never makes an equal split a smaller one.
        exceeding += int((statistic(splits.batch(number)) >= real - 1e-9 * max(abs(real), 1.0)).sum())
        made += _BATCH
        if exceeding >= _HOPELESS:
            break
    return real, (exceeding + 1) / (made + 1)
