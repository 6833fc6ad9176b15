"""The loop's rows: its brake, its adaptations, and the corrected answers that wait for the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sartor_platform import listing
from sartor_platform.errors import NotFound
from sartor_platform.transaction import Transaction
from sqlalchemy import Connection, column, select, table, text

from sartor_deployment.loop import UNDER_WAY, Adaptation, AdaptationState, Trigger

_COLUMNS = tuple(field.name for field in fields(Adaptation))
_TABLE = table("adaptations", *(column(name) for name in _COLUMNS))
_UNDER_WAY = ", ".join(f"'{state}'" for state in UNDER_WAY)
_READ = f"SELECT {', '.join(_COLUMNS)} FROM adaptations"  # noqa: S608 - its columns are the class's fields
_LOOP = (
    "SELECT endpoint, paused_by, pause_message, pause_time, held_reason, held FROM loops"
    " WHERE endpoint = :endpoint"
)


@dataclass(frozen=True, slots=True)
class LoopRow:
    """The brake, and why the next adaptation waits."""

    endpoint: str
    paused_by: str
    pause_message: str
    pause_time: datetime | None
    held_reason: str
    held: str


@dataclass(frozen=True, slots=True)
class Correction:
    """What an answer should have been. `question` is the messages, masked."""

    id: str
    question: Any
    correction: str


def loop(connection: Connection, endpoint: str, *, lock: bool = False) -> LoopRow:
    """The loop's row; locked where asked for, and then it exists."""
    if lock:
        made = text("INSERT INTO loops (endpoint) VALUES (:endpoint) ON CONFLICT DO NOTHING")
        connection.execute(made, {"endpoint": endpoint})
    query = _LOOP + " FOR UPDATE" if lock else _LOOP
    row = connection.execute(text(query), {"endpoint": endpoint}).one_or_none()
    return LoopRow(endpoint, "", "", None, "", "") if row is None else LoopRow(*row)


def update_loop(tx: Transaction, endpoint: str, **values: Any) -> None:
    """Set columns of a loop, and wake who watches its endpoint."""
    sets = ", ".join(f"{key} = :{key}" for key in values)
    # The columns are written in this package, never taken from outside.
    query = text(f"UPDATE loops SET {sets} WHERE endpoint = :endpoint")  # noqa: S608
    tx.connection.execute(query, {**values, "endpoint": endpoint})
    tx.notify(endpoint)


def insert_adaptation(tx: Transaction, made: Adaptation) -> None:
    """Add it; one of an endpoint may be under way at a time."""
    values = {name: getattr(made, name) for name in _COLUMNS}
    tx.connection.execute(_TABLE.insert(), values)
    tx.notify(made.endpoint)


def update_adaptation(tx: Transaction, adaptation: Adaptation, **values: Any) -> None:
    """Set columns of an adaptation."""
    query = _TABLE.update().where(_TABLE.c.name == adaptation.name).values(**values)
    tx.connection.execute(query)
    tx.notify(adaptation.endpoint)


def current_adaptation(connection: Connection, endpoint: str, *, lock: bool = False) -> Adaptation | None:
    """The one that is under way."""
    query = f"{_READ} WHERE endpoint = :endpoint AND state IN ({_UNDER_WAY})"
    row = connection.execute(
        text(query + (" FOR UPDATE" if lock else "")), {"endpoint": endpoint}
    ).one_or_none()
    return None if row is None else _adaptation(row)


def adaptation_of_run(connection: Connection, run: str) -> Adaptation | None:
    """The one that is under way in this run; locked."""
    if not run:
        return None
    query = text(f"{_READ} WHERE run = :run AND state IN ({_UNDER_WAY}) FOR UPDATE")
    row = connection.execute(query, {"run": run}).one_or_none()
    return None if row is None else _adaptation(row)


def made_by_loop(connection: Connection, run: str) -> bool:
    """Whether a run is an adaptation's."""
    query = text("SELECT 1 FROM adaptations WHERE run = :run AND run <> ''")
    return connection.execute(query, {"run": run}).one_or_none() is not None


def adaptation(connection: Connection, name: str) -> Adaptation:
    """Raises NotFound: ADAPTATION_NOT_FOUND."""
    row = connection.execute(text(f"{_READ} WHERE name = :name"), {"name": name}).one_or_none()
    if row is None:
        raise NotFound(f"there is no {name}", reason="ADAPTATION_NOT_FOUND", metadata={"name": name})
    return _adaptation(row)


def list_adaptations(
    connection: Connection, endpoint: str, *, page_size: int, page_token: str
) -> tuple[list[Adaptation], str]:
    """An endpoint's, newest first."""
    rows, token = listing.page(
        connection,
        select(*_TABLE.c).where(_TABLE.c.endpoint == endpoint),
        order=[_TABLE.c.create_time, _TABLE.c.name],
        page_size=page_size,
        page_token=page_token,
        descending=True,
    )
    return [_adaptation(row) for row in rows], token


def adaptations_since(connection: Connection, endpoint: str, since: datetime) -> list[Adaptation]:
    """Those that began since then, oldest first."""
    query = text(f"{_READ} WHERE endpoint = :endpoint AND create_time >= :since ORDER BY create_time")
    return [_adaptation(row) for row in connection.execute(query, {"endpoint": endpoint, "since": since})]


def last_adaptation(connection: Connection, endpoint: str) -> Adaptation | None:
    """The one that began last."""
    query = text(f"{_READ} WHERE endpoint = :endpoint ORDER BY create_time DESC LIMIT 1")
    row = connection.execute(query, {"endpoint": endpoint}).one_or_none()
    return None if row is None else _adaptation(row)


def count_corrections(connection: Connection, endpoint: str) -> tuple[int, int]:
    """Corrected answers that no adaptation has taken: with their question, and without."""
    row = connection.execute(
        text(
            "SELECT count(DISTINCT f.request) FILTER (WHERE r.question IS NOT NULL) AS usable,"
            " count(DISTINCT f.request) FILTER (WHERE r.question IS NULL) AS unusable"
            " FROM feedback f LEFT JOIN gateway_requests r ON r.id = f.request"
            " WHERE f.endpoint = :endpoint AND f.correction IS NOT NULL AND f.adaptation = ''"
        ),
        {"endpoint": endpoint},
    ).one()
    return int(row.usable), int(row.unusable)


def take_corrections(tx: Transaction, endpoint: str, adaptation_name: str) -> Sequence[Correction]:
    """Give the adaptation every corrected answer that waits; of several for a request the last."""
    rows = tx.connection.execute(
        text(
            "UPDATE feedback f SET adaptation = :adaptation FROM gateway_requests r"
            " WHERE r.id = f.request AND f.endpoint = :endpoint AND f.correction IS NOT NULL"
            " AND f.adaptation = '' AND r.question IS NOT NULL"
            " RETURNING r.id, r.question, f.correction, f.create_time, f.id AS feedback"
        ),
        {"endpoint": endpoint, "adaptation": adaptation_name},
    ).all()
    last = {row.id: row for row in sorted(rows, key=lambda row: (row.create_time, row.feedback))}
    return [Correction(row.id, row.question, row.correction) for row in last.values()]


def _adaptation(row: Any) -> Adaptation:
    values = {name: getattr(row, name) for name in _COLUMNS}
    return Adaptation(**{**values, "state": AdaptationState(row.state), "trigger": Trigger(row.trigger)})
