"""Multiple choice by the usual normalisations, and cloze: would the model have written it?"""

from collections.abc import Callable

from sartor_evaluation.items import Outcome
from sartor_evaluation.metrics.sums import MetricSums, mean_of


def _accuracy(sizes: Callable[[Outcome], list[int]]) -> MetricSums:
    """Right where the reference costs least, each choice's cost divided by its size (Gao 2021)."""

    def right(outcome: Outcome) -> float:
        costs = [
            loss / max(size, 1) for loss, size in zip(outcome.choice_losses, sizes(outcome), strict=True)
        ]
        best = min(range(len(costs)), key=costs.__getitem__)
        return float(outcome.item.choices[best] == outcome.item.reference)

    return mean_of(right)


METRICS: dict[str, MetricSums] = {
    "choice_accuracy": mean_of(lambda outcome: float(outcome.chosen == outcome.item.reference)),
    "choice_accuracy_sum": _accuracy(lambda outcome: [1] * len(outcome.choice_losses)),
    "choice_accuracy_bytes": _accuracy(
        lambda outcome: [len(text.encode()) for text in outcome.item.measured_choices]
    ),
    "choice_accuracy_tokens": _accuracy(
        lambda outcome: list(outcome.choice_tokens) or [1] * len(outcome.choice_losses)
    ),
    "cloze_accuracy": mean_of(lambda outcome: float(outcome.greedy)),
}
