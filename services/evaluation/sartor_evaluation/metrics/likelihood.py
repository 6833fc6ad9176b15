"""Loss and perplexity of the reference answers: what the model thinks of them, whatever it writes itself."""

from collections.abc import Sequence

import numpy as np

from sartor_evaluation.items import Outcome
from sartor_evaluation.metrics.sums import Array, MetricSums, ratio


def _rows(outcomes: Sequence[Outcome]) -> Array:
    pairs = [(outcome.loss_sum, float(outcome.loss_tokens)) for outcome in outcomes]
    return np.array(pairs, dtype=np.float64).reshape(-1, 2)


def _mean_loss(outcome: Outcome) -> float:
    return outcome.loss_sum / outcome.loss_tokens if outcome.loss_tokens else float("nan")


def perplexity(sums: Array) -> Array:
    """exp(loss sum / tokens): one number over all tokens, not a mean of the items' perplexities."""
    with np.errstate(over="ignore"):
        result: Array = np.exp(ratio(sums))
    return result


METRICS: dict[str, MetricSums] = {
    "loss": MetricSums(_rows, ratio, _mean_loss),
    "perplexity": MetricSums(_rows, perplexity, lambda outcome: float(np.exp(_mean_loss(outcome)))),
}
