"""Step: takes lines out of pages that are no sentences, and drops what is left with too little, as C4 does.

Raffel et al., Exploring the Limits of Transfer Learning, JMLR 21 (2020), section 2.2, and the further rules
of its published code; the list of bad words is left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from sartor_text.words import Lexicon, lexicon

from sartor_curation.steps.batches import Rows, with_columns
from sartor_curation.steps.outcome import Found, Outcome, Reason, broken_rules

_CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
_TERMINAL = (".", "?", "!", '"', "'")
_POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")


def drop_lines_and_pages(batch: pa.RecordBatch, *, terminal: bool) -> Outcome:
    """Documents without the lines that break a rule; other kinds of records pass as they are."""
    rows = Rows.of(batch)
    texts, found = c4_quality(rows.texts, lexicon(), terminal=terminal)
    kept = [
        new if kind == "document" else old
        for kind, old, new in zip(rows.kinds, rows.texts, texts, strict=True)
    ]
    outcome = broken_rules(
        with_columns(batch, {"text": pa.array(kept, pa.string())}), found, Reason.LOW_QUALITY, "C4"
    )
    shortened = sum(old != new for old, new in zip(rows.texts, kept, strict=True))
    return Outcome(outcome.kept, outcome.dropped, figures={"shortened": shortened})


def c4_quality(texts: Sequence[str], lexicon: Lexicon, *, terminal: bool = True) -> tuple[list[str], Found]:
    """The texts without the lines that C4 takes out, and what is wrong with whole texts.

    Args:
        terminal: whether lines must end in a terminal punctuation mark. FineWeb does without this rule.
    """
    found: dict[int, str] = {}
    kept: list[str] = []
    of_text: list[int] = []
    for place, text in enumerate(texts):
        for line in text.splitlines():
            line = line.strip()
            words = line.split()
            if len(line) > 1000 and any(len(word) > 1000 for word in words):
                continue
            if "[" in line:
                line = _CITATION.sub("", line)
            if terminal and (not line.endswith(_TERMINAL) or line.endswith("...")):
                continue
            if len(words) < 3:
                continue
            lower = line.lower()
            if "lorem ipsum" in lower:
                found[place] = "placeholder text (lorem ipsum)"
                break
            if "javascript" in lower:
                continue
            if "{" in line:
                found[place] = "a curly bracket, as in code"
                break
            if any(phrase in lower for phrase in _POLICY):
                continue
            kept.append(line)
            of_text.append(place)
    sentences = np.bincount(of_text, weights=lexicon.split(kept).sentences(), minlength=len(texts))
    lines: list[list[str]] = [[] for _ in texts]
    for place, line in zip(of_text, kept, strict=True):
        lines[place].append(line)
    for place in np.flatnonzero(sentences < 5).tolist():
        found.setdefault(place, "fewer than five sentences")
    return ["\n".join(of_one).strip() for of_one in lines], found
