"""Datasets: their counters, and when their pending records are due to be sealed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sartor_platform import listing
from sartor_platform.transaction import Transaction
from sqlalchemy import Connection, select, text

from sartor_ingestion.resources import Dataset
from sartor_ingestion.store.contracts import STOPPED
from sartor_ingestion.store.tables import DATASETS


@dataclass(frozen=True, slots=True)
class LockedDataset:
    """The row of a dataset, locked until the transaction ends: batches get their order under this lock."""

    id: int
    name: str
    project: str
    record_count: int
    pending_count: int
    rejected_count: int
    rejected_in_snapshots: int
    at_records: int
    batch_sequence: int
    sequence: int
    latest_snapshot: str
    sealing: int | None
    requested_by: str
    cut_not_before: datetime | None


_LOCKED = text(
    "SELECT id, name, project, record_count, pending_count, rejected_count, rejected_in_snapshots,"
    " at_records, batch_sequence, sequence, latest_snapshot, sealing, requested_by, cut_not_before"
    " FROM datasets WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE"
)
_DUE = text(
    "SELECT id,  "  # noqa: S608 - only our own SQL
    "  CASE WHEN requested_by <> '' THEN 'request'"
    "  WHEN at_records > 0 AND pending_count >= at_records THEN 'at_records'"
    "  WHEN max_age_seconds > 0 AND first_pending_time < now() - make_interval(secs => max_age_seconds)"
    "  THEN 'max_age' ELSE 'quiet' END AS cause"
    " FROM datasets d WHERE sealing IS NULL AND (cut_not_before IS NULL OR cut_not_before <= now())"
    " AND (requested_by <> '' OR pending_count > 0 AND ("
    "  at_records > 0 AND pending_count >= at_records"
    "  OR max_age_seconds > 0 AND first_pending_time < now() - make_interval(secs => max_age_seconds)"
    "  OR quiet_seconds > 0 AND open_imports = 0"
    "   AND last_record_time < now() - make_interval(secs => quiet_seconds)))"
    " AND (requested_by <> '' OR NOT EXISTS"
    f"  (SELECT FROM sources s WHERE s.dataset_id = d.id AND {STOPPED}))"
    " ORDER BY id FOR NO KEY UPDATE SKIP LOCKED"
)


def lock(tx: Transaction, ids: Iterable[int]) -> dict[int, LockedDataset]:
    """Lock these datasets, always in the order of their ids, so that nobody waits in a circle."""
    rows = tx.connection.execute(_LOCKED, {"ids": sorted(set(ids))})
    return {row.id: LockedDataset(*row) for row in rows}


def due(tx: Transaction) -> list[tuple[int, str]]:
    """Lock and return the datasets that must be sealed now, each with the cause."""
    return [(row.id, row.cause) for row in tx.connection.execute(_DUE)]


def id_of(connection: Connection, name: str) -> int | None:
    """The row of a dataset, or None."""
    return connection.execute(
        text("SELECT id FROM datasets WHERE name = :name"), {"name": name}
    ).scalar_one_or_none()


def add_pending(tx: Transaction, dataset_id: int, *, accepted: int, rejected: int) -> None:
    """Count rows that came in now."""
    tx.connection.execute(
        text(
            "UPDATE datasets SET pending_count = pending_count + :accepted,"
            " rejected_count = rejected_count + :rejected,"
            " first_pending_time = CASE WHEN :accepted > 0"
            "  THEN coalesce(first_pending_time, clock_timestamp()) ELSE first_pending_time END,"
            " last_record_time = CASE WHEN :accepted > 0 THEN clock_timestamp() ELSE last_record_time END"
            " WHERE id = :id"
        ),
        {"id": dataset_id, "accepted": accepted, "rejected": rejected},
    )


def add_open_imports(tx: Transaction, dataset_id: int, change: int) -> None:
    """Count imports that are on their way: while there are any, the dataset is not quiet."""
    tx.connection.execute(
        text("UPDATE datasets SET open_imports = greatest(open_imports + :change, 0) WHERE id = :id"),
        {"id": dataset_id, "change": change},
    )


def request_cut(tx: Transaction, dataset_id: int, principal: str) -> None:
    """Remember that somebody wants a snapshot: it is cut as soon as none is being sealed."""
    tx.connection.execute(
        text("UPDATE datasets SET requested_by = :principal, cut_not_before = NULL WHERE id = :id"),
        {"id": dataset_id, "principal": principal},
    )


def begin_sealing(tx: Transaction, dataset_id: int, snapshot_id: int) -> None:
    """From now on one snapshot of the dataset is being sealed; what comes in belongs to the next."""
    tx.connection.execute(
        text(
            "UPDATE datasets SET sealing = :snapshot, requested_by = '', first_pending_time = NULL,"
            " cut_not_before = NULL WHERE id = :id"
        ),
        {"id": dataset_id, "snapshot": snapshot_id},
    )


def sealing_failed(tx: Transaction, dataset_id: int, retry_after_seconds: float) -> None:
    """The records stay pending and are due again after a while."""
    tx.connection.execute(
        text(
            "UPDATE datasets SET sealing = NULL, first_pending_time = coalesce(first_pending_time, now()),"
            " cut_not_before = now() + make_interval(secs => :after) WHERE id = :id"
        ),
        {"id": dataset_id, "after": retry_after_seconds},
    )


def sealing_done(tx: Transaction, dataset_id: int, *, consumed: int, unchanged: int) -> None:
    """`consumed` pending records are pending no more."""
    tx.connection.execute(
        text(
            "UPDATE datasets SET sealing = NULL, pending_count = pending_count - :consumed,"
            " unchanged_count = unchanged_count + :unchanged WHERE id = :id"
        ),
        {"id": dataset_id, "consumed": consumed, "unchanged": unchanged},
    )


def advance(tx: Transaction, dataset_id: int, *, snapshot: str, sequence: int, record_count: int) -> None:
    """The snapshot is the dataset's newest."""
    tx.connection.execute(
        text(
            "UPDATE datasets SET latest_snapshot = :snapshot, sequence = :sequence, record_count = :records,"
            " rejected_in_snapshots = rejected_count WHERE id = :id"
        ),
        {"id": dataset_id, "snapshot": snapshot, "sequence": sequence, "records": record_count},
    )


def find(connection: Connection, name: str) -> Dataset | None:
    """A dataset, or None."""
    row = connection.execute(select(DATASETS).where(DATASETS.c.name == name)).one_or_none()
    return None if row is None else _dataset(row)


def list_datasets(
    connection: Connection, project: str, page_size: int, page_token: str
) -> tuple[list[Dataset], str]:
    """The datasets of a project by name."""
    query = select(DATASETS).where(DATASETS.c.project == project)
    order = [DATASETS.c.name]
    rows, token = listing.page(connection, query, order=order, page_size=page_size, page_token=page_token)
    return [_dataset(row) for row in rows], token


def _dataset(row: Any) -> Dataset:
    return Dataset(
        name=row.name,
        record_count=row.record_count,
        pending_count=row.pending_count,
        rejected_count=row.rejected_count,
        latest_snapshot=row.latest_snapshot,
        create_time=row.create_time,
    )
