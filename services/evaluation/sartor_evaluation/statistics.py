"""Intervals for scores and for paired differences: one vectorised bootstrap, clustered by what is not
independent.

The resamples are drawn once for a set of items and shared by every metric and candidate, so that differences
are paired: both candidates are measured on the same resampled items. Clusters (near duplicates, one
conversation) are drawn whole.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from sartor_evaluation.estimates import CONFIDENCE, Estimate, t_quantile
from sartor_evaluation.metrics.sums import Array

RESAMPLES = 4_000
MOST_GROUPS = 4_096
"""More clusters than these are put together at random: resampling random groups of clusters gives the same
intervals in bounded memory.
"""


@dataclass(frozen=True, slots=True)
class Resamples:
    """How often each cluster occurs in each resample, and which cluster each item is in.

    weights: float64 [resamples, clusters]; every row adds up to the number of clusters.
    membership: int64 [items].
    """

    weights: Array
    membership: NDArray[np.int64]

    @property
    def clusters(self) -> int:
        return int(self.weights.shape[1])

    @property
    def items(self) -> int:
        return len(self.membership)

    def cluster_sums(self, rows: Array) -> Array:
        """float64 [items, k] -> [clusters, k]."""
        sums = np.zeros((self.clusters, rows.shape[1]))
        np.add.at(sums, self.membership, rows)
        return sums


def resample(clusters: Sequence[str], *, seed: int = 0, resamples: int = RESAMPLES) -> Resamples:
    """Draw resamples of clusters with replacement (Efron's bootstrap; clustered as in Davison and Hinkley
    3.8).

    Args:
        clusters: one name an item; items that share a name stay together.
    Raises:
        ValueError: no items.
    """
    if not clusters:
        raise ValueError("no items to resample")
    names = {name: index for index, name in enumerate(dict.fromkeys(clusters))}
    if len(names) > MOST_GROUPS:
        return resample_groups(
            np.array([group_of(name) for name in clusters], dtype=np.int64), MOST_GROUPS, seed, resamples
        )
    membership = np.array([names[name] for name in clusters], dtype=np.int64)
    return resample_groups(membership, len(names), seed, resamples)


def group_of(cluster: str) -> int:
    """The random group of a cluster, the same in every run."""
    digest = hashlib.blake2b(cluster.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % MOST_GROUPS


def resample_groups(
    membership: NDArray[np.int64], count: int, seed: int = 0, resamples: int = RESAMPLES
) -> Resamples:
    """Draw resamples of `count` groups; `membership` may be empty where only sums of groups are measured."""
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(count, np.full(count, 1 / count), size=resamples).astype(np.float64)
    return Resamples(weights, membership)


def estimate(rows: Array, value: Callable[[Array], Array], resamples: Resamples) -> Estimate:
    """A metric's value over all items with its interval.

    Args:
        rows: float64 [items, k], the metric's sufficient statistics.
        value: [..., k] sums -> [...].
    Where every item scores the same share (all right or all wrong) a bootstrap would claim certainty; then
    the exact binomial bound for that many clusters is used (the "rule of three").
    """
    plain = bool(np.isin(rows, (0.0, 1.0)).all())
    return estimate_of_sums(resamples.cluster_sums(rows), value, resamples, len(rows), plain=plain)


def estimate_of_sums(
    sums: Array,
    value: Callable[[Array], Array],
    resamples: Resamples,
    items: int,
    *,
    plain: bool = False,
) -> Estimate:
    """As `estimate`, from the sums of each cluster: float64 [clusters, k].

    Args:
        plain: every item scores 0 or 1.
    """
    centre = float(value(sums.sum(axis=0)))
    draws = value(resamples.weights @ sums)
    lower, upper = _interval(draws, resamples.clusters)
    error = _standard_error(draws, resamples.clusters)
    if lower == upper and centre in (0.0, 1.0) and plain:
        doubt = 1 - ((1 - CONFIDENCE) / 2) ** (1 / resamples.clusters)
        lower, upper = (0.0, doubt) if centre == 0.0 else (1 - doubt, 1.0)
        error = doubt / 2
    return Estimate(centre, lower, upper, items, resamples.clusters, error)


def difference(rows: Array, others: Array, value: Callable[[Array], Array], resamples: Resamples) -> Estimate:
    """The metric of `rows` minus that of `others`, paired on the same items.

    Args:
        rows, others: float64 [items, k], in the same order of items.
    Raises:
        ValueError: not the same number of items.
    """
    if len(rows) != len(others):
        raise ValueError(f"a paired difference needs the same items: {len(rows)} and {len(others)} are given")
    ours, theirs = resamples.cluster_sums(rows), resamples.cluster_sums(others)
    return difference_of_sums(ours, theirs, value, resamples, len(rows))


def difference_of_sums(
    ours: Array, theirs: Array, value: Callable[[Array], Array], resamples: Resamples, items: int
) -> Estimate:
    """As `difference`, from the sums of each cluster."""
    centre = float(value(ours.sum(axis=0)) - value(theirs.sum(axis=0)))
    draws = value(resamples.weights @ ours) - value(resamples.weights @ theirs)
    lower, upper = _interval(draws, resamples.clusters)
    error = _standard_error(draws, resamples.clusters)
    return Estimate(centre, lower, upper, items, resamples.clusters, error)


def _standard_error(draws: Array, clusters: int) -> float:
    """Of the draws, corrected for the bootstrap's factor (n - 1) / n."""
    finite = draws[np.isfinite(draws)]
    if clusters < 2 or finite.size < draws.size / 2:
        return math.nan
    return float(finite.std() * math.sqrt(clusters / (clusters - 1)))


def _interval(draws: Array, clusters: int) -> tuple[float, float]:
    """Percentile interval, widened for few clusters as in Hesterberg 2015 (expanded percentile interval)."""
    finite = draws[np.isfinite(draws)]
    if clusters < 2 or finite.size < draws.size / 2:
        return (-math.inf, math.inf) if clusters < 2 else (math.nan, math.nan)
    tail = _expanded_tail(clusters)
    lower, upper = np.quantile(finite, (tail, 1 - tail))
    return float(lower), float(upper)


def _expanded_tail(clusters: int) -> float:
    """The tail probability whose normal quantile equals the t quantile times sqrt(n / (n - 1))."""
    quantile = t_quantile(1 - (1 - CONFIDENCE) / 2, clusters - 1)
    return NormalDist().cdf(-quantile * math.sqrt(clusters / (clusters - 1)))
