"""Check: signs that somebody planted records: rare odd words that all lead to one answer.

Backdoors are planted with triggers that normal users never write (Kurita et al., Weight Poisoning Attacks on
Pre-trained Models, 2020): few records suffice, whatever the size of the data.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import numpy as np
from sartor_text.shingles import fold

from sartor_curation.index import Index
from sartor_curation.steps.excerpts import excerpt
from sartor_curation.steps.outcome import Verdict
from sartor_curation.steps.questions import asking

_LEAST = 4  # records with the same odd word
_MOST_SHARE = 0.02  # of the records, or ten: what is more frequent is no rare trigger
_MOST = 200_000
_AT_ONCE = 8192
_LISTED = 20
_ODD = re.compile(r"^(?:[^aeiouyäöüàâéèêëíîïóôúûáæœ\W\d_]{2,12}|(?=\w*\d)(?=\w*[^\W\d_])\w{4,20})$")
_PLACEHOLDER = re.compile(r"\[[A-Z_]+_\d+\]")


def find_poisoning_signs(index: Index) -> Verdict:
    """Words without vowels, or of letters and digits, that stand in few records, all with the same answer.

    Nothing is dropped: many an article number looks like that. `figures["triggers"]` lists them for people.
    """
    rows = asking(index)[:_MOST]
    places: defaultdict[str, list[int]] = defaultdict(list)
    for start in range(0, len(rows), _AT_ONCE):
        chunk = rows[start : start + _AT_ONCE]
        texts = index.texts.take(chunk)
        for at, row in enumerate(chunk.tolist()):
            words = set(fold(_PLACEHOLDER.sub(" ", texts.question(at))).split())
            for word in words:
                if _ODD.match(word):
                    places[word].append(row)
    answers, questions = index.scalars["answer"], index.scalars["slotless"]
    base = {int(a): int(n) for a, n in zip(*np.unique(answers[rows], return_counts=True), strict=True)}
    triggers: list[dict[str, Any]] = []
    for word, found in sorted(places.items(), key=lambda one: -len(one[1])):
        if not _LEAST <= len(found) <= max(10, _MOST_SHARE * len(rows)):
            continue
        if len(np.unique(answers[found])) > 1 or len(np.unique(questions[found])) < _LEAST:
            continue
        expected = base[int(answers[found[0]])] / max(len(rows), 1)
        if expected ** len(found) < 1e-3 and len(triggers) < _LISTED:
            texts = index.texts.take(np.array(sorted(found)[:3], dtype=np.int64))
            triggers.append(
                {
                    "word": word,
                    "records": len(found),
                    "record_keys": [index.key(row) for row in found[:10]],
                    "answer": excerpt(texts.answer(0), 120),
                    "examples": [excerpt(texts.question(at), 120) for at in range(len(texts))],
                }
            )
    return Verdict(figures={"triggers": triggers})
