"""Jobs as everybody sees them: the row, its state and its progress.

Claiming and finishing is in job_leases.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, text

if TYPE_CHECKING:
    from sartor.common.v1.job_status_pb2 import JobStatus

UNFINISHED = ("QUEUED", "RUNNING", "PAUSED", "CANCELLING")
COLUMNS = (
    "id, kind, resource, project, run, generation, revision, parent, payload, priority, requirements,"
    " state, attempt, progress, error_reason, error_message, not_before, deadline, traceparent,"
    " create_time, update_time, start_time, end_time"
)


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work. `attempt` counts from 1; 0 before the first claim."""

    id: str
    kind: str
    resource: str
    project: str
    run: str
    generation: int
    revision: int
    parent: str
    payload: Mapping[str, Any]
    priority: int
    requirements: Mapping[str, Any]
    state: str
    attempt: int
    progress: Mapping[str, Any]
    error_reason: str
    error_message: str
    not_before: datetime | None
    deadline: datetime | None
    traceparent: str
    create_time: datetime
    update_time: datetime
    start_time: datetime | None
    end_time: datetime | None

    @property
    def finished(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.state not in UNFINISHED


def job_of(connection: Connection, resource: str) -> Job | None:
    """The latest job of a resource."""
    return jobs_of(connection, [resource]).get(resource)


def jobs_of(connection: Connection, resources: Sequence[str]) -> dict[str, Job]:
    """The latest job of each of these resources, by resource name."""
    if not resources:
        return {}
    rows = connection.execute(
        text(
            f"SELECT DISTINCT ON (resource) {COLUMNS} FROM jobs"  # noqa: S608 - only our own column names
            " WHERE resource = ANY(:resources) ORDER BY resource, create_time DESC, id DESC"
        ),
        {"resources": list(resources)},
    )
    return {row.resource: Job(*row) for row in rows}


def job_status(job: Job | None) -> JobStatus:
    """The job as the public API shows it; an empty status where there is none."""
    from sartor.common.v1.job_status_pb2 import JobState, JobStatus

    if job is None:
        return JobStatus()
    status = JobStatus(state=JobState.Value(f"JOB_STATE_{job.state}"), attempt=job.attempt)
    progress = job.progress
    if progress:
        status.progress.stage = progress.get("stage", "")
        status.progress.fraction = progress.get("fraction", 0.0)
        status.progress.message = progress.get("message", "")
        status.progress.figures.update(progress.get("figures", {}))
        if progress.get("eta_seconds") is not None:
            status.progress.eta.FromNanoseconds(int(progress["eta_seconds"] * 1e9))
    if job.error_reason and job.state == "FAILED":
        status.error.reason = job.error_reason
        status.error.message = job.error_message
    if job.start_time is not None:
        status.start_time.FromDatetime(job.start_time)
    if job.end_time is not None:
        status.end_time.FromDatetime(job.end_time)
    return status
