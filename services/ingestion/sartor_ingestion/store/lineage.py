"""The way back: from a record, a key or a person to the rows, segments and snapshots that hold them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sartor_datasets.manifests import ObjectReference
from sartor_platform import listing
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    select,
    text,
)

from sartor_ingestion.resources import RecordTrace

_LINEAGE = Table(
    "lineage",
    MetaData(),
    Column("segment_id", BigInteger),
    Column("segment_row", Integer),
    Column("dataset_id", Integer),
    Column("source_id", Integer),
    Column("record_id", LargeBinary),
    Column("key_hash", LargeBinary),
    Column("subject_key", LargeBinary),
    Column("position", Text),
    Column("first_sequence", BigInteger),
    Column("gone_sequence", BigInteger),
)
_PLACES = text("SELECT g.id, g.name, g.uri, g.sha256, g.size_bytes FROM segments g WHERE g.id = ANY(:ids)")
_SNAPSHOTS = text(
    "SELECT name FROM snapshots WHERE dataset_id = :dataset AND sealed AND sequence >= :first"
    " AND (cast(:gone AS bigint) IS NULL OR sequence < :gone) ORDER BY sequence"
)
_PENDING = """
    SELECT a.record_id, a.subject_key, a.position, s.name AS source, d.name AS dataset
    FROM arrivals a JOIN batches b ON b.id = a.batch_id JOIN datasets d ON d.id = b.dataset_id
    JOIN sources s ON s.id = a.source_id
    WHERE d.project = :project AND NOT a.withdraw AND {} ORDER BY b.sequence DESC, a.n DESC LIMIT 1000
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Rows whose `column` (record_id, key_hash or subject_key) lies between two values, both included."""

    column: str
    low: bytes
    high: bytes

    def condition(self, table: str) -> str:
        """As SQL, with the parameters low and high."""
        return f"{table}.{self.column} BETWEEN :low AND :high"


def pending(connection: Connection, project: str, wanted: Wanted) -> list[RecordTrace]:
    """What waits to be sealed, newest first; at most 1,000 rows."""
    query = text(_PENDING.format(wanted.condition("a")))
    rows = connection.execute(query, {"project": project, "low": wanted.low, "high": wanted.high})
    return [
        RecordTrace(
            record_id=bytes(row.record_id).hex(),
            source=row.source,
            dataset=row.dataset,
            position=row.position,
            subject_key=bytes(row.subject_key).hex() if row.subject_key else "",
            state="PENDING",
        )
        for row in rows
    ]


def sealed(
    connection: Connection, project: str, wanted: Wanted, page_size: int, page_token: str
) -> tuple[list[RecordTrace], str]:
    """What lies in segments, whether it is still live or not, newest first."""
    of_project = text("dataset_id IN (SELECT id FROM datasets WHERE project = :project)")
    condition = text(wanted.condition("lineage"))
    rows, token = listing.page(
        connection,
        select(_LINEAGE).where(
            of_project.bindparams(project=project), condition.bindparams(low=wanted.low, high=wanted.high)
        ),
        order=[_LINEAGE.c.segment_id, _LINEAGE.c.segment_row],
        page_size=page_size,
        page_token=page_token,
        descending=True,
    )
    places = {row.id: row for row in connection.execute(_PLACES, {"ids": [row.segment_id for row in rows]})}
    names = _names(connection, rows)
    return [_trace(connection, row, places[row.segment_id], *names) for row in rows], token


def _names(connection: Connection, rows: Any) -> tuple[dict[int, str], dict[int, str]]:
    """Names of the sources and of the datasets of these rows."""
    found = []
    for table, ids in (
        ("sources", {row.source_id for row in rows}),
        ("datasets", {row.dataset_id for row in rows}),
    ):
        query = text(f"SELECT id, name FROM {table} WHERE id = ANY(:ids)")  # noqa: S608 - our own names
        found.append({row.id: row.name for row in connection.execute(query, {"ids": list(ids)})})
    return found[0], found[1]


def _trace(
    connection: Connection, row: Any, place: Any, sources: dict[int, str], datasets: dict[int, str]
) -> RecordTrace:
    values = {"dataset": row.dataset_id, "first": row.first_sequence, "gone": row.gone_sequence}
    return RecordTrace(
        record_id=bytes(row.record_id).hex(),
        source=sources[row.source_id],
        dataset=datasets[row.dataset_id],
        position=row.position,
        subject_key=bytes(row.subject_key).hex() if row.subject_key else "",
        state="LIVE" if row.gone_sequence is None else "GONE",
        segment=place.name,
        segment_object=ObjectReference(place.uri, place.sha256, place.size_bytes),
        segment_row=row.segment_row,
        snapshots=tuple(connection.execute(_SNAPSHOTS, values).scalars()),
    )
