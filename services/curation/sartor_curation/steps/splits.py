"""Step: gives each record its split for life, so that what was once held out is never trained on."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sartor_text.clusters import smallest_linked

from sartor_curation.features import SPLITS
from sartor_curation.index import Index, Ints, Remembered
from sartor_curation.steps.batches import as_arrow
from sartor_curation.steps.questions import Questions

__all__ = ["Assigned", "Remembered", "Shares", "assign_splits"]

_TRAIN, _VALIDATION, _TEST = (SPLITS.index(name) for name in ("train", "validation", "test"))
_SPREAD = 2.0**64
_NAMES_AT_ONCE = 1 << 16
_LARGE = 0.2
"""A cluster with more of the records than this is not moved to fill an empty split."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """The cluster (a place in `names`) and the split's code of each of `rows`, which ascend."""

    rows: Ints
    cluster: Ints
    splits: NDArray[np.uint8]
    names: pa.Array[Any]

    def only(self, stays: NDArray[np.bool_]) -> Assigned:
        """Those rows only; the clusters keep their places."""
        return Assigned(self.rows[stays], self.cluster[stays], self.splits[stays], self.names)

    def distinct_clusters(self, split: int = 0) -> int:
        """How many clusters the rows of a split have; 0 is all rows."""
        found = np.unique(self.cluster[self.splits == split] if split else self.cluster)
        return int(pc.count_distinct(self.names.take(as_arrow(found))).as_py())


@dataclass(frozen=True, slots=True)
class Shares:
    """Which part of the clusters is held out; the rest is training."""

    validation: float
    test: float

    def split_at(self, points: NDArray[np.float64]) -> NDArray[np.uint8]:
        """The code of the split of each point in [0, 1)."""
        held_out = np.where(points < self.test, _TEST, _VALIDATION)
        return np.where(points < self.test + self.validation, held_out, _TRAIN).astype(np.uint8)


def assign_splits(index: Index, questions: Questions, shares: Shares, key: str) -> Assigned:
    """Every record that is alive with its cluster and split.

    Records are in one cluster if their questions are similar or their attribute "group" is the same. The
    split is, in this order: test or validation if it was that before; what the source says; what it was
    before; what the rest of its group, then of its cluster has; else where the keyed hash of the cluster
    falls among the shares. A cluster that holds a golden test record draws nothing into the test split: its
    other records go to train, and those that ask what is tested are dropped as leaks.

    Args:
        key: of the hash; the dataset's name, so that every policy of a dataset holds out the same.
    """
    rows = questions.rows
    decided = _decided(index, rows)
    splits = decided.copy()
    cluster = _clusters(index, questions)
    names = _names(index, rows, cluster, key)
    known = decided > 0
    has_known = np.zeros(len(names), dtype=bool)
    has_known[cluster[known]] = True
    partly = np.unique(cluster[~known & has_known[cluster]])
    for members in _members(cluster, partly):
        of_known = members[known[members]]
        declared = bool((index.scalars["declared"][rows[of_known]] > 0).any())
        splits[members[~known[members]]] = _split_of_rest(decided[of_known], declared)
    new = np.flatnonzero(~has_known)
    have = np.bincount(splits, minlength=len(SPLITS))
    found = np.zeros(len(names), dtype=np.uint8)
    found[new] = _hashed(names.take(as_arrow(new)), np.bincount(cluster)[new], shares, have, key)
    open_ones = splits == 0
    splits[open_ones] = found[cluster[open_ones]]
    return Assigned(rows, cluster, splits, names)


def _decided(index: Index, rows: Ints) -> NDArray[np.uint8]:
    """Splits that do not depend on the cluster; 0 is undecided. A group takes the strictest split of its
    members."""
    declared, remembered = index.scalars["declared"][rows], index.remembered[rows]
    own = np.where((remembered >= _VALIDATION) | (declared == 0), remembered, declared)
    groups = index.scalars["group"][rows]
    if not groups.any():
        return own.astype(np.uint8)
    _, inverse = np.unique(groups, return_inverse=True)
    strictest = np.zeros(inverse.max() + 1, dtype=np.uint8)
    np.maximum.at(strictest, inverse, own)
    return np.where((own == 0) & (groups != 0), strictest[inverse], own).astype(np.uint8)


def _clusters(index: Index, questions: Questions) -> Ints:
    """The cluster of each of `questions.rows`: 0, 1, 2, ... by their oldest member."""
    first, second = questions.pairs.first, questions.pairs.second
    groups = index.scalars["group"][questions.rows]
    grouped = np.flatnonzero(groups)
    if len(grouped):
        _, oldest, group = np.unique(groups[grouped], return_index=True, return_inverse=True)
        number = questions.number[grouped]
        first = np.concatenate((first, number[oldest][group.reshape(-1)]))
        second = np.concatenate((second, number))
    linked = smallest_linked(len(questions.first), first, second)[questions.number]
    _, oldest, inverse = np.unique(linked, return_index=True, return_inverse=True)
    rank = np.empty(len(oldest), dtype=np.int64)
    rank[np.argsort(oldest)] = np.arange(len(oldest))
    return rank[inverse.reshape(-1)]


def _members(cluster: Ints, wanted: Ints) -> Iterator[Ints]:
    """The places of each wanted cluster's members, which ascend."""
    order = np.argsort(cluster, kind="stable")
    edges = np.searchsorted(cluster[order], np.stack((wanted, wanted + 1)))
    for low, high in edges.T.tolist():
        yield order[low:high]


def _names(index: Index, rows: Ints, cluster: Ints, key: str) -> pa.Array[Any]:
    """The name that a cluster's oldest member with a name had, or a new one that depends on nothing but the
    key and the smallest of the record keys."""
    count = int(cluster.max(initial=-1)) + 1
    named: pa.Array[Any] = pa.nulls(count, pa.string())
    has_name = np.zeros(count, dtype=bool)
    remembered = np.flatnonzero(index.clusters.is_valid().to_numpy(zero_copy_only=False)[rows])
    if len(remembered):
        found, first = np.unique(cluster[remembered], return_index=True)
        has_name[found] = True
        named = index.clusters.take(as_arrow(rows[remembered[first]]))
    new = np.flatnonzero(~has_name)
    fresh = _new_names(index, rows, cluster, new, key)
    if not has_name.any():
        return fresh
    place = np.empty(count, dtype=np.int64)
    place[has_name], place[new] = np.arange(count - len(new)), np.arange(count - len(new), count)
    return pa.concat_arrays([named, fresh]).take(as_arrow(place))


def _new_names(index: Index, rows: Ints, cluster: Ints, new: Ints, key: str) -> pa.Array[Any]:
    sizes = np.bincount(cluster, minlength=int(new.max(initial=-1)) + 1)[new]
    _, oldest = np.unique(cluster, return_index=True)
    smallest = rows[oldest[new]]
    several = np.flatnonzero(sizes > 1)
    for at, members in zip(several.tolist(), _members(cluster, new[several]), strict=True):
        smallest[at] = min(rows[members].tolist(), key=index.key)
    pieces: list[pa.Array[Any]] = [pa.array([], pa.string())]
    for start in range(0, len(smallest), _NAMES_AT_ONCE):
        keys = index.keys.take(as_arrow(smallest[start : start + _NAMES_AT_ONCE])).to_pylist()
        pieces.append(pa.array([_digest(key, str(one)).hex()[:16] for one in keys], pa.string()))
    return pa.concat_arrays(pieces)


def _digest(key: str, text: str) -> bytes:
    return hmac.digest(key.encode(), text.encode(), "sha256")


def _split_of_rest(splits: NDArray[np.uint8], declared: bool) -> int:
    """The split of a cluster's other members, given those that are decided."""
    found = set(splits.tolist())
    if len(found) == 1 and (splits[0] != _TEST or not declared):
        return int(splits[0])
    return _VALIDATION if found == {_VALIDATION} else _TRAIN


def _hashed(names: pa.Array[Any], sizes: Ints, shares: Shares, have: Ints, key: str) -> NDArray[np.uint8]:
    """The split of each new cluster by its hash; a split that would stay empty gets the small cluster next
    to it.

    Args:
        have: how many records each split has already.
    """
    if shares.test + shares.validation <= 0 or not len(names):
        return np.full(len(names), _TRAIN, dtype=np.uint8)
    pieces = (names.slice(start, _NAMES_AT_ONCE) for start in range(0, len(names), _NAMES_AT_ONCE))
    digests = b"".join(_digest(key, str(name))[:8] for piece in pieces for name in piece.to_pylist())
    points = np.frombuffer(digests, dtype=">u8").astype(np.float64) / _SPREAD
    splits = shares.split_at(points)
    movable = sizes <= max(1, _LARGE * int(sizes.sum()))
    for split, share in ((_TEST, shares.test), (_VALIDATION, shares.validation)):
        if share <= 0 or have[split] or (splits == split).any():
            continue
        donors = np.flatnonzero(movable & (splits == _TRAIN))
        if len(donors) > 1:
            splits[donors[np.argmin(points[donors])]] = split
    return splits
