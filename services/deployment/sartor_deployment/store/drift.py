"""Windows of sampled requests that are compared with those the live revision met first."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sartor_platform import listing
from sartor_platform.transaction import Transaction
from sqlalchemy import Connection, column, select, table, text

_COLUMNS = (
    "name", "endpoint", "revision", "number", "reference_requests", "window_requests", "start_time",
    "end_time", "end_id", "after_time", "after_id", "embedding", "findings", "found", "looked", "error",
    "create_time",
)  # fmt: skip
_TABLE = table("drift_windows", *(column(name) for name in _COLUMNS))
_SAMPLED = (
    "SELECT id, create_time, question, answer FROM gateway_requests"
    " WHERE revision = :revision AND question IS NOT NULL AND create_time >= :since"
    " AND NOT on_device"  # known only where somebody corrected it: no sample of what users ask
)


@dataclass(frozen=True, slots=True)
class SampledRow:
    """A request with its text, masked."""

    id: str
    create_time: datetime
    question: Any
    answer: str


@dataclass(frozen=True, slots=True)
class DriftWindow:
    """A window, and what was found in it once it was looked at."""

    name: str
    endpoint: str
    revision: str
    number: int
    reference_requests: int
    window_requests: int
    start_time: datetime
    end_time: datetime
    end_id: str
    after_time: datetime
    """The request before its first one. Feedback since then counts to the window."""
    after_id: str
    embedding: str = ""
    findings: tuple[Mapping[str, Any], ...] = ()
    found: bool = False
    looked: bool = False
    error: str = ""


def first_samples(connection: Connection, revision: str, since: datetime, count: int) -> list[SampledRow]:
    """The first requests that a revision answered since then, of those that are kept."""
    query = text(f"{_SAMPLED} ORDER BY create_time, id LIMIT :count")
    return _rows(connection, query, revision=revision, since=since, count=count)


def samples_after(
    connection: Connection, revision: str, time: datetime, id_: str, count: int
) -> list[SampledRow]:
    """The next requests after one."""
    query = text(f"{_SAMPLED} AND (create_time, id) > (:since, :id) ORDER BY create_time, id LIMIT :count")
    return _rows(connection, query, revision=revision, since=time, id=id_, count=count)


def scores(
    connection: Connection, revision: str, since: datetime, until: datetime, count: int = 100_000
) -> list[float]:
    """Users' scores of the gateway's answers of a revision, given in that span; the first `count`."""
    query = text(
        "SELECT score FROM feedback WHERE revision = :revision AND score IS NOT NULL"
        " AND NOT on_device AND create_time >= :since AND create_time < :until"
        " ORDER BY create_time, id LIMIT :count"
    )
    span = {"revision": revision, "since": since, "until": until, "count": count}
    return [float(row.score) for row in connection.execute(query, span)]


def insert_drift_window(tx: Transaction, window: DriftWindow) -> None:
    """Add one that is to be looked at."""
    values = {name: getattr(window, name) for name in _COLUMNS[:11]}
    tx.connection.execute(_TABLE.insert(), values)


def last_drift_window(connection: Connection, revision: str) -> DriftWindow | None:
    """The newest of a revision."""
    query = select(*_TABLE.c).where(_TABLE.c.revision == revision).order_by(_TABLE.c.number.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    return None if row is None else _window(row)


def drift_window(connection: Connection, name: str) -> DriftWindow:
    """The one of this name."""
    return _window(connection.execute(select(*_TABLE.c).where(_TABLE.c.name == name)).one())


def looked_at(
    tx: Transaction,
    window: DriftWindow,
    findings: Sequence[Mapping[str, Any]],
    *,
    embedding: str = "",
    error: str = "",
) -> None:
    """Keep what was found."""
    tx.connection.execute(
        text(
            "UPDATE drift_windows SET findings = cast(:findings AS jsonb), found = :found, looked = true,"
            " embedding = :embedding, error = :error WHERE name = :name"
        ),
        {
            "findings": json.dumps([dict(each) for each in findings]),
            "found": any(each["found"] for each in findings),
            "embedding": embedding,
            "error": error,
            "name": window.name,
        },
    )
    tx.notify(window.endpoint)


def drift_since(connection: Connection, revision: str, since: datetime | None) -> DriftWindow | None:
    """The newest window of a revision in which something drifted, if it ended since then."""
    query = select(*_TABLE.c).where(_TABLE.c.revision == revision, _TABLE.c.found)
    if since is not None:
        query = query.where(_TABLE.c.end_time > since)
    row = connection.execute(query.order_by(_TABLE.c.number.desc()).limit(1)).one_or_none()
    return None if row is None else _window(row)


def forget_examples(tx: Transaction, endpoint: str, before: datetime) -> None:
    """Take the users' questions out of the findings of windows that ended before that time."""
    tx.connection.execute(
        text(
            "UPDATE drift_windows SET findings = (SELECT jsonb_agg(each || '{\"examples\": []}')"
            " FROM jsonb_array_elements(findings) AS each)"
            " WHERE endpoint = :endpoint AND end_time < :before AND findings @? '$[*].examples[*]'"
        ),
        {"endpoint": endpoint, "before": before},
    )


def list_drift_windows(
    connection: Connection, endpoint: str, *, page_size: int, page_token: str
) -> tuple[list[DriftWindow], str]:
    """An endpoint's, newest first."""
    rows, token = listing.page(
        connection,
        select(*_TABLE.c).where(_TABLE.c.endpoint == endpoint),
        order=[_TABLE.c.create_time, _TABLE.c.name],
        page_size=page_size,
        page_token=page_token,
        descending=True,
    )
    return [_window(row) for row in rows], token


def _rows(connection: Connection, query: Any, **values: Any) -> list[SampledRow]:
    return [
        SampledRow(row.id, row.create_time, row.question, row.answer or "")
        for row in connection.execute(query, values)
    ]


def _window(row: Any) -> DriftWindow:
    values = {name: getattr(row, name) for name in _COLUMNS[:16]}
    return DriftWindow(**{**values, "findings": tuple(row.findings)})
