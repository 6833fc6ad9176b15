"""Steps: drops records too short to say anything or too long for the model, and counts their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from sartor_curation.steps.batches import Rows, strings, with_columns
from sartor_curation.steps.outcome import Dropped, Outcome, Reason, without

_TEXTS_AT_ONCE = 1024


class CountTokens(Protocol):
    """The base model's tokenizer, as far as this step needs it."""

    def __call__(self, texts: Sequence[str]) -> list[int]: ...


def drop_too_short(batch: pa.RecordBatch, min_characters: int) -> Outcome:
    """Records whose question and answer have at least `min_characters` characters together."""
    dropped: list[Dropped] = []
    if not min_characters:
        return Outcome(batch)
    rows = Rows.of(batch)
    for row in range(len(rows)):
        length = len(rows.question(row)) + len(rows.answer(row))
        if length < min_characters:
            detail = f"{length} characters, fewer than {min_characters}"
            dropped.append(Dropped(row, Reason.TOO_SHORT, detail))
    return Outcome(without(batch, dropped), dropped)


def drop_too_long(batch: pa.RecordBatch, count_tokens: CountTokens, max_tokens: int) -> Outcome:
    """Records of at most `max_tokens` tokens (0: no bound), with the number filled in.

    Counted are the contents of all messages, and the longer answer of a preference, without the marks that
    the model's chat template puts around them.
    """
    messages: Any = batch.column("messages")
    contents = messages.flatten().field("content")
    counts: list[int] = []
    for start in range(0, len(contents), _TEXTS_AT_ONCE):
        counts += count_tokens(contents.slice(start, _TEXTS_AT_ONCE).to_pylist())
    sums = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
    starts = messages.offsets.to_numpy()
    tokens = np.diff(sums[starts - starts[0]])
    if "preference" in strings(batch, "kind"):
        chosen, rejected = (count_tokens(strings(batch, name)) for name in ("chosen", "rejected"))
        tokens = tokens + np.maximum(chosen, rejected)
    dropped = [
        Dropped(row, Reason.TOO_LONG, f"{tokens[row]} tokens, more than {max_tokens}")
        for row in np.flatnonzero(tokens > max_tokens).tolist()
        if max_tokens
    ]
    counted = with_columns(batch, {"tokens": pa.array(tokens.astype(np.int32))})
    return Outcome(without(counted, dropped), dropped)
