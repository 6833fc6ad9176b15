"""How different two groups of requests are: one statistic for each kind of thing that is compared.

Each is made from all requests once, blind to which of them are new; then it is asked about splits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sartor_deployment.drift.permutation import Floats, Splits, Statistic

_KMEANS_ROUNDS = 12
_REQUESTS_A_CLUSTER = 15
_MOST_CLUSTERS = 24
_TINY = 1e-12
_REGULAR = 0.05
_DIRECTIONS = 200


def distance_of_means(vectors: NDArray[np.float32]) -> Statistic:
    """Squared Mahalanobis distance of the groups' means, by the covariance of all (Hotelling 1931).

    The covariance is made regular by a share of its largest eigenvalue. Measured against the maximum mean
    discrepancy on E5 embeddings it finds a change of topics in half as many requests (benchmarks/drift.py).
    """
    centred = vectors - vectors.mean(0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    spread = values**2
    whitened = left * np.sqrt(len(vectors) * spread / (spread + _REGULAR * spread.max() + _TINY))
    points = whitened[:, :_DIRECTIONS].astype(np.float32)

    def statistic(splits: Splits) -> Floats:
        weights = _weights(splits).astype(np.float32)
        return np.asarray(((weights @ points) ** 2).sum(1), np.float64)

    return statistic


def divergence(counts: NDArray[np.float32]) -> Statistic:
    """Jensen-Shannon divergence in nats of two distributions. `counts`: [requests, kinds]."""

    def statistic(splits: Splits) -> Floats:
        chosen = splits.astype(np.float32)
        new = chosen @ counts
        old = counts.sum(0) - new
        p, q = _shares(new), _shares(old)
        middle = (p + q) / 2
        log_middle = np.log(middle + _TINY)
        terms = p * (np.log(p + _TINY) - log_middle) + q * (np.log(q + _TINY) - log_middle)
        return np.asarray(terms.sum(1) / 2, np.float64)

    return statistic


def kolmogorov_smirnov(values: Sequence[float]) -> Statistic:
    """Largest distance of two empirical distribution functions; equal values step together."""
    numbers = np.asarray(values, np.float64)
    order = np.argsort(numbers, kind="stable")
    ends = np.append(np.diff(numbers[order]) > 0, True)

    def statistic(splits: Splits) -> Floats:
        chosen = splits[:, order]
        new = chosen.cumsum(1) / np.maximum(chosen.sum(1, keepdims=True), 1)
        old = (~chosen).cumsum(1) / np.maximum((~chosen).sum(1, keepdims=True), 1)
        return np.asarray(np.abs(new - old)[:, ends].max(1), np.float64)

    return statistic


def mean_rise(values: Sequence[float], *, two_sided: bool = False) -> Statistic:
    """By how much the window's mean is above the reference's."""
    numbers = np.asarray(values, np.float64)

    def statistic(splits: Splits) -> Floats:
        rise = _weights(splits) @ numbers
        return np.abs(rise) if two_sided else rise

    return statistic


def chi_squared(kinds: Sequence[str]) -> tuple[Statistic, list[str]]:
    """Pearson's statistic of a table kind × split, and the kinds in order."""
    names = sorted(set(kinds))
    hot = np.asarray([[kind == name for name in names] for kind in kinds], np.float64)
    totals = hot.sum(0)

    def statistic(splits: Splits) -> Floats:
        share = splits.sum(1, keepdims=True) / splits.shape[1]
        expected = share * totals
        spread = expected * (1 - share) + _TINY
        return np.asarray((((splits @ hot) - expected) ** 2 / spread).sum(1), np.float64)

    return statistic, names


def newest_cluster(labels: NDArray[np.int64]) -> Statistic:
    """How surprisingly many requests of one cluster are new, in standard deviations; the largest cluster."""
    hot = np.eye(int(labels.max()) + 1)[labels]
    totals = hot.sum(0)

    def statistic(splits: Splits) -> Floats:
        return np.asarray(_surprise(splits, hot, totals).max(1), np.float64)

    return statistic


def surprise(labels: NDArray[np.int64], splits: Splits) -> Floats:
    """Of each cluster, what `newest_cluster` takes the largest of."""
    hot = np.eye(int(labels.max()) + 1)[labels]
    return np.asarray(_surprise(splits, hot, hot.sum(0))[0], np.float64)


def clusters(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """k-means with a spread-out beginning; the same vectors, in any order, give the same clusters.

    So the clusters do not know which requests are new, as the permutation test needs.
    """
    direction = np.random.default_rng(0).normal(size=vectors.shape[1])
    order = np.argsort((vectors * direction).sum(1), kind="stable")
    found = np.empty(len(vectors), np.int64)
    found[order] = _kmeans(vectors[order])
    return found


def _kmeans(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    count = min(_MOST_CLUSTERS, max(2, len(vectors) // _REQUESTS_A_CLUSTER))
    centres = [vectors[0]]
    nearest = ((vectors - centres[0]) ** 2).sum(1)
    random = np.random.default_rng(0)
    for _ in range(count - 1):  # k-means++ (Arthur and Vassilvitskii 2007)
        total = nearest.sum()
        chosen = random.choice(len(vectors), p=nearest / total) if total > 0 else 0
        centres.append(vectors[chosen])
        nearest = np.minimum(nearest, ((vectors - centres[-1]) ** 2).sum(1))
    middle = np.stack(centres)
    labels = np.zeros(len(vectors), np.int64)
    for _ in range(_KMEANS_ROUNDS):
        labels = np.argmin((middle**2).sum(1) - 2 * vectors @ middle.T, axis=1)
        for number in range(count):
            members = vectors[labels == number]
            if len(members):
                middle[number] = members.mean(0)
    return np.asarray(labels, np.int64)


def _surprise(splits: Splits, hot: Floats, totals: Floats) -> Floats:
    size = splits.shape[1]
    share = splits.sum(1, keepdims=True) / size
    spread = np.sqrt(totals * share * (1 - share) * (size - totals) / max(size - 1, 1)) + _TINY
    return np.asarray(np.where(totals > 1, (splits @ hot - share * totals) / spread, 0.0), np.float64)


def _weights(splits: Splits) -> Floats:
    new = splits.sum(1, keepdims=True)
    old = splits.shape[1] - new
    return np.asarray(np.where(splits, 1 / np.maximum(new, 1), -1 / np.maximum(old, 1)), np.float64)


def _shares(counts: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(counts / np.maximum(counts.sum(1, keepdims=True), _TINY), np.float32)
