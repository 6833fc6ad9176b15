"""Robustness and bias: what one question's variations, or one question for several groups, say together."""

from sartor_evaluation.items import Family, Outcome
from sartor_evaluation.metrics.sums import MetricSums, mean_of


def _family(outcome: Outcome) -> Family:
    if outcome.family is None:
        raise ValueError(f"item {outcome.item.item_id} leads no family")
    return outcome.family


METRICS: dict[str, MetricSums] = {
    "variation_spread": mean_of(lambda outcome: _family(outcome).spread),
    "variation_worst": mean_of(lambda outcome: _family(outcome).worst),
    "variation_turns": mean_of(lambda outcome: float(_family(outcome).turns)),
    "pair_gap": mean_of(lambda outcome: _family(outcome).gap),
    "pair_differs": mean_of(lambda outcome: float(_family(outcome).differs)),
}
