"""Cost: how long the first token takes, tokens a second, memory; each measured request is one row."""

from collections.abc import Sequence

import numpy as np

from sartor_evaluation.items import Outcome, Timing
from sartor_evaluation.metrics.sums import Array, MetricSums, mean_of, ratio


def _timing(outcome: Outcome) -> Timing:
    if outcome.timing is None:
        raise ValueError(f"item {outcome.item.item_id} was not timed")
    return outcome.timing


def _throughput(outcomes: Sequence[Outcome]) -> Array:
    """Tokens, and each request's share of the time in which all clients together were served."""
    timings = [_timing(outcome) for outcome in outcomes]
    pairs = [(float(one.tokens), one.seconds / one.clients) for one in timings]
    return np.array(pairs, dtype=np.float64).reshape(-1, 2)


METRICS: dict[str, MetricSums] = {
    "first_token_ms": mean_of(lambda outcome: 1000 * _timing(outcome).first_token_seconds),
    "answer_ms": mean_of(lambda outcome: 1000 * _timing(outcome).seconds),
    "tokens_per_second": MetricSums(_throughput, ratio, None),
    "memory_mb": mean_of(lambda outcome: _timing(outcome).megabytes),
}
