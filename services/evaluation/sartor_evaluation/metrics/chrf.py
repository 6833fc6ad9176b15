"""chrF (Popović 2015) by sacrebleu: overlap of character n-grams, 0 to 100, averaged over items."""

from functools import cache

from sacrebleu.metrics.chrf import CHRF

from sartor_evaluation.metrics.sums import MetricSums, mean_of


@cache
def _scorer() -> CHRF:
    return CHRF(word_order=0, eps_smoothing=False)


def chrf(answer: str, reference: str) -> float:
    """Sentence chrF2 with sacrebleu's defaults (six character orders, beta 2, no word n-grams)."""
    return float(_scorer().sentence_score(answer, [reference]).score)


METRICS: dict[str, MetricSums] = {
    "chrf": mean_of(lambda outcome: chrf(outcome.answer or "", outcome.item.reference)),
}
