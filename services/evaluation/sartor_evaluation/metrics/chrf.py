"""chrF (Popović 2015) by sacrebleu: overlap of character n-grams, 0 to 100, averaged over items."""

from functools import cache

from sacrebleu.metrics.chrf import CHRF

from sartor_evaluation.metrics.sums import MetricSums, mean_of


@cache
def _scorer(word_order: int) -> CHRF:
    return CHRF(word_order=word_order, eps_smoothing=False)


def chrf(answer: str, reference: str) -> float:
    """Sentence chrF2 with sacrebleu's defaults (six character orders, beta 2, no word n-grams)."""
    return float(_scorer(0).sentence_score(answer, [reference]).score)


def chrf_pp(answer: str, reference: str) -> float:
    """chrF++ (Popović 2017): with words and word pairs."""
    return float(_scorer(2).sentence_score(answer, [reference]).score)


METRICS: dict[str, MetricSums] = {
    "chrf": mean_of(lambda outcome: chrf(outcome.answer or "", outcome.item.reference)),
    "chrf_pp": mean_of(lambda outcome: chrf_pp(outcome.answer or "", outcome.item.reference)),
}
