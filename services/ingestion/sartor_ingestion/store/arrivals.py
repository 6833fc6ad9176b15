"""Records that came in and are in no snapshot yet: batches, in the order in which they were accepted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sartor_datasets.records import Record, to_json
from sartor_platform.database import Database, take_time
from sartor_platform.transaction import Transaction
from sqlalchemy import Connection, text

COLUMNS = (
    "batch_id, n, source_id, key_hash, record_id, withdraw, segment_index, segment_row, body, subject_key,"
    " position"
)
_COPY_BYTES = 262_144

_ADD = text(
    "INSERT INTO arrivals"
    " (batch_id, n, source_id, key_hash, record_id, withdraw, body, subject_key, position)"
    " SELECT :batch, n - 1, source_id, key_hash, record_id, withdraw, body, subject_key, position"
    " FROM unnest(cast(:sources AS integer[]), cast(:keys AS bytea[]), cast(:ids AS bytea[]),"
    " cast(:withdraws AS boolean[]), cast(:bodies AS text[]), cast(:subjects AS bytea[]),"
    " cast(:positions AS text[]))"
    " WITH ORDINALITY AS a (source_id, key_hash, record_id, withdraw, body, subject_key, position, n)"
)


@dataclass(frozen=True, slots=True)
class Arrival:
    """An accepted record and the row of the source it came through."""

    source_id: int
    record: Record


def key_hash(record_key: str) -> bytes:
    """The key as the index holds it: of one length, whatever the source uses as keys."""
    return hashlib.sha256(record_key.encode()).digest()


def add_batch(tx: Transaction, batch_id: str, dataset_id: int, records: int) -> int:
    """Put a batch last in its dataset, whose row the caller has locked. Returns its sequence."""
    sequence = tx.connection.execute(
        text(
            "UPDATE datasets SET batch_sequence = batch_sequence + 1 WHERE id = :id RETURNING batch_sequence"
        ),
        {"id": dataset_id},
    ).scalar_one()
    tx.connection.execute(
        text(
            "INSERT INTO batches (id, dataset_id, sequence, records)"
            " VALUES (:id, :dataset, :sequence, :records)"
        ),
        {"id": batch_id, "dataset": dataset_id, "sequence": sequence, "records": records},
    )
    return int(sequence)


def add_arrivals(tx: Transaction, batch_id: str, arrivals: Sequence[Arrival]) -> None:
    """Keep the records of a batch until they are sealed; one statement, however many."""
    tx.connection.execute(
        _ADD,
        {
            "batch": batch_id,
            "sources": [arrival.source_id for arrival in arrivals],
            "keys": [key_hash(arrival.record.record_key) for arrival in arrivals],
            "ids": [bytes.fromhex(arrival.record.record_id) for arrival in arrivals],
            "withdraws": [arrival.record.op == "withdraw" for arrival in arrivals],
            "bodies": [None if a.record.op == "withdraw" else to_json(a.record) for a in arrivals],
            "subjects": [bytes.fromhex(a.record.subject_key) or None for a in arrivals],
            "positions": [arrival.record.position for arrival in arrivals],
        },
    )


def count_pending(tx: Transaction, counts: dict[int, int]) -> None:
    """Add to the pending count of each source (source → records)."""
    tx.connection.execute(
        text(
            "UPDATE sources s SET pending_count = pending_count + c.records"
            " FROM unnest(cast(:ids AS integer[]), cast(:counts AS bigint[])) AS c (id, records)"
            " WHERE s.id = c.id"
        ),
        {"ids": list(counts), "counts": list(counts.values())},
    )


def load_staged(database: Database, batch_id: str, rows: Path) -> None:
    """Load the arrivals of an import from the COPY text its child wrote.

    They are invisible until `add_batch` names their batch, so an attempt that is not accepted leaves nothing
    visible; a repeat of the same attempt starts over.
    """
    with database.connect() as connection, connection.transaction(), rows.open("rb") as file:
        connection.execute("SET LOCAL statement_timeout = 0")
        connection.answer_seconds = None
        connection.execute("DELETE FROM arrivals WHERE batch_id = %s", [batch_id])
        with connection.cursor().copy(f"COPY arrivals ({COLUMNS}) FROM STDIN") as copy:
            for chunk in _chunks(file):
                copy.write(chunk)


def unchanged(connection: Connection, dataset_id: int, batch_id: str) -> int:
    """How many records of a staged batch are known already: live, pending, or earlier in the batch."""
    for_large_sets(connection)
    return int(
        connection.execute(
            text(
                "SELECT count(*) FROM ("
                " SELECT a.key_hash, a.record_id,"
                "  row_number() OVER (PARTITION BY a.key_hash, a.record_id) AS nth"
                "  FROM arrivals a WHERE a.batch_id = :batch AND NOT a.withdraw) a WHERE nth > 1"
                " OR EXISTS (SELECT FROM record_keys k WHERE k.dataset_id = :dataset"
                "  AND k.key_hash = a.key_hash AND k.record_id = a.record_id)"
                " OR (a.key_hash, a.record_id) IN (SELECT p.key_hash, p.record_id FROM arrivals p"
                "  JOIN batches b ON b.id = p.batch_id WHERE b.dataset_id = :dataset)"
            ),
            {"batch": batch_id, "dataset": dataset_id},
        ).scalar_one()
    )


def for_large_sets(connection: Connection) -> None:
    """Let this transaction sort in memory and take its time: it may go through all records of a dataset."""
    take_time(connection)
    connection.execute(text("SET LOCAL work_mem = '64MB'"))


def drop_staged(tx: Transaction, batch_ids: Sequence[str]) -> None:
    """Delete arrivals of attempts that were not accepted."""
    tx.connection.execute(text("DELETE FROM arrivals WHERE batch_id = ANY(:ids)"), {"ids": list(batch_ids)})


def drop_sealed(tx: Transaction, dataset_id: int, through: int) -> None:
    """Delete the arrivals that a snapshot has taken in."""
    values = {"dataset": dataset_id, "through": through}
    of_them = "SELECT id FROM batches WHERE dataset_id = :dataset AND sequence <= :through"
    tx.connection.execute(text(f"DELETE FROM arrivals WHERE batch_id IN ({of_them})"), values)  # noqa: S608 - ours
    tx.connection.execute(
        text("DELETE FROM batches WHERE dataset_id = :dataset AND sequence <= :through"), values
    )


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(_COPY_BYTES):
        yield chunk
