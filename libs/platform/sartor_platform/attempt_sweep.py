"""Sweeps the objects of attempts that did not win, some time after their job has ended.

An attempt writes under a prefix of its own, and the job's row names the winner's. What lies beside it is
removed, except what a row of the service names all the same, such as a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from sqlalchemy import Connection, text

from sartor_platform import log
from sartor_platform.errors import SartorError
from sartor_platform.runtime import Runtime

NamedObjects = Callable[[Connection, str], Collection[str]]
"""The URIs that the service's rows name under a prefix: `(connection, uri of the prefix)`."""

TICK_SECONDS = 60.0
_BATCH = 500


@dataclass(frozen=True, slots=True)
class _Ended:
    id: str
    resource: str
    state: str
    prefix: str
    winner_prefix: str


def nothing_named(_connection: Connection, _prefix: str) -> Collection[str]:
    """For services whose rows name objects of winners only."""
    return ()


def sweep(runtime: Runtime, named: NamedObjects, grace_seconds: float) -> int:
    """Remove what losing attempts of some ended jobs left. Returns how many objects went.

    May be repeated and run twice at a time: a job counts as swept when all of its litter is gone.
    """
    removed = 0
    for job in _ended(runtime, grace_seconds):
        try:
            count = _sweep_job(runtime, job, named)
        except SartorError as error:
            log.get().warning("attempts.not_swept", job=job.id, error=error.message)
            if error.transient:  # the store is away: the next tick goes on
                return removed
            continue
        with runtime.database.transaction() as tx:
            tx.connection.execute(text("UPDATE jobs SET sweep_time = now() WHERE id = :id"), {"id": job.id})
        if count:
            log.get().info("attempts.swept", job=job.id, resource=job.resource, objects=count)
        removed += count
    return removed


def _ended(runtime: Runtime, grace_seconds: float) -> list[_Ended]:
    with runtime.database.read() as connection:
        rows = connection.execute(
            text(
                "SELECT id, resource, state, project || '/' || kind || '/' || id || '/', winner_prefix"
                " FROM jobs WHERE end_time < now() - make_interval(secs => :grace) AND sweep_time IS NULL"
                " AND state IN ('SUCCEEDED', 'FAILED', 'CANCELLED') ORDER BY end_time LIMIT :most"
            ),
            {"grace": grace_seconds, "most": _BATCH},
        )
        return [_Ended(*row) for row in rows]


def _sweep_job(runtime: Runtime, job: _Ended, named: NamedObjects) -> int:
    if job.state == "SUCCEEDED" and not job.winner_prefix:
        return 0  # ended by a worker of an earlier release: nobody knows which attempt has won
    litter = [
        runtime.objects.uri(key)
        for key in runtime.objects.list_keys(job.prefix)
        if not (job.winner_prefix and key.startswith(job.winner_prefix))
    ]
    if not litter:
        return 0
    with runtime.database.read() as connection:
        kept = set(named(connection, runtime.objects.uri(job.prefix)))
    gone = [uri for uri in litter if uri not in kept]
    for uri in gone:
        runtime.objects.remove(uri)
    return len(gone)
