"""How often drift is reported where nothing drifts, and how surely it is where something does.

Traffic is drawn from the support desk's questions and answers, with replacement. For each window six of
its 24 intents are drawn to be what comes anew, and the quiet traffic has the others: new topics of the same
trade, in the same tone. Each shift is stated and measured on windows of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sartor_deployment.drift.detect import Comparison
from sartor_deployment.drift.features import Features, dump, extract, language, load
from sartor_deployment.drift.samples import Sample

from benchmarks.results import report

RECORDS = Path(__file__).parent.parent / "examples" / "support-desk" / "records.jsonl"
REFERENCE, WINDOW, RATE = 400, 200, 0.008
WINDOWS_A_REFERENCE = 5
NEW_INTENTS = 6
EVERYDAY = "case-note"
KEY = b"the same each time"
Rows = list[tuple[str, Sample]]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Where requests are drawn from. `one` are the wordings of a single new question."""

    quiet: Sequence[Sample]
    new: Sequence[Sample]
    one: Sequence[Sample]

    def draw(self, random_: random.Random, count: int) -> list[Sample]:
        """Quiet requests."""
        return [random_.choice(self.quiet) for _ in range(count)]


@dataclass(frozen=True, slots=True)
class Window:
    """Requests, and the scores that came in the meantime."""

    samples: list[Sample]
    scores: list[float]


@dataclass(frozen=True, slots=True)
class Reference:
    """What is kept of requests, and the scores of their time."""

    features: Features
    scores: list[float]


Shift = Callable[[Traffic, random.Random, Window], Window]


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quiet-windows", type=int, default=1000)
    parser.add_argument("--windows-a-shift", type=int, default=40)
    asked = parser.parse_args()
    rows = _rows()
    started = time.monotonic()
    alarms, kind = _quiet(rows, asked.quiet_windows)
    seconds = (time.monotonic() - started) / asked.quiet_windows
    power = {name: _power(rows, shift, asked.windows_a_shift) for name, shift in SHIFTS.items()}
    for name, share in power.items():
        print(f"  {name:<52} found in {share:.0%} of {asked.windows_a_shift} windows", flush=True)
    report(
        "drift_false_alarms", sum(alarms.values()) / asked.quiet_windows, 0.01, "lower",
        windows=asked.quiet_windows, by_signal=dict(alarms), reference=REFERENCE, window=WINDOW,
        false_alarm_rate=RATE, embedding=kind, seconds_a_window=seconds,
    )  # fmt: skip
    report(
        "drift_power_new_topics_30", power["30 % of the questions are of new topics"], 0.9, "higher",
        power=power, windows_a_shift=asked.windows_a_shift, embedding=kind,
    )  # fmt: skip
    return 0


def _quiet(rows: Rows, windows: int) -> tuple[dict[str, int], str]:
    """Windows with an alarm, by the first signal that gave it."""
    random_ = random.Random(1)
    alarms: dict[str, int] = {}
    kind = ""
    for number in range(windows):
        if number % WINDOWS_A_REFERENCE == 0:
            traffic = _traffic(rows, random_)
            reference = _reference(traffic, random_)
        compared = _compared(reference, _window(traffic, random_, WINDOW), number)
        kind = compared.embedding
        first = compared.findings()[0]
        if first.found:
            alarms[first.signal] = alarms.get(first.signal, 0) + 1
    return alarms, kind


def _power(rows: Rows, shift: Shift, windows: int) -> float:
    """Share of the windows in which the shift is found."""
    random_ = random.Random(2)
    found = 0
    for number in range(windows):
        traffic = _traffic(rows, random_)
        reference = _reference(traffic, random_)
        window = shift(traffic, random_, _window(traffic, random_, WINDOW))
        found += _compared(reference, window, number).findings()[0].found
    return found / windows


def _compared(reference: Reference, window: Window, seed: int) -> Comparison:
    scores = (reference.scores, window.scores)
    return Comparison(reference.features, window.samples, scores=scores, false_alarm_rate=RATE, seed=seed)


def _reference(traffic: Traffic, random_: random.Random) -> Reference:
    """As it comes out of the database once its requests are deleted."""
    made = _window(traffic, random_, REFERENCE)
    return Reference(load(dump(extract(made.samples, KEY))), made.scores)


def _window(traffic: Traffic, random_: random.Random, size: int) -> Window:
    """A third of the requests get feedback, four of five of it good."""
    return Window(traffic.draw(random_, size), _scores(random_, size // 3, 0.8))


def _scores(random_: random.Random, count: int, mean: float) -> list[float]:
    return [float(random_.random() < mean) for _ in range(count)]


def _some(share: float, change: Callable[[Traffic, random.Random, Sample], Sample]) -> Shift:
    """So many of the requests are changed."""

    def shift(traffic: Traffic, random_: random.Random, window: Window) -> Window:
        samples = [
            change(traffic, random_, each) if random_.random() < share else each for each in window.samples
        ]
        return Window(samples, window.scores)

    return shift


def _new(traffic: Traffic, random_: random.Random, _: Sample) -> Sample:
    return random_.choice(traffic.new)


def _one(traffic: Traffic, random_: random.Random, _: Sample) -> Sample:
    return random_.choice(traffic.one)


def _german(traffic: Traffic, random_: random.Random, _: Sample) -> Sample:
    return random_.choice([each for each in traffic.quiet if language(each.question) == "de"])


def _longer(_: Traffic, random_: random.Random, sample: Sample) -> Sample:
    return replace(sample, question=f"{sample.question} {sample.question}")


def _refusing(_: Traffic, random_: random.Random, sample: Sample) -> Sample:
    return replace(sample, answer="I'm sorry, I cannot help with that.")


def _unhappy(_: Traffic, random_: random.Random, window: Window) -> Window:
    return Window(window.samples, _scores(random_, len(window.scores), 0.5))


SHIFTS: dict[str, Shift] = {
    "10 % of the questions are of new topics": _some(0.1, _new),
    "20 % of the questions are of new topics": _some(0.2, _new),
    "30 % of the questions are of new topics": _some(0.3, _new),
    "50 % of the questions are of new topics": _some(0.5, _new),
    "5 % ask one new question": _some(0.05, _one),
    "10 % ask one new question": _some(0.1, _one),
    "20 % ask one new question": _some(0.2, _one),
    "30 % of the questions are German, beyond the usual": _some(0.3, _german),
    "30 % of the questions are twice as long": _some(0.3, _longer),
    "5 % of the answers decline": _some(0.05, _refusing),
    "mean feedback 0.5 instead of 0.8": _unhappy,
}


def _rows() -> Rows:
    rows = [json.loads(line) for line in RECORDS.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [
        (row["intent"], Sample(row["question"], str(row.get("answer") or "")))
        for row in rows
        if isinstance(row.get("question"), str) and row.get("intent")
    ]


def _traffic(rows: Rows, random_: random.Random) -> Traffic:
    topics = sorted({intent for intent, _ in rows} - {EVERYDAY})
    new = random_.sample(topics, NEW_INTENTS)
    return Traffic(
        [sample for intent, sample in rows if intent not in new],
        [sample for intent, sample in rows if intent in new],
        [sample for intent, sample in rows if intent == new[0]],
    )


if __name__ == "__main__":
    raise SystemExit(main())
