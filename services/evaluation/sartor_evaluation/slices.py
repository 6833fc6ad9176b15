"""Slices: parts of a suite by language, label, source, length and the items' own attributes."""

from collections import defaultdict
from collections.abc import Sequence

from sartor_evaluation.items import Item

LEAST_GATED_ITEMS = 20
"""A rule for every part of a field leaves out parts with fewer items: their intervals say nothing."""
_MOST_VALUES = 24
_LEAST_SLICE_ITEMS = 3
_SHORT, _LONG = 100, 400


def item_slices(item: Item) -> dict[str, str]:
    """The slices an item belongs to. `length` is that of the question, in characters."""
    size = len(item.question)
    length = "short" if size < _SHORT else "long" if size >= _LONG else "medium"
    own = {"language": item.language, "label": item.label, "kind": item.kind.value, "length": length}
    named = {**item.attributes, **own}
    return {name: value for name, value in named.items() if value and name not in ("split", "group")}


def slice_positions(items: Sequence[Item]) -> dict[str, dict[str, list[int]]]:
    """field -> value -> positions."""
    found: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for position, item in enumerate(items):
        for name, value in item_slices(item).items():
            found[name][value].append(position)
    return found


def readable_slices(items: Sequence[Item]) -> dict[tuple[str, str], list[int]]:
    """(field, value) -> positions, for fields that divide the items into a readable number of parts."""
    return {
        (name, value): members
        for name, values in sorted(slice_positions(items).items())
        if 2 <= len(values) <= _MOST_VALUES
        for value, members in sorted(values.items())
        if len(members) >= _LEAST_SLICE_ITEMS
    }
