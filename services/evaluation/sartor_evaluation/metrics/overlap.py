"""Exact match and token F1: does the answer say the same words as the reference?"""

import re
import unicodedata
from collections import Counter

from sartor_evaluation.items import ItemKind, Outcome
from sartor_evaluation.metrics.sums import MetricSums, mean_of

_NOT_WORD = re.compile(r"[^\w]+", re.UNICODE)


def words(text: str) -> list[str]:
    """Words for comparison: compatibility-normalised, case folded, without punctuation.

    As SQuAD's official script, but for any language: letters such as ä or é stay, and no English articles are
    dropped.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return [word for word in _NOT_WORD.split(folded.replace("_", " ")) if word]


def exact_match(answer: str, reference: str) -> float:
    """1.0 if both have the same words in the same order, else 0.0."""
    return float(words(answer) == words(reference))


def token_f1(answer: str, reference: str) -> float:
    """Harmonic mean of word precision and recall, words counted with multiplicity (Rajpurkar et al. 2016)."""
    ours, theirs = Counter(words(answer)), Counter(words(reference))
    shared = sum((ours & theirs).values())
    if not shared:
        return float(ours == theirs)
    precision, recall = shared / ours.total(), shared / theirs.total()
    return 2 * precision * recall / (precision + recall)


def _exact(outcome: Outcome) -> float:
    if outcome.item.kind is ItemKind.LABEL and outcome.answer is None:
        return float(outcome.chosen == outcome.item.reference)
    return exact_match(outcome.answer or "", outcome.item.reference)


METRICS: dict[str, MetricSums] = {
    "exact_match": mean_of(_exact),
    "token_f1": mean_of(lambda outcome: token_f1(outcome.answer or "", outcome.item.reference)),
}
