"""Classification: accuracy, macro and micro F1, calibration."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sartor_evaluation.items import Outcome
from sartor_evaluation.metrics.sums import Array, MetricSums, mean_of

BINS = 15


def _right(outcome: Outcome) -> float:
    return float(outcome.chosen == outcome.item.reference)


def confusion_rows(outcomes: Sequence[Outcome]) -> Array:
    """[outcomes, 3·labels]: for each label in sorted order a 1 at true positive, false positive, false
    negative.
    """
    truths, guesses = {o.item.reference for o in outcomes}, {o.chosen for o in outcomes if o.chosen}
    labels = sorted(truths | guesses)
    index = {label: position for position, label in enumerate(labels)}
    rows = np.zeros((len(outcomes), 3, len(labels)))
    for row, outcome in zip(rows, outcomes, strict=True):
        truth, guess = index[outcome.item.reference], index.get(outcome.chosen)
        if truth == guess:
            row[0, truth] = 1
            continue
        row[2, truth] = 1
        if guess is not None:  # an answer that is no label is nobody's false positive
            row[1, guess] = 1
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


def _micro_rows(outcomes: Sequence[Outcome]) -> Array:
    """[outcomes, 3]: right, labels given, labels wanted."""
    rows = [(_right(outcome), float(bool(outcome.chosen)), 1.0) for outcome in outcomes]
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def micro_f1(sums: Array) -> Array:
    """2 · right / (given + wanted)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Array = np.where(sums[..., 2] > 0, 2 * sums[..., 0] / (sums[..., 1] + sums[..., 2]), np.nan)
    return result


def _calibration_rows(outcomes: Sequence[Outcome]) -> Array:
    """[outcomes, 3·BINS]: in its bin of confidence each has 1, its confidence, and whether it is right."""
    rows = np.zeros((len(outcomes), 3, BINS))
    for row, outcome in zip(rows, outcomes, strict=True):
        shares = outcome.confidence
        best = max(range(len(shares)), key=shares.__getitem__)
        place = min(int(shares[best] * BINS), BINS - 1)
        row[:, place] = 1.0, shares[best], float(outcome.item.choices[best] == outcome.item.reference)
    return rows.reshape(len(outcomes), 3 * BINS)


def expected_calibration_error(sums: Array) -> Array:
    """Σ |confidence - accuracy| over equal bins, weighted by their items (Guo et al. 2017)."""
    counts, confidence, right = np.split(sums, 3, axis=-1)
    total = counts.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Array = np.where(total > 0, np.abs(confidence - right).sum(axis=-1) / total, np.nan)
    return result


def brier(outcome: Outcome) -> float:
    """Σ (probability - truth)² over the labels (Brier 1950), 0 to 2."""
    pairs = zip(outcome.item.choices, outcome.confidence, strict=True)
    return sum((share - float(choice == outcome.item.reference)) ** 2 for choice, share in pairs)


def per_class(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The confusion matrix and each label's precision, recall and F1, for reports.

    `matrix[i][j]` counts items of label i that were given label j; the last column is answers that are no
    label.
    """
    labels = sorted(
        {outcome.item.reference for outcome in outcomes} | {o.chosen for o in outcomes if o.chosen}
    )
    index = {label: position for position, label in enumerate(labels)}
    matrix = np.zeros((len(labels), len(labels) + 1), dtype=np.int64)
    for outcome in outcomes:
        matrix[index[outcome.item.reference], index.get(outcome.chosen, len(labels))] += 1
    classes = {}
    for label, place in index.items():
        right, given, wanted = (
            int(matrix[place, place]),
            int(matrix[:, place].sum()),
            int(matrix[place].sum()),
        )
        classes[label] = {
            "items": wanted,
            "precision": right / given if given else None,
            "recall": right / wanted if wanted else None,
            "f1": 2 * right / (given + wanted) if given + wanted else None,
        }
    return {"labels": labels, "matrix": matrix.tolist(), "classes": classes}


METRICS: dict[str, MetricSums] = {
    "label_accuracy": mean_of(_right),
    "macro_f1": MetricSums(confusion_rows, macro_f1, None),
    "micro_f1": MetricSums(_micro_rows, micro_f1, None),
    "ece": MetricSums(_calibration_rows, expected_calibration_error, None),
    "brier": mean_of(brier),
}
