"""Step: drops records that share a long passage with what models are evaluated on, or ask the same."""

from collections import Counter

import numpy as np
import pyarrow as pa
from sartor_text.shingles import Utf8Texts, word_shingles

from sartor_curation.evaluation_texts import WORDS, EvaluationTexts
from sartor_curation.steps.batches import Rows, strings
from sartor_curation.steps.excerpts import excerpt
from sartor_curation.steps.outcome import Dropped, Outcome, Reason, without

_EXAMPLES = 10


def drop_contaminated(batch: pa.RecordBatch, known: EvaluationTexts) -> Outcome:
    """Records of which no ten words in a row are in an evaluation text, and that ask none of its questions.

    Case and punctuation do not count. `figures` says how many records each suite cost, with examples.
    """
    rows = Rows.of(batch)
    keys = strings(batch, "record_key")
    written = word_shingles(Utf8Texts.of(["\n".join(rows.written(row)) for row in range(len(rows))]), WORDS)
    asked = word_shingles(Utf8Texts.of([rows.question(row) for row in range(len(rows))]), WORDS)
    dropped: list[Dropped] = []
    by_suite: Counter[str] = Counter()
    examples: list[dict[str, str]] = []
    owners = [(one, known.owner(one.values)) for one in (written, asked)]
    hits = [np.concatenate(([0], np.cumsum(owner >= 0))) for _, owner in owners]
    for row in range(len(rows)):
        for (shingles, owner), counts in zip(owners, hits, strict=True):
            low, high = int(shingles.offsets[row]), int(shingles.offsets[row + 1])
            count = int(counts[high] - counts[low])
            if not count:
                continue
            found = owner[low:high]
            suite = known.names[int(found[found >= 0][0])]
            long = len(rows.question(row).split()) >= WORDS or shingles is written
            runs = f"{count} runs of {WORDS} words are" if count > 1 else f"a run of {WORDS} words is"
            what = runs if long else "its question is"
            dropped.append(Dropped(row, Reason.CONTAMINATED, f"{what} in {suite}"))
            by_suite[suite] += 1
            if len(examples) < _EXAMPLES:
                examples.append(
                    {"record_key": keys[row], "suite": suite, "text": excerpt(rows.shown(row), 160)}
                )
            break
    figures = {"by_suite": dict(by_suite), "examples": examples} if dropped else {}
    return Outcome(without(batch, dropped), dropped, figures=figures)
