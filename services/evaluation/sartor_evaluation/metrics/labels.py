"""Classification: accuracy, macro and micro F1, calibration. An item has one right label, or of several any
number: what is said here of labels holds for both."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sartor_evaluation.items import ItemKind, Outcome
from sartor_evaluation.metrics.sums import Array, MetricSums, mean_of

BINS = 15


def _right(outcome: Outcome) -> float:
    return float(outcome.given_labels == outcome.item.wanted_labels)


def confusion_rows(outcomes: Sequence[Outcome]) -> Array:
    """[outcomes, 3·labels]: for each label in sorted order a 1 at true positive, false positive, false
    negative.
    """
    both = [(outcome.item.wanted_labels, outcome.given_labels) for outcome in outcomes]
    labels = sorted(frozenset().union(*(wanted | given for wanted, given in both)))
    index = {label: position for position, label in enumerate(labels)}
    rows = np.zeros((len(outcomes), 3, len(labels)))
    for row, (wanted, given) in zip(rows, both, strict=True):
        row[0, [index[label] for label in wanted & given]] = 1
        row[1, [index[label] for label in given - wanted]] = 1
        row[2, [index[label] for label in wanted - given]] = 1
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
    both = [(outcome.given_labels, outcome.item.wanted_labels) for outcome in outcomes]
    rows = [(float(len(given & wanted)), float(len(given)), float(len(wanted))) for given, wanted in both]
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def micro_f1(sums: Array) -> Array:
    """2 · right / (given + wanted)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Array = np.where(sums[..., 2] > 0, 2 * sums[..., 0] / (sums[..., 1] + sums[..., 2]), np.nan)
    return result


def _calibration_rows(outcomes: Sequence[Outcome]) -> Array:
    """[outcomes, 3·BINS]: in its bin of confidence each has 1, its confidence, and whether it is right. Where
    any number of labels may be right, every label is such a statement of its own.
    """
    rows = np.zeros((len(outcomes), 3, BINS))
    for row, outcome in zip(rows, outcomes, strict=True):
        shares, choices = outcome.label_shares or outcome.confidence, outcome.item.choices
        best = max(range(len(shares)), key=shares.__getitem__)
        for place in range(len(shares)) if outcome.label_shares else [best]:
            bin_ = min(int(shares[place] * BINS), BINS - 1)
            row[:, bin_] += 1.0, shares[place], float(choices[place] in outcome.item.wanted_labels)
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
    pairs = zip(outcome.item.choices, outcome.label_shares or outcome.confidence, strict=True)
    return sum((share - float(choice in outcome.item.wanted_labels)) ** 2 for choice, share in pairs)


def per_class(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The confusion matrix and each label's precision, recall and F1, for reports.

    `matrix[i][j]` counts items of label i that were given label j; the last column is answers that are no
    label. It is empty where any number of labels may be right.
    """
    rows = confusion_rows(outcomes).sum(axis=0)
    labels = sorted(
        frozenset().union(*(outcome.item.wanted_labels | outcome.given_labels for outcome in outcomes))
    )
    classes = {}
    for label, right, extra, missed in zip(labels, *np.split(rows.astype(int), 3), strict=True):
        given, wanted = int(right + extra), int(right + missed)
        classes[label] = {
            "items": wanted,
            "precision": int(right) / given if given else None,
            "recall": int(right) / wanted if wanted else None,
            "f1": 2 * int(right) / (given + wanted) if given + wanted else None,
        }
    return {"labels": labels, "matrix": _matrix(outcomes, labels), "classes": classes}


def _matrix(outcomes: Sequence[Outcome], labels: Sequence[str]) -> list[list[int]]:
    if any(outcome.item.kind is ItemKind.LABELS for outcome in outcomes):
        return []
    index = {label: position for position, label in enumerate(labels)}
    matrix = np.zeros((len(labels), len(labels) + 1), dtype=np.int64)
    for outcome in outcomes:
        matrix[index[outcome.item.reference], index.get(outcome.chosen, len(labels))] += 1
    found: list[list[int]] = matrix.tolist()
    return found


METRICS: dict[str, MetricSums] = {
    "label_accuracy": mean_of(_right),
    "macro_f1": MetricSums(confusion_rows, macro_f1, None),
    "micro_f1": MetricSums(_micro_rows, micro_f1, None),
    "ece": MetricSums(_calibration_rows, expected_calibration_error, None),
    "brier": mean_of(brier),
}
