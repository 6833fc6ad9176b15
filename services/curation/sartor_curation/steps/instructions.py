"""Step: turns labelled texts into chats by the policy's instruction, so that training sees one shape only."""

from collections.abc import Sequence
from dataclasses import replace

from sartor_datasets.records import Message

from sartor_curation.steps.item import Item
from sartor_curation.steps.outcome import Outcome


def render_instructions(items: Sequence[Item], instruction: str) -> Outcome:
    """All items; labelled ones have `messages`: the instruction as the question, the label as the answer.

    Args:
        instruction: contains {text}, and may contain {labels}: all labels of these items, sorted.
    A document becomes one assistant turn: there is nothing to ask, all of it is learnt.
    """
    labels = ", ".join(sorted({item.record.label for item in items if item.record.kind == "labelled"}))
    return Outcome(
        [_rendered(item, instruction, labels) for item in items], figures={"instruction": instruction}
    )


def _rendered(item: Item, instruction: str, labels: str) -> Item:
    record = item.record
    if record.kind == "labelled":
        # In this order, so that a text which contains "{labels}" stays as it is.
        asked = instruction.replace("{labels}", labels).replace("{text}", record.text, 1)
        messages: tuple[Message, ...] = (Message("user", asked), Message("assistant", record.label))
    elif record.kind == "document":
        messages = (Message("assistant", record.text),)
    else:
        return item
    return replace(item, record=replace(record, messages=messages))
