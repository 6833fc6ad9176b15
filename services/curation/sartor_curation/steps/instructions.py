"""Step: turns labelled texts into chats by the policy's instruction, so that training sees one shape only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from sartor_curation.steps.batches import (
    MESSAGES,
    Rows,
    as_arrow,
    only_documents,
    with_columns,
    with_texts,
    with_turns,
)
from sartor_curation.steps.outcome import Outcome


def render_instructions(batch: pa.RecordBatch, instruction: str, labels: Sequence[str]) -> Outcome:
    """All records; labelled ones have `messages`: the instruction as the question, the label as the answer.

    Args:
        instruction: contains {text}, and may contain {labels}: `labels`, all that are kept, sorted.
    A document becomes one assistant turn: there is nothing to ask, all of it is learnt.
    """
    figures = {"instruction": instruction}
    if only_documents(batch):
        return Outcome(with_columns(batch, {"messages": _said(batch.column("text"))}), figures=figures)
    rows = Rows.of(batch)
    if all(kind == "chat" for kind in rows.kinds):
        return Outcome(batch, figures=figures)
    listed = ", ".join(labels)
    turns: list[list[tuple[str, str]]] = []
    for row, kind in enumerate(rows.kinds):
        if kind == "labelled":
            # In this order, so that a text which contains "{labels}" stays as it is.
            asked = instruction.replace("{labels}", listed).replace("{text}", rows.texts[row], 1)
            turns.append([("user", asked), ("assistant", rows.labels[row])])
        elif kind == "document":
            turns.append([("assistant", rows.texts[row])])
        else:
            turns.append([(rows.roles[turn], rows.contents[turn]) for turn in rows.turns(row)])
    return Outcome(with_texts(batch, with_turns(rows, turns)), figures=figures)


def _said(texts: pa.Array[Any]) -> pa.Array[Any]:
    """Each text as a conversation of one turn of the assistant."""
    fields = [MESSAGES.value_type.field(0), MESSAGES.value_type.field(1)]
    turns = pa.StructArray.from_arrays([pa.repeat("assistant", len(texts)), texts], fields=fields)
    starts = as_arrow(np.arange(len(texts) + 1, dtype=np.int32))
    messages: pa.Array[Any] = pa.ListArray.from_arrays(starts, turns, type=MESSAGES)
    return messages
