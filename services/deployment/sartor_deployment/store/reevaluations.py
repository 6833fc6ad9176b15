"""What is live, evaluated again on newer items: what was asked and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sartor_platform.transaction import Transaction
from sqlalchemy import Connection, text

_READ = (
    "SELECT run, endpoint, revision, model_version, curation, passed, message, request_time, end_time"
    " FROM reevaluations"
)


@dataclass(frozen=True, slots=True)
class Reevaluation:
    """One; `passed` is None until a gate has judged, or where it failed."""

    run: str
    endpoint: str
    revision: str
    model_version: str
    curation: str
    passed: bool | None
    message: str
    request_time: datetime
    end_time: datetime | None


def insert_reevaluation(tx: Transaction, asked: Reevaluation) -> None:
    """Write down that one was asked for."""
    tx.connection.execute(
        text(
            "INSERT INTO reevaluations (run, endpoint, revision, model_version, curation, request_time)"
            " VALUES (:run, :endpoint, :revision, :model_version, :curation, :request_time)"
        ),
        {
            "run": asked.run,
            "endpoint": asked.endpoint,
            "revision": asked.revision,
            "model_version": asked.model_version,
            "curation": asked.curation,
            "request_time": asked.request_time,
        },
    )


def last_reevaluation(connection: Connection, revision: str) -> Reevaluation | None:
    """The newest of a revision."""
    query = f"{_READ} WHERE revision = :revision ORDER BY request_time DESC LIMIT 1"
    return _one(connection, query, revision=revision)


def reevaluation(connection: Connection, run: str) -> Reevaluation | None:
    """The one of this run, locked."""
    return _one(connection, f"{_READ} WHERE run = :run FOR UPDATE", run=run)


def failed_since(connection: Connection, revision: str, since: datetime | None) -> Reevaluation | None:
    """The newest of a revision that a gate did not pass, if it ended since then."""
    query = (
        f"{_READ} WHERE revision = :revision AND NOT passed"
        " AND end_time > coalesce(cast(:since AS timestamptz), '-infinity') ORDER BY end_time DESC LIMIT 1"
    )
    return _one(connection, query, revision=revision, since=since)


def end_reevaluation(tx: Transaction, run: str, passed: bool | None, message: str) -> None:
    """A gate judged, or it failed. Of several gates one that does not pass counts."""
    tx.connection.execute(
        text(
            "UPDATE reevaluations SET passed = coalesce(passed AND :passed, :passed), message = :message,"
            " end_time = :now WHERE run = :run AND passed IS NOT FALSE"
        ),
        {"run": run, "passed": passed, "message": message, "now": tx.now},
    )


def _one(connection: Connection, query: str, **values: Any) -> Reevaluation | None:
    row = connection.execute(text(query), values).one_or_none()
    return None if row is None else Reevaluation(*row)
