"""Step: drops records from which nothing can be learnt, because a part is empty."""

from collections.abc import Sequence

from sartor_datasets.records import Record

from sartor_curation.steps.item import Item, answered
from sartor_curation.steps.outcome import Dropped, Outcome, Reason


def drop_missing_fields(items: Sequence[Item]) -> Outcome:
    """Items with a question and an answer (chat), a text and a label (labelled), or a text (document)."""
    kept: list[Item] = []
    dropped: list[Dropped] = []
    for item in items:
        missing = _missing(item.record)
        if missing:
            dropped.append(Dropped(item, Reason.MISSING_FIELD, missing))
        else:
            kept.append(item)
    return Outcome(kept, dropped)


def _missing(record: Record) -> str:
    """What is missing, as a sentence; empty if nothing is."""
    if record.kind == "chat":
        return _missing_in_chat(record)
    if not _says_something(record.text):
        return "the text is empty"
    if record.kind == "labelled" and not record.label:
        return "the label is empty"
    return ""


def _missing_in_chat(record: Record) -> str:
    if not any(message.role == "user" for message in record.messages):
        return "there is no question: no turn has the role user"
    if not answered(record):
        return "there is no answer: the last turn has not the role assistant"
    for number, message in enumerate(record.messages, 1):
        if not _says_something(message.content):
            part = {"user": "question", "assistant": "answer"}.get(message.role, "instruction")
            return f"the {part} in turn {number} is empty"
    return ""


def _says_something(text: str) -> bool:
    """Whether there is anything but white space and dashes that stand for 'nothing'."""
    return bool(text.strip(" \t\r\n-–—."))
