"""Loss and perplexity of the reference answers: what the model thinks of them, whatever it writes itself."""

import math
import re
from collections.abc import Callable, Sequence

import numpy as np

from sartor_evaluation.items import Outcome
from sartor_evaluation.metrics.sums import Array, MetricSums, ratio


def _rows(outcomes: Sequence[Outcome]) -> Array:
    pairs = [(outcome.loss_sum, float(outcome.loss_tokens)) for outcome in outcomes]
    return np.array(pairs, dtype=np.float64).reshape(-1, 2)


def _mean_loss(outcome: Outcome) -> float:
    return outcome.loss_sum / outcome.loss_tokens if outcome.loss_tokens else float("nan")


def _rows_of(size: Callable[[str], int]) -> Callable[[Sequence[Outcome]], Array]:
    def rows(outcomes: Sequence[Outcome]) -> Array:
        pairs = [(outcome.loss_sum, float(size(outcome.item.reference))) for outcome in outcomes]
        return np.array(pairs, dtype=np.float64).reshape(-1, 2)

    return rows


def words_of(text: str) -> int:
    """Words as lm-evaluation-harness counts them: pieces between white space."""
    return max(len(re.split(r"\s+", text)), 1)


def bytes_of(text: str) -> int:
    """UTF-8 bytes."""
    return max(len(text.encode()), 1)


def perplexity(sums: Array) -> Array:
    """exp(loss sum / tokens): one number over all tokens, not a mean of the items' perplexities."""
    with np.errstate(over="ignore"):
        result: Array = np.exp(ratio(sums))
    return result


def _item_rows(outcomes: Sequence[Outcome]) -> Array:
    return np.array([(outcome.loss_sum, 1.0) for outcome in outcomes], dtype=np.float64).reshape(-1, 2)


def _bits(sums: Array) -> Array:
    result: Array = ratio(sums) / math.log(2)
    return result


METRICS: dict[str, MetricSums] = {
    "loss": MetricSums(_rows, ratio, _mean_loss),
    "perplexity": MetricSums(_rows, perplexity, lambda outcome: float(np.exp(_mean_loss(outcome)))),
    "word_perplexity": MetricSums(_rows_of(words_of), perplexity, None),
    "byte_perplexity": MetricSums(_rows_of(bytes_of), perplexity, None),
    "bits_per_byte": MetricSums(_rows_of(bytes_of), _bits, None),
    "item_perplexity": MetricSums(_item_rows, perplexity, None),
}
