"""Metrics of your own: entry points of the group `sartor.metrics`, each an `OwnMetric` or a list of them.

# my_metrics.py, with `[project.entry-points."sartor.metrics"]` politeness = "my_metrics:POLITENESS"
from sartor_evaluation.metrics.own import own_metric

def politeness(answer: str, reference: str) -> float:
    return float("please" in answer.lower() or "bitte" in answer.lower())

POLITENESS = own_metric("politeness", "Politeness", "Share of answers that say please.", politeness)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points

from sartor_evaluation.items import ItemKind
from sartor_evaluation.metrics.catalogue import CATALOGUE, Better, MetricInfo, Need
from sartor_evaluation.metrics.sums import MetricSums, mean_of

GROUP = "sartor.metrics"


@dataclass(frozen=True, slots=True)
class OwnMetric:
    """What is shown of a metric, and how it is computed."""

    info: MetricInfo
    sums: MetricSums


class BadOwnMetric(ValueError):
    """An entry point that is no metric, or takes a name that another has."""


def own_metric(
    name: str,
    title: str,
    explanation: str,
    score: Callable[[str, str], float],
    *,
    better: Better = Better.HIGHER,
    highest: float | None = 1.0,
    needs_reference: bool = False,
) -> OwnMetric:
    """The mean over free answers of `score(answer, reference)`; intervals, gates and slices come with it."""
    needs = {Need.ANSWER, Need.REFERENCE} if needs_reference else {Need.ANSWER}
    kinds = frozenset({ItemKind.ANSWER})
    info = MetricInfo(name, title, explanation, "", better, kinds, highest, needs=frozenset(needs))
    return OwnMetric(info, mean_of(lambda outcome: score(outcome.answer or "", outcome.item.reference)))


@cache
def own_metrics() -> Mapping[str, OwnMetric]:
    """Those of the installed packages, by name.

    Raises:
        BadOwnMetric: one is not usable; it names the package's entry point.
    """
    found: dict[str, OwnMetric] = {}
    taken = {info.name for info in CATALOGUE}
    for point in entry_points(group=GROUP):
        given = point.load()
        for one in given if isinstance(given, list | tuple) else (given,):
            if not isinstance(one, OwnMetric):
                raise BadOwnMetric(
                    f"the entry point {point.value} is no OwnMetric; make it with own_metric()"
                )
            if one.info.name in taken:
                raise BadOwnMetric(f"{point.value}: the name {one.info.name} is taken; choose another")
            taken.add(one.info.name)
            found[one.info.name] = one
    return found
