"""The worker's side of the jobs table: claim under a lease, renew, report, finish.

A stale lease changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from sartor_platform import fault_points
from sartor_platform.jobs import COLUMNS, Job
from sartor_platform.names import new_id
from sartor_platform.transaction import Transaction
from sartor_platform.worker_identity import surely_dead

_RETURNING = "j." + COLUMNS.replace(", ", ", j.")

# One row: highest priority, then the project with the fewest running jobs, then the one whose turn is longest
# ago, then the oldest. A row whose lease ran out is as good as a queued one. Nothing here reads the whole
# queue: it steps from one (project, kind, device) to the next in the index jobs_queue and takes the first few
# of each, so that ten thousand jobs of one project cost no more than ten.
_DEVICE = "coalesce({}requirements ->> 'device', 'cpu')"
_LANE = f"project, kind, ({_DEVICE.format('')})"
_HEADS = 32
_CLAIM = text(
    f"""
    WITH RECURSIVE lanes (project, kind, device) AS (
        (SELECT {_LANE} FROM jobs WHERE state = 'QUEUED' ORDER BY {_LANE} LIMIT 1)
        UNION ALL
        SELECT following.* FROM lanes, LATERAL (
            SELECT {_LANE} FROM jobs
            WHERE state = 'QUEUED' AND ({_LANE}) > (lanes.project, lanes.kind, lanes.device)
            ORDER BY {_LANE} LIMIT 1) following),
    ready (id, project, priority, create_time) AS (
        SELECT head.* FROM lanes, LATERAL (
            SELECT h.id, h.project, h.priority, h.create_time FROM jobs h
            WHERE h.state = 'QUEUED' AND h.project = lanes.project AND h.kind = lanes.kind
              AND {_DEVICE.format("h.")} = lanes.device
              AND (h.not_before IS NULL OR h.not_before <= now())
              AND (h.deadline IS NULL OR h.deadline > now())
            ORDER BY h.priority DESC, h.create_time, h.id LIMIT {_HEADS}) head
        WHERE lanes.kind = ANY(:kinds) AND lanes.device = ANY(:devices)
        UNION ALL
        SELECT id, project, priority, create_time FROM jobs
        WHERE state = 'RUNNING' AND lease_until <= now() AND kind = ANY(:kinds)
          AND {_DEVICE.format("")} = ANY(:devices) AND (deadline IS NULL OR deadline > now())),
    projects AS (
        SELECT project,
          (SELECT count(*) FROM jobs b
           WHERE b.state = 'RUNNING' AND b.lease_until > now() AND b.project = p.project) AS running,
          (SELECT max(t.start_time) FROM jobs t
           WHERE t.project = p.project AND t.start_time IS NOT NULL) AS turn
        FROM (SELECT DISTINCT project FROM ready) p),
    next AS (
        SELECT c.id FROM jobs c JOIN ready USING (id) JOIN projects ON projects.project = ready.project
        WHERE c.state = 'QUEUED' OR c.state = 'RUNNING' AND c.lease_until <= now()
        ORDER BY ready.priority DESC, projects.running, projects.turn NULLS FIRST, ready.create_time, c.id
        LIMIT 1 FOR UPDATE OF c SKIP LOCKED)
    UPDATE jobs j SET state = 'RUNNING', attempt = j.attempt + 1, lease_token = :token, lease_owner = :owner,
        lease_until = now() + make_interval(secs => :lease_seconds),
        start_time = coalesce(j.start_time, now()), update_time = now()
    FROM next WHERE j.id = next.id
    RETURNING {_RETURNING}, now() - greatest(j.create_time, coalesce(j.not_before, j.create_time)) AS waited
    """  # noqa: S608 - only our own column names
)
_ABANDONED = text(
    f"""
    SELECT {_RETURNING} FROM jobs j WHERE j.kind = ANY(:kinds) AND
        (j.state = 'CANCELLING' AND (j.lease_until IS NULL OR j.lease_until <= now())
         OR j.state IN ('QUEUED', 'RUNNING') AND j.deadline <= now()
            AND (j.lease_until IS NULL OR j.lease_until <= now()))
    ORDER BY j.create_time LIMIT 1 FOR UPDATE SKIP LOCKED
    """  # noqa: S608 - only our own column names
)


class LeaseLost(Exception):
    """Another attempt holds the job now, or nobody does: what this one did is discarded."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one attempt to finish a job. `waited_seconds` is from when it could first be claimed."""

    job: Job
    token: str
    seconds: float
    waited_seconds: float


def claim(
    tx: Transaction, kinds: Mapping[str, float], *, owner: str, devices: Sequence[str] = ("cpu",)
) -> Lease | None:
    """Take the next job of these kinds (kind → lease seconds), or None if there is nothing to do."""
    token = new_id()
    # The lease of the kind is set in the same transaction: until then the longest of all holds.
    longest = max(kinds.values())
    values = {"kinds": list(kinds), "devices": list(devices), "token": token, "owner": owner}
    row = tx.connection.execute(_CLAIM, {**values, "lease_seconds": longest}).one_or_none()
    if row is None:
        return None
    *columns, waited = row
    job = Job(*columns)
    seconds = kinds[job.kind]
    if seconds != longest:
        renew(tx.connection, Lease(job, token, seconds, 0.0))
    tx.notify(job.resource)
    return Lease(job, token, seconds, max(waited.total_seconds(), 0.0))


def renew(connection: Connection, lease: Lease) -> str:
    """Hold on for another lease time. Returns the job's state: RUNNING, or CANCELLING.

    Raises:
        LeaseLost: another attempt has it.
    """
    state = connection.execute(
        text(
            "UPDATE jobs SET lease_until = now() + make_interval(secs => :seconds)"
            " WHERE id = :id AND lease_token = :token AND state IN ('RUNNING', 'CANCELLING') RETURNING state"
        ),
        {"id": lease.job.id, "token": lease.token, "seconds": lease.seconds},
    ).scalar_one_or_none()
    if state is None:
        raise LeaseLost(lease.job.id)
    return str(state)


def report(tx: Transaction, lease: Lease, progress: Mapping[str, Any]) -> None:
    """Show how far the attempt is; without effect once the lease is lost."""
    updated = tx.connection.execute(
        text(
            "UPDATE jobs SET progress = cast(:progress AS jsonb), update_time = now()"
            " WHERE id = :id AND lease_token = :token"
        ),
        {"id": lease.job.id, "token": lease.token, "progress": json.dumps(progress)},
    )
    if updated.rowcount:
        tx.notify(lease.job.resource)


def lock(tx: Transaction, lease: Lease) -> str:
    """Make sure this attempt may decide the job, until the end of the transaction. Returns the job's state.

    Raises:
        LeaseLost: the lease ran out and somebody else took the job, or finished it.
    """
    state = tx.connection.execute(
        text(
            "SELECT state FROM jobs WHERE id = :id AND lease_token = :token"
            " AND state IN ('RUNNING', 'CANCELLING') FOR UPDATE"
        ),
        {"id": lease.job.id, "token": lease.token},
    ).scalar_one_or_none()
    if state is None and not fault_points.switched_off(fault_points.LEASE_FENCE):
        raise LeaseLost(lease.job.id)
    return str(state)


def finish(
    tx: Transaction, job: Job, state: str, reason: str = "", message: str = "", winner_prefix: str = ""
) -> None:
    """Write the end of a job whose row is locked: SUCCEEDED, FAILED or CANCELLED.

    Args:
        winner_prefix: where the objects of the attempt that succeeded lie; what lies beside it is swept.
    """
    tx.connection.execute(
        text(
            "UPDATE jobs SET state = :state, error_reason = :reason, error_message = :message,"
            " end_time = now(), update_time = now(), winner_prefix = :winner_prefix,"
            " lease_token = NULL, lease_owner = NULL, lease_until = NULL,"
            " progress = progress || cast(:progress AS jsonb) WHERE id = :id"
        ),
        {
            "id": job.id,
            "state": state,
            "reason": reason,
            "message": message,
            "winner_prefix": winner_prefix,
            "progress": json.dumps({"fraction": 1.0, "eta_seconds": None} if state == "SUCCEEDED" else {}),
        },
    )
    tx.notify(job.resource)


def requeue(tx: Transaction, lease: Lease, *, after_seconds: float, counted: bool, message: str = "") -> None:
    """Give a locked job back, to be claimed again later; an attempt that is not counted never was.

    A cancellation that came in between stays: such a job is left CANCELLING without a lease.
    """
    tx.connection.execute(
        text(
            "UPDATE jobs SET state = CASE WHEN state = 'CANCELLING' THEN state ELSE 'QUEUED' END,"
            " attempt = attempt - :uncounted, lease_token = NULL, lease_owner = NULL, lease_until = NULL,"
            " not_before = now() + make_interval(secs => :after_seconds), update_time = now(),"
            " progress = progress || cast(:waiting AS jsonb) WHERE id = :id AND lease_token = :token"
        ),
        {
            "id": lease.job.id,
            "token": lease.token,
            "uncounted": 0 if counted else 1,
            "after_seconds": after_seconds,
            "waiting": json.dumps({"message": message}),
        },
    )
    tx.notify(lease.job.resource)


def abandoned(tx: Transaction, kinds: Sequence[str]) -> Job | None:
    """A job nobody works on that must end now: cancelled while queued or orphaned, or past its deadline.

    Locked.
    """
    row = tx.connection.execute(_ABANDONED, {"kinds": list(kinds)}).one_or_none()
    return None if row is None else Job(*row)


def release_dead(tx: Transaction, kinds: Sequence[str]) -> int:
    """End the leases of holders that are surely dead, so that their jobs need not wait. Returns how many."""
    holders = tx.connection.execute(
        text(
            "SELECT DISTINCT lease_owner FROM jobs WHERE kind = ANY(:kinds)"
            " AND state IN ('RUNNING', 'CANCELLING') AND lease_until > now()"
        ),
        {"kinds": list(kinds)},
    ).scalars()
    dead = [holder for holder in holders if holder and surely_dead(holder)]
    if not dead:
        return 0
    return tx.connection.execute(
        text(
            "UPDATE jobs SET lease_until = now() WHERE lease_owner = ANY(:dead)"
            " AND state IN ('RUNNING', 'CANCELLING')"
        ),
        {"dead": dead},
    ).rowcount


def queue_depths(connection: Connection) -> dict[tuple[str, str], int]:
    """How many unfinished jobs there are, by kind and state."""
    rows = connection.execute(
        text(
            "SELECT kind, state, count(*) FROM jobs"
            " WHERE state IN ('QUEUED', 'RUNNING', 'PAUSED', 'CANCELLING') GROUP BY kind, state"
        )
    )
    return {(kind, state): count for kind, state, count in rows}
