"""A record on its way through curation, and its parts as the steps compare them: frame, question, answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sartor_datasets.records import Message, Record
from sartor_text.language import UNSURE

HELD_OUT = ("test", "validation")


@dataclass(frozen=True, slots=True)
class Item:
    """One record, its place in the snapshot, and what the steps found out about it."""

    record: Record
    place: int
    language: str = UNSURE
    tokens: int = 0
    remembered_split: str = ""
    """The split that an earlier curation gave to this record key, or empty."""

    @property
    def key(self) -> str:
        return self.record.record_key

    @property
    def declared_split(self) -> str:
        """The split the source asks for, or empty."""
        split = self.record.attributes.get("split", "")
        return split if split in ("train", *HELD_OUT) else ""

    @property
    def partition(self) -> str:
        """Items are compared for duplicates and contradictions within a partition.

        A test set that the source declares is somebody's decision: no other record may push one of its
        records out. What it shares with training is found as leakage, and there the training record goes.
        """
        return self.declared_split if self.declared_split in HELD_OUT else "train"


def frame(record: Record) -> str:
    """What a question is asked under: kind and system instruction. Questions of different frames never
    meet."""
    system = [message.content for message in record.messages if message.role == "system"]
    return "\n".join((record.kind, *system))


def question(record: Record) -> str:
    """What the model will be given: the turns before the last answer, or the text."""
    if record.kind != "chat":
        return record.text
    turns = record.messages[:-1] if answered(record) else record.messages
    return "\n".join(message.content for message in turns if message.role != "system")


def answer(record: Record) -> str:
    """What the model shall say: the last turn, or the label; empty for a document."""
    if record.kind != "chat":
        return record.label
    return record.messages[-1].content if answered(record) else ""


def answered(record: Record) -> bool:
    """Whether the conversation ends with the assistant."""
    return bool(record.messages) and record.messages[-1].role == "assistant"


def texts_of(record: Record) -> tuple[str, ...]:
    """Every text a person wrote, in a fixed order; the label is not one of them."""
    return (record.text, *(message.content for message in record.messages))


def with_texts(record: Record, texts: Sequence[str]) -> Record:
    """The record with these texts in place of its own, in the order of `texts_of`."""
    messages = tuple(
        Message(message.role, text) for message, text in zip(record.messages, texts[1:], strict=True)
    )
    return replace(record, text=texts[0], messages=messages)


def shown_text(record: Record) -> str:
    """Question and answer as people look at them; of a rendered label only the text and the label."""
    parts = (question(record), answer(record))
    return " → ".join(part for part in parts if part)


def whole_text(record: Record) -> str:
    """All of it in one piece, for people and for counting characters."""
    parts = [*texts_of(record), record.label]
    return "\n".join(part for part in parts if part)
