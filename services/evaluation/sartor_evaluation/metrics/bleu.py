"""BLEU (Papineni et al. 2002) as sacrebleu computes it, over all answers together."""

from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np
from sacrebleu.metrics.bleu import BLEU

from sartor_evaluation.items import Outcome
from sartor_evaluation.metrics.sums import Array, MetricSums

_ORDER = 4


@cache
def _scorer() -> BLEU:
    return BLEU()


@lru_cache(maxsize=4096)
def _counts(answer: str, reference: str) -> tuple[list[int], list[int], int, int]:
    """Matching n-grams, n-grams (n = 1 to 4), length of the answer and of the reference."""
    found = _scorer().corpus_score([answer], [[reference]])
    return found.counts, found.totals, found.sys_len, found.ref_len


def _rows(outcomes: Sequence[Outcome]) -> Array:
    """[outcomes, 10]: what _counts finds."""
    found = (_counts(outcome.answer or "", outcome.item.reference) for outcome in outcomes)
    rows = [[*matching, *grams, length, wanted] for matching, grams, length, wanted in found]
    return np.array(rows, dtype=np.float64).reshape(-1, 2 * _ORDER + 2)


def bleu(sums: Array) -> Array:
    """100 · brevity penalty · geometric mean of the precisions; zeros smoothed as sacrebleu's default does
    ("exp": the first zero counts 1/2, the second 1/4, …)."""
    counts, totals = sums[..., :_ORDER], sums[..., _ORDER : 2 * _ORDER]
    length, wanted = sums[..., -2], sums[..., -1]
    zeros = (counts == 0) & (totals > 0)
    smoothed = np.where(zeros, 0.5 ** np.cumsum(zeros, axis=-1), counts)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(smoothed / totals).mean(axis=-1)
        penalty = np.where(length < wanted, np.exp(1 - wanted / length), 1.0)
        result: Array = np.where(
            (totals > 0).all(axis=-1) & (counts[..., 0] > 0), 100 * penalty * np.exp(logs), 0
        )
    return result


def _sentence(outcome: Outcome) -> float:
    matching, grams, length, wanted = _counts(outcome.answer or "", outcome.item.reference)
    found = BLEU.compute_bleu(matching, grams, length, wanted, "exp", effective_order=True)
    return float(found.score)


METRICS: dict[str, MetricSums] = {"bleu": MetricSums(_rows, bleu, _sentence)}
