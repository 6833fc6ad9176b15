"""ROUGE (Lin 2004) by rouge-score, as F-measures: words, word pairs, and the longest common subsequence."""

from functools import cache, lru_cache

from rouge_score.rouge_scorer import RougeScorer

from sartor_evaluation.metrics.overlap import words
from sartor_evaluation.metrics.sums import MetricSums, mean_of


class _AnyLanguageWords:
    """rouge-score's own tokenizer drops every letter outside a-z, which would break German; this one keeps
    them.
    """

    def tokenize(self, text: str) -> list[str]:
        return words(text)


@cache
def _scorer() -> RougeScorer:
    return RougeScorer(["rouge1", "rouge2", "rougeL"], tokenizer=_AnyLanguageWords())


@lru_cache(maxsize=4096)
def _scores(answer: str, reference: str) -> dict[str, float]:
    """All three at once: they share the words, and whoever asks for one asks for the others soon."""
    return {kind: found.fmeasure for kind, found in _scorer().score(reference, answer).items()}


def rouge(kind: str, answer: str, reference: str) -> float:
    """F-measure, 0 to 1. `kind` as in rouge-score: rouge1, rouge2 or rougeL."""
    return float(_scores(answer, reference)[kind])


def rouge_l(answer: str, reference: str) -> float:
    """F-measure of the longest common subsequence, 0 to 1."""
    return rouge("rougeL", answer, reference)


def _metric(kind: str) -> MetricSums:
    return mean_of(lambda outcome: rouge(kind, outcome.answer or "", outcome.item.reference))


METRICS: dict[str, MetricSums] = {
    "rouge_l": _metric("rougeL"),
    "rouge_1": _metric("rouge1"),
    "rouge_2": _metric("rouge2"),
}
