"""From a metric's name to what computes it and to the items it is taken over."""

from collections.abc import Sequence
from importlib import import_module

from sartor_evaluation.built_in_suites import recites
from sartor_evaluation.items import ItemKind, Outcome
from sartor_evaluation.metrics.catalogue import MetricInfo, metrics
from sartor_evaluation.metrics.own import own_metrics
from sartor_evaluation.metrics.sums import MetricSums


def sums_of(info: MetricInfo) -> MetricSums:
    """The computation of a metric, from its family's module (imported on first use: sacrebleu is heavy)."""
    if not info.family:
        return own_metrics()[info.name].sums
    family = import_module(f"sartor_evaluation.metrics.{info.family}")
    sums: MetricSums = family.METRICS[info.name]
    return sums


def applicable(outcomes: Sequence[Outcome], wanted: Sequence[str] = ()) -> list[MetricInfo]:
    """The metrics that these outcomes can be scored by, in the catalogue's order; only the wanted ones, or
    all
    but the slow ones.
    """
    shown = [info for info in metrics().values() if (info.name in wanted if wanted else not info.extra)]
    return [info for info in shown if any(info.applies(outcome) for outcome in outcomes)]


_MAIN = {
    ItemKind.LABEL: ("label_accuracy",),
    ItemKind.CHOICE: ("choice_accuracy",),
    ItemKind.CLOZE: ("cloze_accuracy",),
    ItemKind.ANSWER: ("task_exact_match", "token_f1", "regex_match", "schema_valid"),
    ItemKind.TEXT: (),
    ItemKind.LABELS: ("label_accuracy",),
    ItemKind.NUMBER: (),
}


def item_score(outcome: Outcome) -> float:
    """What one outcome is worth, 0 to 1, whatever its kind: the right label or choice, the answer's token F1,
    or whether it is as it was to be. Of a pair it is how alike both are treated, of a passage that should not
    be recited whether it was not. A failed one is worth nothing.
    """
    item = outcome.item
    if not outcome.failure and item.verbatim:
        return 1.0 - float(recites(outcome.answer or "", item.verbatim))
    if not outcome.failure and item.family and "variation" not in item.attributes:
        return 1.0 if outcome.family is None else 1.0 - outcome.family.gap
    for name in _MAIN[item.kind]:
        info = metrics()[name]
        per_item = sums_of(info).per_item
        if info.applies(outcome) and per_item is not None:
            return per_item(outcome)
    return 0.0


def item_loss(outcome: Outcome) -> float:
    """Nats a token of the reference; 0 where the candidate tells no probabilities."""
    return outcome.loss_sum / outcome.loss_tokens if outcome.loss_tokens else 0.0
