"""Outcomes become findings: every metric of every candidate with its interval, every paired difference,
slices.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sartor_evaluation.estimates import Estimate, in_words
from sartor_evaluation.items import Item, Outcome
from sartor_evaluation.metrics.catalogue import METRICS, Better, MetricInfo
from sartor_evaluation.metrics.compute import applicable, sums_of
from sartor_evaluation.metrics.sums import Array, MetricSums
from sartor_evaluation.statistics import Resamples, difference, estimate, resample

SLICE_METRICS = ("token_f1", "label_accuracy", "choice_accuracy", "exact_match", "loss")
_SLICE_RESAMPLES = 1_000
_MOST_VALUES = 24
_LEAST_SLICE_ITEMS = 3


@dataclass(frozen=True, slots=True)
class ScoreLine:
    """A metric of one candidate on one suite."""

    suite: str
    metric: str
    candidate: str
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class ComparisonLine:
    """Candidate minus baseline on the same items, and what that says."""

    suite: str
    metric: str
    candidate: str
    baseline: str
    difference: Estimate
    verdict: str


@dataclass(frozen=True, slots=True)
class SliceLine:
    """A metric of one candidate on those items whose `field` is `value`."""

    suite: str
    field: str
    value: str
    metric: str
    candidate: str
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that was found; what gates judge by."""

    scores: tuple[ScoreLine, ...]
    comparisons: tuple[ComparisonLine, ...]
    slices: tuple[SliceLine, ...]

    def score(self, suite: str, metric: str, candidate: str) -> Estimate | None:
        """See gates.Findings."""
        wanted = (suite, metric, candidate)
        lines = (line for line in self.scores if (line.suite, line.metric, line.candidate) == wanted)
        return next((line.estimate for line in lines), None)

    def difference(self, suite: str, metric: str, candidate: str, baseline: str) -> Estimate | None:
        """See gates.Findings."""
        wanted = (suite, metric, candidate, baseline)
        for line in self.comparisons:
            if (line.suite, line.metric, line.candidate, line.baseline) == wanted:
                return line.difference
        return None


def find(answered: Mapping[str, Mapping[str, Sequence[Outcome]]], *, seed: int = 0) -> Findings:
    """Findings over all suites.

    Args:
        answered: suite -> candidate -> outcomes. Candidates of one suite answered the same items in the same
            order; a later candidate is compared with every earlier one.
    """
    scores: list[ScoreLine] = []
    comparisons: list[ComparisonLine] = []
    slices: list[SliceLine] = []
    for suite, by_candidate in answered.items():
        table = _SuiteTable(suite, by_candidate, seed)
        for info in table.metrics:
            scores += table.scores(info)
            comparisons += table.comparisons(info)
        slices += table.slices()
    return Findings(tuple(scores), tuple(comparisons), tuple(slices))


class _SuiteTable:
    """The outcomes of one suite with each metric's rows computed once."""

    def __init__(self, suite: str, by_candidate: Mapping[str, Sequence[Outcome]], seed: int) -> None:
        first = next(iter(by_candidate.values()))
        self._items = [outcome.item for outcome in first]
        for name, outcomes in by_candidate.items():
            if [outcome.item.item_id for outcome in outcomes] != [item.item_id for item in self._items]:
                raise ValueError(f"candidate {name} answered other items of {suite} than the first candidate")
        self._suite = suite
        self._outcomes = by_candidate
        self._seed = seed
        self._rows: dict[tuple[str, str], Array] = {}
        self._resamples: dict[str, Resamples] = {}
        self.metrics = applicable(first)

    def scores(self, info: MetricInfo) -> Iterable[ScoreLine]:
        sums = sums_of(info)
        resamples = self._resampled(self._positions(info))
        for name in self._outcomes:
            found = estimate(self._metric_rows(info, sums, name), sums.value, resamples)
            yield ScoreLine(self._suite, info.name, name, found)

    def comparisons(self, info: MetricInfo) -> Iterable[ComparisonLine]:
        sums = sums_of(info)
        resamples = self._resampled(self._positions(info))
        names = list(self._outcomes)
        for index, name in enumerate(names):
            for baseline in names[:index]:
                ours, theirs = (self._metric_rows(info, sums, one) for one in (name, baseline))
                found = difference(ours, theirs, sums.value, resamples)
                words = in_words(found, higher_is_better=info.better is Better.HIGHER)
                yield ComparisonLine(self._suite, info.name, name, baseline, found, words)

    def slices(self) -> Iterable[SliceLine]:
        for info in (METRICS[name] for name in SLICE_METRICS):
            if info not in self.metrics:
                continue
            sums, positions = sums_of(info), self._positions(info)
            for (field, value), members in _slices([self._items[p] for p in positions]).items():
                clusters = [self._items[positions[m]].cluster for m in members]
                resamples = resample(clusters, seed=self._seed, resamples=_SLICE_RESAMPLES)
                for name in self._outcomes:
                    rows = self._metric_rows(info, sums, name)[members]
                    found = estimate(rows, sums.value, resamples)
                    yield SliceLine(self._suite, field, value, info.name, name, found)

    def _positions(self, info: MetricInfo) -> NDArray[np.int64]:
        chosen = [p for p, item in enumerate(self._items) if item.kind in info.kinds]
        return np.array(chosen, dtype=np.int64)

    def _metric_rows(self, info: MetricInfo, sums: MetricSums, name: str) -> Array:
        if (info.name, name) not in self._rows:
            outcomes = self._outcomes[name]
            self._rows[info.name, name] = sums.rows([outcomes[p] for p in self._positions(info)])
        return self._rows[info.name, name]

    def _resampled(self, positions: NDArray[np.int64]) -> Resamples:
        key = positions.tobytes().hex()
        if key not in self._resamples:
            clusters = [self._items[p].cluster for p in positions]
            self._resamples[key] = resample(clusters, seed=self._seed)
        return self._resamples[key]


def item_slices(item: Item) -> dict[str, str]:
    """The slices an item belongs to."""
    named = {**item.attributes, "language": item.language, "label": item.label, "kind": item.kind.value}
    return {field: value for field, value in named.items() if value and field not in ("split", "group")}


def _slices(items: Sequence[Item]) -> dict[tuple[str, str], list[int]]:
    """(field, value) -> positions, for fields that divide the items into a readable number of parts."""
    found: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for position, item in enumerate(items):
        for field, value in item_slices(item).items():
            found[field][value].append(position)
    return {
        (field, value): members
        for field, values in sorted(found.items())
        if 2 <= len(values) <= _MOST_VALUES
        for value, members in sorted(values.items())
        if len(members) >= _LEAST_SLICE_ITEMS
    }
