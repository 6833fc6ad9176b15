"""Outcomes become findings: every metric of every candidate with its interval, every paired difference,
slices.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sartor_evaluation.estimates import Estimate, holm, in_words
from sartor_evaluation.items import Outcome
from sartor_evaluation.metrics.catalogue import Better, MetricInfo, metrics
from sartor_evaluation.metrics.compute import applicable, sums_of
from sartor_evaluation.metrics.sums import Array, MetricSums
from sartor_evaluation.slices import LEAST_GATED_ITEMS, readable_slices, slice_positions
from sartor_evaluation.statistics import Resamples, difference, estimate, resample

SLICE_METRICS = (
    "token_f1",
    "label_accuracy",
    "choice_accuracy",
    "exact_match",
    "loss",
    "regex_match",
    "schema_valid",
    "language_kept",
)
_SLICE_RESAMPLES = 1_000


@dataclass(frozen=True, slots=True)
class ScoreLine:
    """A metric of one candidate on one suite. `failed` items have no answer and are not in the estimate."""

    suite: str
    metric: str
    candidate: str
    estimate: Estimate
    failed: int = 0


@dataclass(frozen=True, slots=True)
class ComparisonLine:
    """Candidate minus baseline on the items that both answered, and what that says. `adjusted_p` is corrected
    for all metrics of the same suite and pair.
    """

    suite: str
    metric: str
    candidate: str
    baseline: str
    difference: Estimate
    verdict: str
    adjusted_p: float = 1.0


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
    tables: Mapping[str, "SuiteTable"] = field(default_factory=dict)

    def score(self, suite: str, metric: str, candidate: str, part: str = "") -> Estimate | None:
        """See gates.Findings."""
        if part:
            table = self.tables.get(suite)
            return None if table is None else table.part_score(metric, candidate, part)
        wanted = (suite, metric, candidate)
        lines = (line for line in self.scores if (line.suite, line.metric, line.candidate) == wanted)
        return next((line.estimate for line in lines), None)

    def difference(
        self, suite: str, metric: str, candidate: str, baseline: str, part: str = ""
    ) -> Estimate | None:
        """See gates.Findings."""
        if part:
            table = self.tables.get(suite)
            return None if table is None else table.part_difference(metric, candidate, baseline, part)
        wanted = (suite, metric, candidate, baseline)
        for line in self.comparisons:
            if (line.suite, line.metric, line.candidate, line.baseline) == wanted:
                return line.difference
        return None

    def parts(self, suite: str, field: str) -> list[str]:
        """See gates.Findings."""
        return self.tables[suite].parts(field) if suite in self.tables else []

    def failed(self, suite: str, candidate: str) -> int:
        """See gates.Findings."""
        return self.tables[suite].failed(candidate) if suite in self.tables else 0


def find(
    answered: Mapping[str, Mapping[str, Sequence[Outcome]]],
    *,
    seed: int = 0,
    wanted: Mapping[str, Sequence[str]] | None = None,
) -> Findings:
    """Findings over all suites.

    Args:
        answered: suite -> candidate -> outcomes. Candidates of one suite answered the same items in the same
            order; a later candidate is compared with every earlier one.
        wanted: suite -> the metrics to show; a suite that is left out shows all.
    """
    scores: list[ScoreLine] = []
    comparisons: list[ComparisonLine] = []
    slices: list[SliceLine] = []
    tables: dict[str, SuiteTable] = {}
    for suite, by_candidate in answered.items():
        table = SuiteTable(suite, by_candidate, seed, (wanted or {}).get(suite, ()))
        tables[suite] = table
        for info in table.metrics:
            scores += table.scores(info)
        comparisons += table.all_comparisons()
        slices += table.slices()
    return Findings(tuple(scores), tuple(comparisons), tuple(slices), tables)


class SuiteTable:
    """The outcomes of one suite with each metric's rows computed once."""

    def __init__(
        self,
        suite: str,
        by_candidate: Mapping[str, Sequence[Outcome]],
        seed: int = 0,
        wanted: Sequence[str] = (),
    ) -> None:
        first = next(iter(by_candidate.values()))
        self._items = [outcome.item for outcome in first]
        for name, outcomes in by_candidate.items():
            if [outcome.item.item_id for outcome in outcomes] != [item.item_id for item in self._items]:
                raise ValueError(f"candidate {name} answered other items of {suite} than the first candidate")
        self._suite = suite
        self._outcomes = by_candidate
        self._seed = seed
        self._resamples: dict[tuple[bytes, int], Resamples] = {}
        self._places: dict[tuple[str, str], NDArray[np.int64]] = {}
        self._rows: dict[tuple[str, str], Array] = {}
        every = [outcome for outcomes in by_candidate.values() for outcome in outcomes]
        self.metrics = applicable(every, wanted)

    def failed(self, name: str) -> int:
        """How many items this candidate failed at."""
        return sum(bool(outcome.failure) for outcome in self._outcomes.get(name, ()))

    def scores(self, info: MetricInfo) -> Iterable[ScoreLine]:
        """One line a candidate that the metric applies to."""
        for name in self._outcomes:
            found = self._score(info, name, self._positions(info, name))
            if found is not None:
                yield ScoreLine(self._suite, info.name, name, found, self.failed(name))

    def all_comparisons(self) -> Iterable[ComparisonLine]:
        """Every metric of every pair, Holm-corrected over the metrics of a pair; in the metrics' order."""
        names = list(self._outcomes)
        pairs = [(name, base) for place, name in enumerate(names) for base in names[:place]]
        return worded(
            [line for info in self.metrics for pair in pairs if (line := self._compare(info, *pair))]
        )

    def slices(self) -> Iterable[SliceLine]:
        """The main metrics for each readable part of the items."""
        for (part_field, value), members in readable_slices(self._items).items():
            chosen = set(members)
            for info in (info for info in self.metrics if info.name in SLICE_METRICS):
                for name in self._outcomes:
                    places = [p for p in self._positions(info, name) if p in chosen]
                    found = self._score(info, name, np.array(places, dtype=np.int64), _SLICE_RESAMPLES)
                    if found is not None:
                        yield SliceLine(self._suite, part_field, value, info.name, name, found)

    def part_score(self, metric: str, name: str, part: str) -> Estimate | None:
        """The metric on the items of a part, "language=de"."""
        info = metrics()[metric]
        return self._score(info, name, np.intersect1d(self._positions(info, name), self._part(part)))

    def part_difference(self, metric: str, name: str, baseline: str, part: str) -> Estimate | None:
        """The paired difference on the items of a part."""
        if name not in self._outcomes or baseline not in self._outcomes:
            return None
        return self._difference(metrics()[metric], name, baseline, self._part(part))

    def parts(self, part_field: str) -> list[str]:
        """The parts of a field that have enough items for a gate."""
        found = slice_positions(self._items).get(part_field, {})
        return [
            f"{part_field}={value}"
            for value, members in sorted(found.items())
            if len(members) >= LEAST_GATED_ITEMS
        ]

    def _part(self, part: str) -> NDArray[np.int64]:
        part_field, _, value = part.partition("=")
        members = slice_positions(self._items).get(part_field, {}).get(value, [])
        return np.array(members, dtype=np.int64)

    def _score(
        self, info: MetricInfo, name: str, places: NDArray[np.int64], resamples: int | None = None
    ) -> Estimate | None:
        if name not in self._outcomes or not len(places):
            return None
        sums = sums_of(info)
        rows = self._metric_rows(info, sums, name)[np.searchsorted(self._positions(info, name), places)]
        return estimate(rows, sums.value, self._resampled(places, resamples))

    def _compare(self, info: MetricInfo, name: str, baseline: str) -> ComparisonLine | None:
        found = self._difference(info, name, baseline, None)
        if found is None:
            return None
        return ComparisonLine(self._suite, info.name, name, baseline, found, "")

    def _difference(
        self, info: MetricInfo, name: str, baseline: str, part: NDArray[np.int64] | None
    ) -> Estimate | None:
        ours, theirs = self._positions(info, name), self._positions(info, baseline)
        places = np.intersect1d(ours, theirs)
        if part is not None:
            places = np.intersect1d(places, part)
        if not len(places):
            return None
        sums = sums_of(info)
        if info.name == "macro_f1":  # the labels' columns must be the same for both
            mine, other = self._confusion(info, name, baseline, places)
        else:
            mine = self._metric_rows(info, sums, name)[np.searchsorted(ours, places)]
            other = self._metric_rows(info, sums, baseline)[np.searchsorted(theirs, places)]
        return difference(mine, other, sums.value, self._resampled(places))

    def _confusion(
        self, info: MetricInfo, name: str, baseline: str, places: NDArray[np.int64]
    ) -> tuple[Array, Array]:
        both = [self._outcomes[one][p] for one in (name, baseline) for p in places]
        rows = sums_of(info).rows(both)
        return rows[: len(places)], rows[len(places) :]

    def _positions(self, info: MetricInfo, name: str) -> NDArray[np.int64]:
        """Where the metric applies to the candidate's outcomes, ascending."""
        if (info.name, name) not in self._places:
            found = [p for p, outcome in enumerate(self._outcomes[name]) if info.applies(outcome)]
            self._places[info.name, name] = np.array(found, dtype=np.int64)
        return self._places[info.name, name]

    def _metric_rows(self, info: MetricInfo, sums: MetricSums, name: str) -> Array:
        if (info.name, name) not in self._rows:
            outcomes = self._outcomes[name]
            self._rows[info.name, name] = sums.rows([outcomes[p] for p in self._positions(info, name)])
        return self._rows[info.name, name]

    def _resampled(self, positions: NDArray[np.int64], resamples: int | None = None) -> Resamples:
        key = (positions.tobytes(), resamples or 0)
        if key not in self._resamples:
            clusters = [self._items[p].cluster for p in positions]
            more = {} if resamples is None else {"resamples": resamples}
            self._resamples[key] = resample(clusters, seed=self._seed, **more)
        return self._resamples[key]


def worded(lines: Sequence[ComparisonLine]) -> list[ComparisonLine]:
    """The lines with their verdicts, Holm-corrected over all metrics of the same suite and pair."""
    families: dict[tuple[str, str, str], list[int]] = {}
    for place, line in enumerate(lines):
        families.setdefault((line.suite, line.candidate, line.baseline), []).append(place)
    found = list(lines)
    for places in families.values():
        adjusted = holm([lines[place].difference.p_value for place in places])
        for place, chance in zip(places, adjusted, strict=True):
            found[place] = _with_words(lines[place], chance)
    return found


def _with_words(line: ComparisonLine, adjusted: float) -> ComparisonLine:
    better = metrics()[line.metric].better
    higher = None if better is Better.NEITHER else better is Better.HIGHER
    words = in_words(line.difference, higher_is_better=higher, adjusted_p=adjusted)
    return replace(line, verdict=words, adjusted_p=adjusted)
