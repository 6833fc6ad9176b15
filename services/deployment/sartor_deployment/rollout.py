"""What a rollout is told and what it decides by: canary steps, stop rules, approval, smoke prompts. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from sartor_platform.errors import FieldViolation


class Approval(StrEnum):
    """When a person is asked."""

    NONE = "NONE"
    BEFORE_CANARY = "BEFORE_CANARY"
    BEFORE_PROMOTION = "BEFORE_PROMOTION"


class DecisionKind(StrEnum):
    """What a decision was."""

    PARITY_PASSED = "PARITY_PASSED"
    SMOKE_PASSED = "SMOKE_PASSED"
    SHADOW_STARTED = "SHADOW_STARTED"
    SHADOW_PASSED = "SHADOW_PASSED"
    CANARY_STARTED = "CANARY_STARTED"
    CANARY_STEP = "CANARY_STEP"
    APPROVAL_ASKED = "APPROVAL_ASKED"
    APPROVED = "APPROVED"
    PROMOTED = "PROMOTED"
    REJECTED = "REJECTED"
    ROLLED_BACK = "ROLLED_BACK"
    DRIFT_FOUND = "DRIFT_FOUND"
    ADAPTATION_BEGUN = "ADAPTATION_BEGUN"
    ADAPTATION_HELD = "ADAPTATION_HELD"
    ADAPTATION_ADVANCED = "ADAPTATION_ADVANCED"
    ADAPTATION_PROMOTED = "ADAPTATION_PROMOTED"
    ADAPTATION_ENDED = "ADAPTATION_ENDED"
    LOOP_PAUSED = "LOOP_PAUSED"
    LOOP_RESUMED = "LOOP_RESUMED"
    EVALUATED_AGAIN = "EVALUATED_AGAIN"
    WEIGHTS_FORM_CHOSEN = "WEIGHTS_FORM_CHOSEN"


@dataclass(frozen=True, slots=True)
class SmokePrompt:
    """A prompt whose answer is looked at before any user is served."""

    prompt: str
    expect: tuple[str, ...] = ()
    forbid: tuple[str, ...] = ()

    def fault(self, answer: str) -> str:
        """What is wrong with an answer, or ""."""
        said = answer.casefold()
        if not said.strip():
            return "the answer is empty"
        missing = [word for word in self.expect if word.casefold() not in said]
        if missing:
            return f"the answer lacks {missing[0]!r}"
        wrong = [word for word in self.forbid if word.casefold() in said]
        return f"the answer holds {wrong[0]!r}" if wrong else ""


@dataclass(frozen=True, slots=True)
class Canary:
    """Percent of the traffic step by step. No steps: no canary."""

    steps: tuple[int, ...] = ()
    step_seconds: float = 300.0
    min_requests: int = 50
    patience_seconds: float = 3600.0


@dataclass(frozen=True, slots=True)
class Shadow:
    """Copies of users' requests, whose answers nobody sees. `share` 0: none."""

    share: float = 0.0
    seconds: float = 300.0
    min_requests: int = 50
    patience_seconds: float = 3600.0
    min_agreement: float = 0.0


@dataclass(frozen=True, slots=True)
class StopRules:
    """By how much the new revision may be worse than the other one before it is taken back."""

    max_error_increase: float = 0.02
    max_latency_ratio: float = 2.0
    max_feedback_drop: float = 0.1
    min_feedback: int = 20


@dataclass(frozen=True, slots=True)
class RolloutSpec:
    """The way of a revision from its parity check to all users."""

    smoke_prompts: tuple[SmokePrompt, ...] = ()
    canary: Canary = field(default_factory=Canary)
    stop: StopRules = field(default_factory=StopRules)
    approval: Approval = Approval.NONE
    watch_seconds: float = 0.0
    shadow: Shadow = field(default_factory=Shadow)

    def to_json(self) -> dict[str, Any]:
        """As the order keeps it."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RolloutSpec:
        """From an order; what is not there has its default."""
        canary = dict(value.get("canary", {}))
        return cls(
            tuple(
                SmokePrompt(each["prompt"], tuple(each["expect"]), tuple(each["forbid"]))
                for each in value.get("smoke_prompts", ())
            ),
            Canary(**{**canary, "steps": tuple(canary.get("steps", ()))}),
            StopRules(**value.get("stop", {})),
            Approval(value.get("approval", "NONE")),
            value.get("watch_seconds", 0.0),
            Shadow(**value.get("shadow", {})),
        )

    def faults(self) -> Iterator[FieldViolation]:
        """What cannot work."""
        steps = self.canary.steps
        if any(not 1 <= step <= 99 for step in steps) or list(steps) != sorted(set(steps)):
            yield FieldViolation("endpoint.rollout.canary.steps", "must rise, each from 1 to 99 percent")
        limits = (
            ("canary.step_time", self.canary.step_seconds, 0.1, 7 * 86400),
            ("canary.min_requests", self.canary.min_requests, 1, 1_000_000),
            ("canary.patience", self.canary.patience_seconds, self.canary.step_seconds, 30 * 86400),
            ("shadow.share", self.shadow.share, 0, 1),
            ("shadow.time", self.shadow.seconds, 0.1, 7 * 86400),
            ("shadow.min_requests", self.shadow.min_requests, 1, 1_000_000),
            ("shadow.patience", self.shadow.patience_seconds, self.shadow.seconds, 30 * 86400),
            ("shadow.min_agreement", self.shadow.min_agreement, 0, 1),
            ("stop.max_error_increase", self.stop.max_error_increase, 0.0001, 1),
            ("stop.max_latency_ratio", self.stop.max_latency_ratio, 1.01, 1000),
            ("stop.max_feedback_drop", self.stop.max_feedback_drop, 0.0001, 1),
            ("stop.min_feedback", self.stop.min_feedback, 1, 1_000_000),
            ("watch", self.watch_seconds, 0, 7 * 86400),
        )
        for path, value, least, most in limits:
            if not least <= value <= most:
                yield FieldViolation(
                    f"endpoint.rollout.{path}", f"must be between {least:g} and {most:g}, not {value:g}"
                )
        for number, smoke in enumerate(self.smoke_prompts):
            if not smoke.prompt.strip():
                yield FieldViolation(f"endpoint.rollout.smoke_prompts[{number}].prompt", "must not be empty")


class Figures(Protocol):
    """What the rules compare of one revision."""

    @property
    def requests(self) -> int: ...
    @property
    def errors(self) -> int: ...
    @property
    def error_rate(self) -> float: ...
    @property
    def latency_p95_ms(self) -> float: ...
    @property
    def feedback_count(self) -> int: ...
    @property
    def feedback_mean(self) -> float: ...
    @property
    def agreement_count(self) -> int: ...
    @property
    def agreement_mean(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """`stop` is the reason to take it back, or ""."""

    stop: str
    message: str
    figures: Mapping[str, float]


_EARLY_ERRORS = 5
_FEWEST_FOR_LATENCY = 20


def judge(new: Figures, other: Figures, rules: StopRules, min_requests: int) -> Verdict:
    """Whether the new revision must be taken back, by what both answered in the same time.

    Args:
        other: may be without requests.
        min_requests: what the new one must have answered before its error rate and latency count. Before that
            only a plain failure does: five errors that are at least half of its answers.
    """
    figures = {
        "requests": float(new.requests),
        "error_rate": new.error_rate,
        "latency_p95_ms": new.latency_p95_ms,
        "feedback_mean": new.feedback_mean,
        "feedback_count": float(new.feedback_count),
        "other_requests": float(other.requests),
        "other_error_rate": other.error_rate,
        "other_latency_p95_ms": other.latency_p95_ms,
        "other_feedback_mean": other.feedback_mean,
    }
    enough = new.requests >= min_requests
    increase = new.error_rate - other.error_rate
    early = new.errors >= _EARLY_ERRORS and new.error_rate >= 0.5
    if (enough or early) and increase > rules.max_error_increase:
        return Verdict(
            "ERRORS",
            f"{new.error_rate:.1%} of {new.requests} requests failed, {other.error_rate:.1%} at the other"
            f" revision; allowed are {rules.max_error_increase:.1%} more",
            figures,
        )
    compared = other.requests >= _FEWEST_FOR_LATENCY and other.latency_p95_ms > 0
    if enough and new.requests >= _FEWEST_FOR_LATENCY and compared:
        ratio = new.latency_p95_ms / other.latency_p95_ms
        figures["latency_ratio"] = ratio
        if ratio > rules.max_latency_ratio:
            return Verdict(
                "LATENCY",
                f"95 % of requests take up to {new.latency_p95_ms:.0f} ms, {ratio:.2f} times the other"
                f" revision's {other.latency_p95_ms:.0f} ms; allowed are {rules.max_latency_ratio:g} times",
                figures,
            )
    drop = other.feedback_mean - new.feedback_mean
    if min(new.feedback_count, other.feedback_count) >= rules.min_feedback and drop > rules.max_feedback_drop:
        return Verdict(
            "FEEDBACK",
            f"mean feedback {new.feedback_mean:.2f} of {new.feedback_count} scores, {other.feedback_mean:.2f}"
            f" at the other revision; allowed is a drop of {rules.max_feedback_drop:g}",
            figures,
        )
    return Verdict("", "no stop rule applies", figures)


def lacks_feedback(new: Figures, other: Figures, rules: StopRules) -> bool:
    """Whether users score answers, but not yet enough of both revisions for the rule that goes by scores."""
    fewest = min(new.feedback_count, other.feedback_count)
    return max(new.feedback_count, other.feedback_count) > 0 and fewest < rules.min_feedback


def judge_shadow(new: Figures, other: Figures, rules: StopRules, shadow: Shadow) -> Verdict:
    """Whether a revision must be stopped by what it said in the shadow of the live one."""
    verdict = judge(new, other, rules, shadow.min_requests)
    figures = {
        **verdict.figures,
        "agreement_mean": new.agreement_mean,
        "agreement_count": float(new.agreement_count),
    }
    enough = new.agreement_count >= shadow.min_requests
    if not verdict.stop and enough and new.agreement_mean < shadow.min_agreement:
        return Verdict(
            "AGREEMENT",
            f"mean agreement of {new.agreement_count} answers with those that users got is"
            f" {new.agreement_mean:.2f} (F1 of their words); at least {shadow.min_agreement:g} is asked for",
            figures,
        )
    return Verdict(verdict.stop, verdict.message, figures)
