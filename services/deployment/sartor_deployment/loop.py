"""What a loop is told and what it decides by: triggers, budget, cool-down, adaptations. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sartor_platform.errors import FieldViolation
from sartor_platform.names import pattern

ADAPTATION = pattern("projects/{project}/endpoints/{endpoint}/adaptations/{adaptation}")
_REFERS = {
    "training_plan": pattern("projects/{project}/trainingPlans/{plan}"),
    "curation_policy": pattern("projects/{project}/curationPolicies/{policy}"),
    "source": pattern("projects/{project}/sources/{source}"),
    "dataset": pattern("projects/{project}/datasets/{dataset}"),
}
_YEAR = 365 * 86400.0
NOTHING_NEW = "NOTHING_NEW"


class AdaptationState(StrEnum):
    """The life of an adaptation."""

    COLLECTING = "COLLECTING"
    TRAINING = "TRAINING"
    EVALUATING = "EVALUATING"
    DEPLOYING = "DEPLOYING"
    PROMOTED = "PROMOTED"
    REJECTED = "REJECTED"
    FAILED = "FAILED"


UNDER_WAY = (
    AdaptationState.COLLECTING,
    AdaptationState.TRAINING,
    AdaptationState.EVALUATING,
    AdaptationState.DEPLOYING,
)


class Trigger(StrEnum):
    """What begins an adaptation."""

    DRIFT = "DRIFT"
    CORRECTIONS = "CORRECTIONS"
    NEW_RECORDS = "NEW_RECORDS"
    SCHEDULE = "SCHEDULE"
    HAND = "HAND"


@dataclass(frozen=True, slots=True)
class DriftSpec:
    """How drift is looked for. `window` 0: not at all. `reference` 0: twice the window."""

    window: int = 0
    reference: int = 0
    false_alarm_rate: float = 0.008

    @property
    def reference_size(self) -> int:
        """Requests that windows are compared with."""
        return self.reference or 2 * self.window

    def faults(self, sample_share: float) -> Iterator[FieldViolation]:
        """What cannot work."""
        path = "endpoint.watching.drift"
        if self.window and not 20 <= self.window <= 5000:
            yield FieldViolation(f"{path}.window", f"must be 0 or between 20 and 5000, not {self.window}")
        if self.window and not 20 <= self.reference_size <= 20_000:
            yield FieldViolation(f"{path}.reference", f"must be between 20 and 20000, not {self.reference}")
        if not 1e-4 <= self.false_alarm_rate <= 0.2:
            text = f"must be between 0.0001 and 0.2, not {self.false_alarm_rate:g}"
            yield FieldViolation(f"{path}.false_alarm_rate", text)
        if self.window and not sample_share:
            yield FieldViolation(f"{path}.window", "needs requests: set watching.sample_share above 0")


@dataclass(frozen=True, slots=True)
class Budget:
    """What adaptations may take in a period."""

    runs: int = 4
    training_seconds: float = 86400.0
    period_seconds: float = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class LoopSpec:
    """When and from what the model is tuned again. Without a plan there is no loop."""

    training_plan: str = ""
    curation_policy: str = ""
    source: str = ""
    dataset: str = ""
    on_drift: bool = False
    min_corrections: int = 0
    min_new_records: int = 0
    every_seconds: float = 0.0
    budget: Budget = field(default_factory=Budget)
    cool_down_seconds: float = 3600.0
    stage_timeout_seconds: float = 86400.0

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LoopSpec:
        """From an order; what is not there has its default."""
        return cls(**{**value, "budget": Budget(**value.get("budget", {}))})

    @property
    def configured(self) -> bool:
        """Whether there is a loop."""
        return bool(self.training_plan)

    def faults(self, project: str, drift: bool, sample_share: float) -> Iterator[FieldViolation]:
        """What cannot work. `drift`: whether it is looked for at all."""
        if not self.configured:
            return
        for name, form in _REFERS.items():
            value = getattr(self, name)
            if not form.matches(value):
                yield FieldViolation(f"endpoint.loop.{name}", f"must have the form {form.template}")
            elif form.parse(value)["project"] != project:
                yield FieldViolation(f"endpoint.loop.{name}", f"must be of the endpoint's project, {project}")
        limits = (
            ("min_corrections", self.min_corrections, 0, 1_000_000),
            ("min_new_records", self.min_new_records, 0, 1_000_000_000),
            ("every", self.every_seconds, 0, _YEAR),
            ("budget.runs", self.budget.runs, 1, 10_000),
            ("budget.training_time", self.budget.training_seconds, 1, _YEAR),
            ("budget.period", self.budget.period_seconds, 1, _YEAR),
            ("cool_down", self.cool_down_seconds, 0, _YEAR),
            ("stage_timeout", self.stage_timeout_seconds, 1, _YEAR),
        )
        for path, number, least, most in limits:
            if not least <= number <= most:
                text = f"must be between {least:g} and {most:g}, not {number:g}"
                yield FieldViolation(f"endpoint.loop.{path}", text)
        if self.on_drift and not drift:
            text = "needs something to look at: set watching.drift.window or watching.evaluate_every"
            yield FieldViolation("endpoint.loop.on_drift", text)
        if self.min_corrections and not sample_share:
            text = "needs the questions that were asked: set watching.sample_share above 0"
            yield FieldViolation("endpoint.loop.min_corrections", text)


@dataclass(frozen=True, slots=True)
class Adaptation:
    """One turn of the loop."""

    name: str
    endpoint: str
    project: str
    state: AdaptationState
    trigger: Trigger
    cause: str
    run: str
    generation: int
    corrections: int
    curation: str
    live_version: str
    model_version: str
    revision: str
    reason: str
    message: str
    training_time: datetime | None
    """When training was asked for."""
    training_seconds: float
    stage_time: datetime
    create_time: datetime
    end_time: datetime | None
    snapshot: str = ""
    """Where ingestion said that nothing came in since this one."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What triggers are judged by."""

    drift: str
    """What drifted since the last adaptation began, in a sentence, or ""."""
    corrections: int
    new_records: int
    last_begin: datetime | None
    last_end: datetime | None
    live_since: datetime
    runs_used: int
    """Adaptations of this period that came to training: what ended before it cost nothing."""
    training_seconds_used: float


def cause(spec: LoopSpec, facts: Facts, now: datetime) -> tuple[Trigger, str] | None:
    """What asks for an adaptation now, and its numbers."""
    if spec.on_drift and facts.drift:
        return Trigger.DRIFT, facts.drift
    if spec.min_corrections and facts.corrections >= spec.min_corrections:
        text = f"users corrected {facts.corrections} answers, {spec.min_corrections} are enough"
        return Trigger.CORRECTIONS, text
    if spec.min_new_records and facts.new_records >= spec.min_new_records:
        text = f"there are {facts.new_records} new training records, {spec.min_new_records} are enough"
        return Trigger.NEW_RECORDS, text
    since = max(filter(None, (facts.last_begin, facts.live_since)))
    if spec.every_seconds and (now - since).total_seconds() >= spec.every_seconds:
        return Trigger.SCHEDULE, f"{(now - since).total_seconds():.0f} s have passed since the last one"
    return None


def held(spec: LoopSpec, facts: Facts, now: datetime) -> tuple[str, str]:
    """Why an adaptation must wait though something asks for it: reason and sentence, or two empty ones."""
    budget = spec.budget
    if facts.runs_used >= budget.runs:
        return "BUDGET_RUNS", (
            f"{facts.runs_used} adaptations ran within {budget.period_seconds:.0f} s,"
            f" {budget.runs} are allowed"
        )
    if facts.training_seconds_used >= budget.training_seconds:
        return "BUDGET_TRAINING_TIME", (
            f"training took {facts.training_seconds_used:.0f} s within {budget.period_seconds:.0f} s,"
            f" {budget.training_seconds:.0f} s are allowed"
        )
    until = cool_down_until(spec, facts.last_end)
    if until is not None and now < until:
        return "COOL_DOWN", f"the last one ended {(now - (facts.last_end or now)).total_seconds():.0f} s ago"
    return "", ""


def given_back(recent: Sequence[Adaptation]) -> int:
    """Corrections that the last adaptations took and then failed with: they still ask for a model.

    Args:
        recent: oldest first.
    """
    count = 0
    for each in reversed(recent):
        if each.state is not AdaptationState.FAILED or each.reason == NOTHING_NEW:
            break
        count += each.corrections
    return count


def cool_down_until(spec: LoopSpec, last_end: datetime | None) -> datetime | None:
    """No adaptation begins by itself before."""
    return None if last_end is None else last_end + timedelta(seconds=spec.cool_down_seconds)
