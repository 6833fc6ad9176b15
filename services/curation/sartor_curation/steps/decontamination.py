"""Step: drops records that share a long passage with what models are evaluated on."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from sartor_text.shingles import Utf8Texts, word_shingles

from sartor_curation.steps.batches import Rows
from sartor_curation.steps.outcome import Dropped, Outcome, Reason, without

WORDS = 10
"""Of a passage. GPT-3 took 13 words (Brown et al., 2020, appendix C), Llama 2 ten tokens; shorter texts as a
whole."""


def drop_contaminated(batch: pa.RecordBatch, evaluation_texts: Sequence[str]) -> Outcome:
    """Records of which no ten words in a row are in an evaluation text, case and punctuation aside."""
    known = np.unique(word_shingles(Utf8Texts.of(evaluation_texts), WORDS).values)
    rows = Rows.of(batch)
    written = Utf8Texts.of(["\n".join(rows.written(row)) for row in range(len(rows))])
    shingles = word_shingles(written, WORDS)
    shared = np.concatenate(([0], np.cumsum(np.isin(shingles.values, known))))
    counts = shared[shingles.offsets[1:]] - shared[shingles.offsets[:-1]]
    dropped = [
        Dropped(row, Reason.CONTAMINATED, f"{counts[row]} runs of {WORDS} words are in an evaluation text")
        for row in np.flatnonzero(counts).tolist()
    ]
    return Outcome(without(batch, dropped), dropped)
