"""Step: gives each record its split for life, so that what was once held out is never trained on."""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from sartor_text.clusters import UnionFind

from sartor_curation.features import SPLITS
from sartor_curation.index import Index, Ints, Remembered
from sartor_curation.steps.questions import Questions

__all__ = ["Assigned", "Remembered", "Shares", "assign_splits"]

_TRAIN, _VALIDATION, _TEST = (SPLITS.index(name) for name in ("train", "validation", "test"))
_SPREAD = 1 << 64
_LARGE = 0.2
"""A cluster with more of the records than this is not moved to fill an empty split."""


@dataclass(frozen=True, slots=True)
class Assigned:
    """The cluster and the split's code of each of `rows`, which ascend."""

    rows: Ints
    clusters: list[str]
    splits: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Shares:
    """Which part of the clusters is held out; the rest is training."""

    validation: float
    test: float

    def split_at(self, point: float) -> str:
        """The split of a point in [0, 1)."""
        if point < self.test:
            return "test"
        return "validation" if point < self.test + self.validation else "train"


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
    names = [""] * len(rows)
    undecided: dict[str, Ints] = {}
    for members in _clusters(index, questions):
        name = _cluster_id(index, rows[members], key)
        for member in members.tolist():
            names[member] = name
        known = members[decided[members] > 0]
        rest = members[decided[members] == 0]
        if len(known):
            declared = bool((index.scalars["declared"][rows[known]] > 0).any())
            splits[rest] = _split_of_rest(decided[known], declared)
        else:
            undecided[name] = rest
    have = Counter(SPLITS[code] for code in splits[splits > 0].tolist())
    sizes = {name: len(members) for name, members in undecided.items()}
    for name, split in _hashed(sizes, shares, have, key).items():
        splits[undecided[name]] = SPLITS.index(split)
    return Assigned(rows, names, splits)


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


def _clusters(index: Index, questions: Questions) -> list[Ints]:
    """Members of each cluster as places in `questions.rows`, by their oldest."""
    sets = UnionFind(len(questions.first))
    sets.union_all((pair.first, pair.second) for pair in questions.pairs)
    first_of_group: dict[int, int] = {}
    groups = index.scalars["group"][questions.rows]
    for place in np.flatnonzero(groups).tolist():
        number = int(questions.number[place])
        sets.union(first_of_group.setdefault(int(groups[place]), number), number)
    roots = np.array([sets.find(number) for number in range(len(questions.first))], dtype=np.int64)
    cluster = roots[questions.number]
    order = np.argsort(cluster, kind="stable")
    edges = [0, *(np.flatnonzero(np.diff(cluster[order])) + 1).tolist(), len(order)]
    members = [order[low:high] for low, high in pairwise(edges) if high > low]
    return sorted(members, key=lambda of_one: int(of_one[0]))


def _cluster_id(index: Index, rows: Ints, key: str) -> str:
    """The cluster its oldest member was in, or a new id that depends on nothing but the key and the record
    keys."""
    for row in rows.tolist():
        if row in index.clusters:
            return index.clusters[row]
    smallest = min(index.key(row) for row in rows.tolist())
    return hmac.new(key.encode(), smallest.encode(), hashlib.sha256).hexdigest()[:16]


def _split_of_rest(splits: NDArray[np.uint8], declared: bool) -> int:
    """The split of a cluster's other members, given those that are decided."""
    found = set(splits.tolist())
    if len(found) == 1 and (splits[0] != _TEST or not declared):
        return int(splits[0])
    return _VALIDATION if found == {_VALIDATION} else _TRAIN


def _hashed(sizes: Mapping[str, int], shares: Shares, have: Counter[str], key: str) -> dict[str, str]:
    """The split of each new cluster by its hash; a split that would stay empty gets the small cluster next
    to it."""
    points = {cluster: _point(cluster, key) for cluster in sizes}
    splits = {cluster: shares.split_at(point) for cluster, point in points.items()}
    total = sum(sizes.values())
    movable: Sequence[str] = sorted(
        (c for c in sizes if sizes[c] <= max(1, _LARGE * total)), key=points.__getitem__
    )
    for split, share in (("test", shares.test), ("validation", shares.validation)):
        if share <= 0 or have[split] or split in splits.values():
            continue
        donors = [cluster for cluster in movable if splits[cluster] == "train"]
        if len(donors) > 1:
            splits[donors[0]] = split
    return splits


def _point(cluster: str, key: str) -> float:
    digest = hmac.new(key.encode(), cluster.encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big") / _SPREAD
