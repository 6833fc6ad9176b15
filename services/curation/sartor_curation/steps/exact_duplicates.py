"""Step: keeps one of records that say exactly the same."""

from collections.abc import Sequence

from sartor_curation.steps.item import HELD_OUT, Item, texts_of
from sartor_curation.steps.outcome import Dropped, Outcome, Reason


def drop_exact_duplicates(items: Sequence[Item]) -> Outcome:
    """The first item of each content (kind, texts, roles, label) in its partition, in the order of their
    claims.

    Two records of one content but of different keys, attributes or times are duplicates.
    """
    first: dict[tuple[object, ...], Item] = {}
    dropped: list[Dropped] = []
    for item in in_order_of_claim(items):
        record = item.record
        roles = tuple(message.role for message in record.messages)
        content = (item.partition, record.kind, texts_of(record), roles, record.label)
        kept = first.setdefault(content, item)
        if kept is not item:
            dropped.append(Dropped(item, Reason.EXACT_DUPLICATE, f"says the same as {kept.key}", kept.key))
    return Outcome(sorted(first.values(), key=lambda item: item.place), dropped)


def in_order_of_claim(items: Sequence[Item]) -> list[Item]:
    """What was held out before comes first, then what was trained on, then the snapshot's order: the older
    stays."""
    return sorted(items, key=lambda item: (_claim(item.remembered_split), item.place))


def _claim(remembered_split: str) -> int:
    if remembered_split in HELD_OUT:
        return 0
    return 1 if remembered_split else 2
