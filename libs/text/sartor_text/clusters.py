"""Joins items that are linked, however long the chain, into clusters."""

from collections.abc import Iterable


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
