"""ROUGE-L (Lin 2004) by rouge-score: the longest common subsequence of words, as an F-measure."""

from functools import cache

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
    return RougeScorer(["rougeL"], tokenizer=_AnyLanguageWords())


def rouge_l(answer: str, reference: str) -> float:
    """F-measure of the longest common subsequence, 0 to 1."""
    return float(_scorer().score(reference, answer)["rougeL"].fmeasure)


METRICS: dict[str, MetricSums] = {
    "rouge_l": mean_of(lambda outcome: rouge_l(outcome.answer or "", outcome.item.reference)),
}
