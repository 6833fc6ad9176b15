"""Step: gives each record its split for life, so that what was once held out is never trained on."""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sartor_text.clusters import UnionFind

from sartor_curation.steps.item import Item
from sartor_curation.steps.questions import Questions

STRICTNESS = {"": -1, "train": 0, "validation": 1, "test": 2}
"""How strictly a split is held out; the empty one is not decided yet."""

_SPREAD = 1 << 64
_LARGE = 0.2
"""A cluster with more of the records than this is not moved to fill an empty split."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What an earlier curation of this dataset decided for a record key."""

    cluster: str
    split: str


@dataclass(frozen=True, slots=True)
class Assigned:
    """An item with its cluster and split."""

    item: Item
    cluster: str
    split: str


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


def assign_splits(
    items: Sequence[Item],
    questions: Questions,
    shares: Shares,
    key: str,
    remembered: Mapping[str, Remembered],
) -> list[Assigned]:
    """Every item with its cluster and split, in order.

    Items are in one cluster if their questions are similar or their attribute "group" is the same. The split
    is, in this order: test or validation if it was that before; what the source says; what it was before;
    what the rest of its group, then of its cluster has; else where the keyed hash of the cluster falls among
    the shares. A cluster that holds a golden test record draws nothing into the test split: its other records
    go to train, and those that ask what is tested are dropped as leaks.

    Args:
        key: of the hash; the dataset's name, so that every policy of a dataset holds out the same.
        remembered: by record key.
    """
    decided = _decided(items)
    results: dict[int, Assigned] = {}
    undecided: dict[str, list[Item]] = {}
    for members in _clusters(items, questions):
        cluster = _cluster_id(members, questions, key, remembered)
        known = [item for item in members if item.place in decided]
        rest = [item for item in members if item.place not in decided]
        results |= {item.place: Assigned(item, cluster, decided[item.place]) for item in known}
        if known:
            split = _split_of_rest([decided[item.place] for item in known], known)
            results |= {item.place: Assigned(item, cluster, split) for item in rest}
        else:
            undecided[cluster] = rest
    splits = _hashed(undecided, shares, Counter(a.split for a in results.values()), key)
    for cluster, rest in undecided.items():
        results |= {item.place: Assigned(item, cluster, splits[cluster]) for item in rest}
    return [results[item.place] for item in items]


def _decided(items: Sequence[Item]) -> dict[int, str]:
    """Splits that do not depend on the cluster, by place. A group takes the strictest split of its
    members."""
    by_group: dict[str, str] = {}
    for item in items:
        by_group[_group(item)] = max(by_group.get(_group(item), ""), _own(item), key=STRICTNESS.__getitem__)
    by_group[""] = ""
    splits = {item.place: _own(item) or by_group[_group(item)] for item in items}
    return {place: split for place, split in splits.items() if split}


def _group(item: Item) -> str:
    return item.record.attributes.get("group", "")


def _own(item: Item) -> str:
    if item.remembered_split in ("test", "validation"):
        return item.remembered_split
    return item.declared_split or item.remembered_split


def _clusters(items: Sequence[Item], questions: Questions) -> list[list[Item]]:
    number_of = {item.place: number for number, item in enumerate(items)}
    sets = UnionFind(len(items))
    for members in questions.members:
        sets.union_all((number_of[members[0].place], number_of[item.place]) for item in members[1:])
    for pair in questions.pairs:
        first, second = questions.members[pair.first][0], questions.members[pair.second][0]
        sets.union(number_of[first.place], number_of[second.place])
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for number, item in enumerate(items):
        if _group(item):
            groups[_group(item)].append(number)
    for numbers in groups.values():
        sets.union_all((numbers[0], number) for number in numbers[1:])
    return [[items[number] for number in members] for members in sets.clusters().values()]


def _cluster_id(
    members: Sequence[Item], questions: Questions, key: str, remembered: Mapping[str, Remembered]
) -> str:
    """The cluster its oldest member was in, or a new id that depends on nothing but the key and the record
    keys."""
    for item in members:
        if item.key in remembered:
            return remembered[item.key].cluster
    smallest = min(item.key for item in members)
    return hmac.new(key.encode(), smallest.encode(), hashlib.sha256).hexdigest()[:16]


def _split_of_rest(splits: Sequence[str], known: Sequence[Item]) -> str:
    if len(set(splits)) == 1 and (splits[0] != "test" or all(not item.declared_split for item in known)):
        return splits[0]
    return "validation" if set(splits) == {"validation"} else "train"


def _hashed(
    clusters: Mapping[str, Sequence[Item]], shares: Shares, have: Counter[str], key: str
) -> dict[str, str]:
    """The split of each new cluster by its hash; a split that would stay empty gets the small cluster next
    to it."""
    points = {cluster: _point(cluster, key) for cluster in clusters}
    splits = {cluster: shares.split_at(point) for cluster, point in points.items()}
    total = sum(len(members) for members in clusters.values())
    movable = sorted(
        (c for c in clusters if len(clusters[c]) <= max(1, _LARGE * total)), key=points.__getitem__
    )
    for split, share in (("test", shares.test), ("validation", shares.validation)):
        filled = have[split] or split in splits.values()
        donors = [cluster for cluster in movable if splits[cluster] == "train"]
        if share > 0 and not filled and len(donors) > 1:
            splits[donors[0]] = split
    return splits


def _point(cluster: str, key: str) -> float:
    digest = hmac.new(key.encode(), cluster.encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big") / _SPREAD
