"""Step: drops pages that are lists, menus or copies of themselves, by the rules that FineWeb adds.

Penedo et al., The FineWeb Datasets: Decanting the Web for the Finest Text Data at Scale, 2024 (arXiv
2406.17557), section 3.6.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from sartor_text.words import Pieces, lexicon

from sartor_curation.steps.batches import Rows
from sartor_curation.steps.gopher_repetition import duplicates
from sartor_curation.steps.outcome import Found, Outcome, Reason, broken_rules

_LINE_ENDS = tuple(".?!。！？…؟۔।॥։።．｡\u203c\u2047\u2048\u2049")


def drop_lists_and_menus(batch: pa.RecordBatch) -> Outcome:
    """Documents that keep all rules; other kinds of records pass."""
    texts = Rows.of(batch).texts
    found = fineweb_quality(texts, lexicon().split(texts))
    return broken_rules(batch, found, Reason.LOW_QUALITY, "FineWeb")


def fineweb_quality(texts: Sequence[str], pieces: Pieces) -> Found:
    """Lines without punctuation at their end, short lines, repeated lines, line breaks instead of prose."""
    found: dict[int, str] = {}
    words = pieces.sums("words")
    for place, text in enumerate(texts):
        lines = [line for line in text.split("\n") if line.strip()]
        if not lines:
            found[place] = "empty"
        elif sum(line.endswith(_LINE_ENDS) for line in lines) / len(lines) < 0.12:
            found[place] = "lines do not end like sentences"
        elif sum(len(line) <= 30 for line in lines) / len(lines) > 0.67:
            found[place] = "most lines are short"
        elif duplicates(lines)[1] / len(text.replace("\n", "")) > 0.01:
            found[place] = "repeated lines"
        elif text.count("\n") / max(int(words[place]), 1) > 0.3:
            found[place] = "a list rather than prose"
    return found
