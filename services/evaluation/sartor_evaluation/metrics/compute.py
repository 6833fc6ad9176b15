"""From a metric's name to what computes it and to the items it is taken over."""

from collections.abc import Sequence
from importlib import import_module

from sartor_evaluation.items import ItemKind, Outcome
from sartor_evaluation.metrics.catalogue import METRICS, MetricInfo
from sartor_evaluation.metrics.sums import MetricSums


def sums_of(info: MetricInfo) -> MetricSums:
    """The computation of a metric, from its family's module (imported on first use: sacrebleu is heavy)."""
    family = import_module(f"sartor_evaluation.metrics.{info.family}")
    sums: MetricSums = family.METRICS[info.name]
    return sums


def applicable(outcomes: Sequence[Outcome]) -> list[MetricInfo]:
    """The metrics that these outcomes can be scored by, in the catalogue's order."""
    kinds = {outcome.item.kind for outcome in outcomes}
    return [info for info in METRICS.values() if info.kinds & kinds]


def item_score(outcome: Outcome) -> float:
    """What one outcome is worth, 0 to 1, whatever its kind: the right label or choice, or the answer's token
    F1.
    """
    name = {ItemKind.LABEL: "label_accuracy", ItemKind.CHOICE: "choice_accuracy", ItemKind.ANSWER: "token_f1"}
    per_item = sums_of(METRICS[name[outcome.item.kind]]).per_item
    if per_item is None:
        raise TypeError(f"{name[outcome.item.kind]} has no score for a single item")
    return per_item(outcome)
