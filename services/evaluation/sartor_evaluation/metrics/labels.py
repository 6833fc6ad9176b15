"""Accuracy of labels and choices, and macro F1 over labels."""

from collections.abc import Sequence

import numpy as np

from sartor_evaluation.items import Outcome
from sartor_evaluation.metrics.sums import Array, MetricSums, mean_of


def _right(outcome: Outcome) -> float:
    return float(outcome.chosen == outcome.item.reference)


def confusion_rows(outcomes: Sequence[Outcome]) -> Array:
    """[outcomes, 3·labels]: for each label in sorted order a 1 at true positive, false positive, false
    negative.
    """
    truths, guesses = {o.item.reference for o in outcomes}, {o.chosen for o in outcomes}
    labels = sorted(truths | guesses)
    index = {label: position for position, label in enumerate(labels)}
    rows = np.zeros((len(outcomes), 3, len(labels)))
    for row, outcome in zip(rows, outcomes, strict=True):
        truth, guess = index[outcome.item.reference], index[outcome.chosen]
        if truth == guess:
            row[0, truth] = 1
        else:
            row[1, guess] = 1
            row[2, truth] = 1
    return rows.reshape(len(outcomes), 3 * len(labels))


def macro_f1(sums: Array) -> Array:
    """Mean over labels of 2tp / (2tp + fp + fn), over those labels that occur as truth or guess in the
    sample.
    """
    tp, fp, fn = np.split(sums, 3, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        f1 = 2 * tp / (2 * tp + fp + fn)
    occurring = tp + fp + fn > 0
    counts = occurring.sum(axis=-1)
    with np.errstate(invalid="ignore"):
        result: Array = np.where(
            counts > 0, np.where(occurring, f1, 0.0).sum(axis=-1) / np.maximum(counts, 1), np.nan
        )
    return result


METRICS: dict[str, MetricSums] = {
    "label_accuracy": mean_of(_right),
    "choice_accuracy": mean_of(_right),
    "macro_f1": MetricSums(confusion_rows, macro_f1, None),
}
