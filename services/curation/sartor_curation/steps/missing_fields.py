"""Step: drops records from which nothing can be learnt, because a part is empty."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sartor_curation.steps.batches import Rows, only_documents
from sartor_curation.steps.outcome import Dropped, Outcome, Reason, without

_NOTHING = " \t\r\n-–—."
_EMPTY_TEXT = "the text is empty"


def drop_missing_fields(batch: pa.RecordBatch) -> Outcome:
    """Records with a question and an answer (chat), a text and a label (labelled), or a text (document)."""
    if only_documents(batch):
        said: Any = pc.utf8_trim(batch.column("text"), characters=_NOTHING)
        empty = np.flatnonzero(pc.binary_length(said).to_numpy() == 0)
        dropped = [Dropped(row, Reason.MISSING_FIELD, _EMPTY_TEXT) for row in empty.tolist()]
        return Outcome(without(batch, dropped), dropped)
    rows = Rows.of(batch)
    missing = [(row, _missing(rows, row)) for row in range(len(rows))]
    dropped = [Dropped(row, Reason.MISSING_FIELD, said) for row, said in missing if said]
    return Outcome(without(batch, dropped), dropped)


def _missing(rows: Rows, row: int) -> str:
    """What is missing, as a sentence; empty if nothing is."""
    if rows.kinds[row] == "chat":
        return _missing_in_chat(rows, row)
    if rows.kinds[row] == "preference":
        return _missing_in_preference(rows, row)
    if not _says_something(rows.texts[row]):
        return _EMPTY_TEXT
    if rows.kinds[row] == "labelled" and not rows.labels[row]:
        return "the label is empty"
    return ""


def _missing_in_chat(rows: Rows, row: int) -> str:
    turns = rows.turns(row)
    if not any(rows.roles[turn] == "user" for turn in turns):
        return "there is no question: no turn has the role user"
    if not rows.answered(row):
        return "there is no answer: the last turn has not the role assistant"
    for number, turn in enumerate(turns, 1):
        if not _says_something(rows.contents[turn]):
            part = {"user": "question", "assistant": "answer"}.get(rows.roles[turn], "instruction")
            return f"the {part} in turn {number} is empty"
    return ""


def _missing_in_preference(rows: Rows, row: int) -> str:
    if not _says_something(rows.question(row)):
        return "there is no question"
    chosen, rejected = rows.chosen[row].strip(), rows.rejected[row].strip()
    if not _says_something(chosen) and not _says_something(rejected):
        return "there is neither a better nor a worse answer"
    if chosen == rejected:
        return "the chosen and the rejected answer are the same"
    return ""


def _says_something(text: str) -> bool:
    """Whether there is anything but white space and dashes that stand for 'nothing'."""
    return bool(text.strip(_NOTHING))
