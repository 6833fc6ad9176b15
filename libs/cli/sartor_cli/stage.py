"""One stage of a run: a snapshot, a job, a gate or a deployment, as one row that people understand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from sartor.common.v1.job_status_pb2 import JobStatus

from sartor_cli.output import last
from sartor_cli.words import revision_word, state_word


class StageState(StrEnum):
    """Where one stage of a run stands."""

    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    NOT_REACHED = "not reached"

    @property
    def ended(self) -> bool:
        return self in (StageState.SUCCEEDED, StageState.FAILED, StageState.NOT_REACHED)


@dataclass(frozen=True, slots=True)
class Stage:
    """One row of a run."""

    title: str
    state: StageState
    resource: str = ""
    fraction: float = 0.0
    eta_seconds: float | None = None
    took_seconds: float | None = None
    doing: str = ""
    message: str = ""
    """What it does now in a sentence, figures included; shown instead of `doing` and `figures`."""
    figures: Mapping[str, float] = field(default_factory=dict)
    outcome: str = ""
    error: str = ""


def unstarted_stage(title: str, reached: bool) -> Stage:
    return Stage(title, StageState.WAITING if reached else StageState.NOT_REACHED)


_STATES = {
    "queued": StageState.QUEUED,
    "running": StageState.RUNNING,
    "paused": StageState.QUEUED,
    "cancelling": StageState.RUNNING,
    "succeeded": StageState.SUCCEEDED,
    "failed": StageState.FAILED,
    "cancelled": StageState.FAILED,
}


def job_stage(title: str, resource: str, job: JobStatus, outcome: str = "") -> Stage:
    """The row of a resource that stands for one job."""
    word = state_word(job.state)
    progress = job.progress
    took: float | None = None
    if job.HasField("start_time") and job.HasField("end_time"):
        took = job.end_time.ToMicroseconds() / 1e6 - job.start_time.ToMicroseconds() / 1e6
    error = f"{job.error.reason}: {job.error.message}" if job.error.reason else word
    return Stage(
        title,
        _STATES.get(word, StageState.WAITING),
        resource,
        progress.fraction,
        progress.eta.seconds + progress.eta.nanos / 1e9 if progress.HasField("eta") else None,
        took,
        progress.stage,
        progress.message,
        dict(progress.figures),
        outcome if word == "succeeded" else "",
        error if word in ("failed", "cancelled") else "",
    )


def resource_stage(title: str, resource: Any | None, reached: bool) -> Stage:
    if resource is None:
        return unstarted_stage(title, reached)
    return job_stage(title, resource.name, resource.job)


def snapshot_stage(snapshot: Any) -> Stage:
    counts = {
        "new": snapshot.added_count,
        "superseded": snapshot.superseded_count,
        "withdrawn": snapshot.withdrawn_count,
        "rejected": snapshot.rejected_count,
    }
    changes = ", ".join(f"{count:,} {word}" for word, count in counts.items() if count)
    outcome = f"{snapshot.record_count:,} records" + (f" ({changes})" if changes else "")
    return Stage("snapshot", StageState.SUCCEEDED, snapshot.name, 1.0, outcome=outcome)


def base_model_stage(base: Any) -> Stage:
    outcome = f"{last(base.name)}, {base.parameter_count / 1e6:,.0f} M parameters"
    return job_stage("base model", base.name, base.job, outcome)


def curation_stage(title: str, curation: Any | None) -> Stage:
    if curation is None:
        return unstarted_stage(title, reached=True)
    splits = ", ".join(f"{count:,} {split}" for split, count in sorted(curation.kept_by_split.items()))
    outcome = (
        f"kept {curation.kept_count:,} of {curation.input_count:,} ({splits}), "
        f"{curation.training_tokens:,} training tokens"
    )
    return job_stage(title, curation.name, curation.job, outcome)


def gate_stage(title: str, evaluation: Any | None, reached: bool) -> Stage:
    if evaluation is None or not evaluation.HasField("verdict"):
        return unstarted_stage(title, reached)
    verdict = evaluation.verdict
    passed = sum(rule.passed for rule in verdict.rules)
    if verdict.passed:
        outcome = f"all {passed} rules passed"
        return Stage(title, StageState.SUCCEEDED, evaluation.gate, 1.0, outcome=outcome)
    broken = "; ".join(rule.explanation or rule.rule.metric for rule in verdict.rules if not rule.passed)
    return Stage(title, StageState.FAILED, evaluation.gate, 1.0, error=f"rejected: {broken}")


def deployment_stage(title: str, revision: Any | None, endpoint: Any, reached: bool) -> Stage:
    if revision is None:
        return unstarted_stage(title, reached)
    word = revision_word(revision.state)
    row = job_stage(title, revision.name, revision.job)
    if word in ("live", "superseded", "rolled back"):
        parity = revision.parity
        outcome = f"{word} at {endpoint.url or endpoint.name}; parity {parity.top1_agreement:.1%} same token"
        return replace(
            row, state=StageState.SUCCEEDED, fraction=1.0, eta_seconds=None, outcome=outcome, error=""
        )
    if word == "rejected":
        reason = f"{revision.error.reason}: {revision.error.message}" if revision.error.reason else row.error
        return Stage(title, StageState.FAILED, revision.name, row.fraction, error=reason or "rejected")
    doing = row.message or row.doing
    doing = f"{word}: {doing}" if doing else word
    return replace(row, state=StageState.RUNNING, took_seconds=None, message="", doing=doing)
