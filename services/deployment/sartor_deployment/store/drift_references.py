"""What windows are compared with, for as long as a revision is live: features of its first requests."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sartor_platform.transaction import Transaction
from sqlalchemy import Connection, text

_COLUMNS = (
    "revision, endpoint, requests, end_time, end_id, made_by, features IS NOT NULL AS taken, scores,"
    " scores_until, error, create_time"
)


@dataclass(frozen=True, slots=True)
class DriftReference:
    """One revision's, without its features.

    Args:
        end_time, end_id: of the last of its requests.
        taken: whether the features are there; a job makes them.
        scores: users' scores given until `scores_until`, as many as there are requests at most.
        error: why the job failed.
    """

    revision: str
    endpoint: str
    requests: int
    end_time: datetime
    end_id: str
    made_by: str
    taken: bool
    scores: tuple[float, ...]
    scores_until: datetime
    error: str
    create_time: datetime


def reference(connection: Connection, revision: str) -> DriftReference | None:
    """A revision's, once it was begun."""
    # The columns are written above.
    query = text(f"SELECT {_COLUMNS} FROM drift_references WHERE revision = :revision")  # noqa: S608
    row = connection.execute(query, {"revision": revision}).one_or_none()
    return None if row is None else DriftReference(**{**row._mapping, "scores": tuple(row.scores)})


def features(connection: Connection, revision: str) -> bytes:
    """What was kept."""
    query = text("SELECT features FROM drift_references WHERE revision = :revision")
    return bytes(connection.execute(query, {"revision": revision}).scalar_one())


def begin(
    tx: Transaction, revision: str, endpoint: str, requests: int, end: tuple[datetime, str], since: datetime
) -> None:
    """A job makes it, of the requests up to this one. Scores count since then."""
    tx.connection.execute(
        text(
            "INSERT INTO drift_references"
            " (revision, endpoint, requests, end_time, end_id, scores_until, create_time)"
            " VALUES (:revision, :endpoint, :requests, :end_time, :end_id, :since, :now)"
        ),
        {
            "revision": revision,
            "endpoint": endpoint,
            "requests": requests,
            "end_time": end[0],
            "end_id": end[1],
            "since": since,
            "now": tx.now,
        },
    )


def keep(tx: Transaction, revision: str, made_by: str, features: bytes) -> None:
    """Keep what the job made, where it is wanted still."""
    _update(tx, revision, made_by=made_by, features=features)


def keep_scores(tx: Transaction, revision: str, scores: tuple[float, ...], until: datetime) -> None:
    """Keep users' scores: feedback comes later than requests, and is deleted as they are."""
    _update(tx, revision, scores=json.dumps(scores), scores_until=until)


def fail(tx: Transaction, revision: str, error: str) -> None:
    """Keep why there is none."""
    _update(tx, revision, error=error)


def forget(tx: Transaction, revision: str) -> None:
    """Take a revision's away: it is made anew where it is wanted."""
    tx.connection.execute(
        text("DELETE FROM drift_references WHERE revision = :revision"), {"revision": revision}
    )


def forget_others(tx: Transaction, endpoint: str, live_revision: str) -> int:
    """Take away those of an endpoint's revisions that are not live. Returns how many."""
    query = text("DELETE FROM drift_references WHERE endpoint = :endpoint AND revision <> :revision")
    return int(tx.connection.execute(query, {"endpoint": endpoint, "revision": live_revision}).rowcount)


def _update(tx: Transaction, revision: str, **values: Any) -> None:
    sets = ", ".join(
        f"{key} = cast(:{key} AS jsonb)" if key == "scores" else f"{key} = :{key}" for key in values
    )
    # The columns are written in this file, never taken from outside.
    query = text(f"UPDATE drift_references SET {sets} WHERE revision = :revision")  # noqa: S608
    tx.connection.execute(query, {**values, "revision": revision})
