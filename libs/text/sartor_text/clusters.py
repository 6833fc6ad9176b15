"""Joins items that are linked, however long the chain, into clusters."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class UnionFind:
    """Disjoint sets over 0..size-1, with path halving; a set is named by its smallest member.

    The smallest member as a name makes the result independent of the order of the links.
    """

    __slots__ = ("_parent",)

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def find(self, item: int) -> int:
        parent = self._parent
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    def union(self, first: int, second: int) -> None:
        a, b = self.find(first), self.find(second)
        if a != b:
            self._parent[max(a, b)] = min(a, b)

    def union_all(self, pairs: Iterable[tuple[int, int]]) -> None:
        for first, second in pairs:
            self.union(first, second)

    def clusters(self) -> dict[int, list[int]]:
        """Members by the name of their set, both ascending."""
        members: dict[int, list[int]] = {}
        for item in range(len(self._parent)):
            members.setdefault(self.find(item), []).append(item)
        return members


def smallest_linked(size: int, first: Ints, second: Ints) -> Ints:
    """For each of 0..size-1 the smallest item it is linked to by a chain of links first[i] - second[i].

    What `UnionFind` gives, for links in arrays: the larger of two linked names becomes the smaller one, until
    no link joins two names.
    """
    names = np.arange(size, dtype=np.int64)
    while True:
        one, other = names[first], names[second]
        differ = one != other
        if not differ.any():
            return names
        first, second, one, other = first[differ], second[differ], one[differ], other[differ]
        np.minimum.at(names, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(names, further := names[names]):
            names = further
