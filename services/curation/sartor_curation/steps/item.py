"""The parts of a record as the global steps compare them, one record at a time: question and answer."""

from __future__ import annotations

from sartor_datasets.records import Record


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
