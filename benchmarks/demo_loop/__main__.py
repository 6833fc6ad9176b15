"""Runs the demonstration: `python -m benchmarks.demo_loop [--data-dir DIR] [--out DIR]`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from sartor.deployment.v1 import loop_pb2
from sartor.deployment.v1.endpoint_pb2 import Decision, DecisionKind
from sartor_cli.client import Sartor
from sartor_cli.demo import find_example, running_stack
from sartor_cli.output import console, heading

from benchmarks.demo_loop.picture import Moment, write
from benchmarks.demo_loop.story import Desk, DidNotHappen, word
from benchmarks.demo_loop.users import Answered, Mix, Users, new_questions, old_questions, training_rows
from benchmarks.results import report

_GOAL_SECONDS = 720
_NEW_SHARE = 0.7
_QUIET_REQUESTS, _AFTER_REQUESTS = 76, 24
_SLOW_SECONDS = 3.0
_TONES = {
    "PROMOTED": "good",
    "REJECTED": "bad",
    "DRIFT_FOUND": "bad",
    "ADAPTATION_PROMOTED": "good",
    "ADAPTATION_ENDED": "bad",
}


def main() -> int:
    """Run it; 0 only if all of it happened."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, help="the stack's folder; a fresh one if left out")
    parser.add_argument("--out", type=Path, default=Path(".sartor-demo-loop"), help="where the picture goes")
    asked = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sartor-demo-loop-") as fresh:
        try:
            _run(asked.data_dir or Path(fresh) / "data", Path(fresh), asked.out, began)
        except DidNotHappen as error:
            print(f"It did not all happen: {error}", file=sys.stderr)
            return 1
    report("demo_loop_seconds", time.monotonic() - began, _GOAL_SECONDS, "lower")
    return 0


def _run(data_dir: Path, work: Path, out: Path, began: float) -> None:
    folder = find_example(None)
    with running_stack(data_dir, keep=False), Sartor.local(data_dir) as sartor:
        desk = Desk(sartor, folder, work)
        story = _Story(desk, folder, began)
        story.first_model()
        try:
            story.shift()
            story.bad_models()
        finally:
            story.users.stop()
            story.conclude(out)


class _Story:
    """What happens, in its order."""

    def __init__(self, desk: Desk, folder: Path, began: float) -> None:
        self._desk, self._began = desk, began
        rows = training_rows(folder / "records.jsonl", 12)
        texts = {row["question"] for row in rows}
        self._old = [each for each in old_questions(folder / "records.jsonl") if each.text in texts]
        self._first, self._later = new_questions(folder / "shift.toml")
        self._summary: list[str] = []
        self._first_version = ""

    def first_model(self) -> None:
        """The main job, made small."""
        heading("2 · The first model")
        self._desk.apply()
        count = self._desk.publish_records()
        endpoint = self._desk.first_model()
        self._live_at = time.monotonic()
        self._epoch = time.time()
        self._first_version = self._desk.revision(endpoint.live_revision).model_version
        self._say(f"{count} records became {_id(endpoint.live_revision)}")
        self.users = Users(endpoint.url, "support", Mix(self._old))
        self.users.start()

    def shift(self) -> None:
        """Users begin to ask of leasing; the loop does the rest."""
        heading("3 · Quiet traffic, then a shift")
        quiet = self.users.ask_more(_QUIET_REQUESTS)
        windows = self._desk.drift_windows()
        alarms = sum(finding.found for window in windows for finding in window.findings)
        self._say(
            f"quiet: mean score {_mean(quiet):.2f}, windows looked at: {len(windows)}, alarms: {alarms}"
        )
        self.users.mix = Mix(self._old, self._first, _NEW_SHARE, corrections=True)
        at = len(self.users.answered)
        found = self._desk.begun(0)
        self.users.pause_seconds = _SLOW_SECONDS
        shifted = self.users.answered[at:]
        new = _mean([each for each in shifted if each.question.new])
        self._say(f"shifted: mean score {_mean(shifted):.2f}, on new topics {new:.2f}")
        self._say(f"{found.cause}; {found.corrections} corrected answers go into training")
        heading("4 · Tuned again")
        found = self._desk.in_stage(found.name, loop_pb2.ADAPTATION_STATE_DEPLOYING)
        self._say(f"{_id(found.model_version)}: {word(found.state)} {found.message}")
        self.users.mix = Mix(self._old, self._later, _NEW_SHARE)
        self._desk.tried(found.revision)
        self.users.pause_seconds = 0.0
        done = self._desk.in_stage(found.name)
        if done.state != loop_pb2.ADAPTATION_STATE_PROMOTED:
            raise DidNotHappen(f"the tuned model was stopped: {done.reason}: {done.message}")
        after = self.users.ask_more(_AFTER_REQUESTS)
        better = _mean([each for each in after if each.question.new])
        self._say(f"{_id(done.revision)} is live: mean score {_mean(after):.2f}, on new topics {better:.2f}")
        self._say("the new topics after it are asked in wordings that were never corrected")
        if better <= new:
            raise DidNotHappen(f"new topics are answered no better: {better:.2f}, it was {new:.2f}")

    def bad_models(self) -> None:
        """One is stopped at the gate, one at the parity check, one at the canary."""
        heading("5 · Three bad models")
        live = self._desk.endpoint().live_revision
        self.users.mix = Mix(self._old, self._later, _NEW_SHARE, corrections=True)
        self.users.ask_more(16)
        self.users.pause_seconds = _SLOW_SECONDS
        self._desk.apply(
            ("max_training_tokens: 16000", "max_training_tokens: 512"), ("start_from: live", "dropout: 0")
        )
        self._stopped_at_gate()
        self._desk.apply(("quantization: q8_0", "quantization: q4_0"))
        # One after the other: of two, the newer that passes its checks overtakes the older.
        crude = self._desk.stopped(self._desk.deploy(self._desk.revision(live).model_version))
        self._expect("PARITY", crude.error.reason, f"four bits: {crude.error.message}")
        self._desk.apply()
        old = self._desk.deploy(self._first_version)
        self._desk.tried(old)
        self.users.pause_seconds = 0.0
        forgotten = self._desk.stopped(old)
        self._expect("CANARY", forgotten.error.reason, f"the first model again: {forgotten.error.message}")
        self.users.ask_more(16)
        if self._desk.endpoint().live_revision != live:
            raise DidNotHappen("what was live is not live any more")
        self._say(f"{_id(live)} answered all the time; {len(self.users.failures)} requests failed")

    def _stopped_at_gate(self) -> None:
        begun = self._desk.start_adaptation()
        ended = self._desk.in_stage(begun.name)
        self._expect("GATE", ended.reason, f"starved of tokens: {ended.message}")

    def _expect(self, where: str, reason: str, message: str) -> None:
        if not reason.startswith(where):
            raise DidNotHappen(f"a bad model was to be stopped by {where}, but {reason}: {message}")
        self._say(f"{reason}: {message}")

    def conclude(self, out: Path) -> None:
        """The picture."""
        heading("6 · The picture")
        moments = [self._moment(each) for each in self._desk.decisions()]
        image, page = write(out, self.users.answered, moments, self._live_at, self._summary)
        console.print(f"{image} and {page}, after {time.monotonic() - self._began:.0f} s.")

    def _moment(self, decision: Decision) -> Moment:
        kind = decision_kind(decision.kind)
        about = " ".join(filter(None, (kind, decision.reason, _id(decision.revision))))
        text = f"{about}: {decision.message}"
        seconds = decision.create_time.ToMicroseconds() / 1e6 - self._epoch
        return Moment(seconds, _label(kind, decision.reason), text, _TONES.get(kind, "plain"))

    def _say(self, text: str) -> None:
        self._summary.append(text)
        console.print(f"[{time.monotonic() - self._began:4.0f} s] {text}", markup=False, soft_wrap=True)


def decision_kind(value: int) -> str:
    """Its name without the prefix."""
    return DecisionKind.Name(value).removeprefix("DECISION_KIND_")  # type: ignore[arg-type]


def _label(kind: str, reason: str) -> str:
    """What stands in the figure: only what changes the story."""
    if kind == "REJECTED":
        return f"stopped: {reason.partition('_')[0].lower()}"
    if kind == "ADAPTATION_ENDED" and reason == "GATE":
        return "stopped: gate"
    labels = {
        "ADAPTATION_BEGUN": "tuning begins",
        "CANARY_STARTED": "canary",
        "PROMOTED": "live",
        "DRIFT_FOUND": "drift" if reason == "INPUT_EMBEDDING" else "",
    }
    return labels.get(kind, "")


def _mean(answered: Sequence[Answered]) -> float:
    return fmean(each.score for each in answered) if answered else 0.0


def _id(name: str) -> str:
    return name.rpartition("/")[2]


if __name__ == "__main__":
    raise SystemExit(main())
