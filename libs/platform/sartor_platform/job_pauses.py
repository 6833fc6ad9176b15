"""Pausing a job and letting it go on: its worker loses the lease, so the device is free at once."""

from __future__ import annotations

from sqlalchemy import text

from sartor_platform.transaction import Transaction

_PAUSE = text(
    "UPDATE jobs SET state = 'PAUSED', attempt = attempt - CASE state WHEN 'RUNNING' THEN 1 ELSE 0 END,"
    " lease_token = NULL, lease_owner = NULL, lease_until = NULL, update_time = now()"
    " WHERE resource = :resource AND state IN ('QUEUED', 'RUNNING') RETURNING id"
)
_RESUME = text(
    "UPDATE jobs SET state = 'QUEUED', not_before = NULL, update_time = now()"
    " WHERE resource = :resource AND state = 'PAUSED' RETURNING id"
)


def pause(tx: Transaction, resource: str) -> bool:
    """Stop the resource's job until it is resumed; False where none waits or runs.

    The running attempt is not counted. Its child ends as soon as its worker has heard, and whatever it still
    tries to hand in is refused.
    """
    paused = tx.connection.execute(_PAUSE, {"resource": resource}).scalars().all()
    for job in paused:
        tx.wake(f"cancel:{job}")  # the lease keeper looks again, and finds that it holds nothing
    if paused:
        tx.notify(resource)
    return bool(paused)


def resume(tx: Transaction, resource: str) -> bool:
    """Let the resource's paused job be claimed again; False where none is paused."""
    resumed = tx.connection.execute(_RESUME, {"resource": resource}).scalars().all()
    if resumed:
        tx.wake("jobs")
        tx.notify(resource)
    return bool(resumed)
