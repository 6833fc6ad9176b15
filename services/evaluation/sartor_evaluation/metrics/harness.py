"""Exact match as a task file of lm-evaluation-harness defines it: filters, options, several targets."""

from sartor_evaluation.items import Outcome
from sartor_evaluation.metrics.sums import MetricSums, mean_of


def _matched(place: int) -> MetricSums:
    def score(outcome: Outcome) -> float:
        return float(outcome.item.matching[place].matches(outcome.answer or ""))

    return mean_of(score)


METRICS: dict[str, MetricSums] = {
    "task_exact_match": _matched(0),
    "task_exact_match_2": _matched(1),
    "task_exact_match_3": _matched(2),
}
