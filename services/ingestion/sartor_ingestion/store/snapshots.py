"""Snapshots, from their cut to their manifest, and segments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sartor_datasets.manifests import ObjectReference
from sartor_platform import listing
from sartor_platform.transaction import Transaction
from sqlalchemy import Connection, select, text

from sartor_ingestion.resources import Snapshot
from sartor_ingestion.store.resolution import Changes
from sartor_ingestion.store.tables import SNAPSHOTS


@dataclass(frozen=True, slots=True)
class Cut:
    """A snapshot that was cut: it takes in the batches up to `through`, unseen until it is sealed."""

    id: int
    name: str
    dataset_id: int
    dataset: str
    project: str
    sequence: int
    parent: str
    through: int
    cause: str
    run: str
    generation: int
    create_time: datetime
    created_by: str


_CUT_COLUMNS = (
    "id, name, dataset_id, dataset, project, sequence, parent, through, cause, run, generation,"
    " create_time, created_by"
)


def add_cut(
    tx: Transaction,
    *,
    name: str,
    dataset_id: int,
    dataset: str,
    project: str,
    sequence: int,
    parent: str,
    through: int,
    cause: str,
    run: str,
    generation: int,
    created_by: str,
) -> int:
    """Write down a cut. Returns the row's id."""
    values = {
        "name": name,
        "dataset_id": dataset_id,
        "dataset": dataset,
        "project": project,
        "sequence": sequence,
        "parent": parent,
        "through": through,
        "cause": cause,
        "run": run,
        "generation": generation,
        "created_by": created_by,
    }
    columns = ", ".join(values)
    markers = ", ".join(f":{column}" for column in values)
    query = text(f"INSERT INTO snapshots ({columns}) VALUES ({markers}) RETURNING id")  # noqa: S608 - ours
    return int(tx.connection.execute(query, values).scalar_one())


def cut(connection: Connection, snapshot_id: int) -> Cut | None:
    """A cut that is not sealed yet, or None."""
    query = text(f"SELECT {_CUT_COLUMNS} FROM snapshots WHERE id = :id AND NOT sealed")  # noqa: S608 - ours
    row = connection.execute(query, {"id": snapshot_id}).one_or_none()
    return None if row is None else Cut(*row)


def drop_cut(tx: Transaction, snapshot_id: int) -> None:
    """Forget a cut that came to nothing."""
    tx.connection.execute(text("DELETE FROM snapshots WHERE id = :id AND NOT sealed"), {"id": snapshot_id})


def seal(
    tx: Transaction,
    snapshot_id: int,
    manifest: ObjectReference,
    changes: Changes,
    *,
    record_count: int,
    rejected_count: int,
) -> None:
    """The cut becomes a snapshot that everybody sees."""
    tx.connection.execute(
        text(
            "UPDATE snapshots SET sealed = true, manifest_uri = :uri, manifest_sha256 = :sha256,"
            " manifest_size_bytes = :size, record_count = :records, added_count = :added,"
            " superseded_count = :superseded, withdrawn_count = :withdrawn, unchanged_count = :unchanged,"
            " rejected_count = :rejected, create_time = now() WHERE id = :id"
        ),
        {
            "id": snapshot_id,
            "uri": manifest.uri,
            "sha256": manifest.sha256,
            "size": manifest.size_bytes,
            "records": record_count,
            "added": changes.added,
            "superseded": changes.superseded,
            "withdrawn": changes.withdrawn,
            "unchanged": changes.unchanged,
            "rejected": rejected_count,
        },
    )


def add_segment(
    tx: Transaction,
    name: str,
    dataset_id: int,
    reference: ObjectReference,
    records: int,
    *,
    batch_id: str = "",
    batch_index: int = 0,
    batch_sequence: int = 0,
    live: bool = False,
) -> int:
    """Write down a segment: of a batch that waits for its snapshot, or `live` at once. Returns its id."""
    return int(
        tx.connection.execute(
            text(
                "INSERT INTO segments (name, dataset_id, batch_id, batch_index, batch_sequence, uri, sha256,"
                " size_bytes, records, state) VALUES (:name, :dataset, :batch, :index, :sequence, :uri,"
                " :sha256, :size, :records, :state) RETURNING id"
            ),
            {
                "name": name,
                "dataset": dataset_id,
                "batch": batch_id or name,
                "index": batch_index,
                "sequence": batch_sequence,
                "uri": reference.uri,
                "sha256": reference.sha256,
                "size": reference.size_bytes,
                "records": records,
                "state": "LIVE" if live else "PENDING",
            },
        ).scalar_one()
    )


def find(connection: Connection, name: str) -> Snapshot | None:
    """A sealed snapshot, or None."""
    row = connection.execute(
        select(SNAPSHOTS).where(SNAPSHOTS.c.name == name, SNAPSHOTS.c.sealed)
    ).one_or_none()
    return None if row is None else _snapshot(row)


def list_snapshots(
    connection: Connection, *, dataset: str, project: str, run: str, page_size: int, page_token: str
) -> tuple[list[Snapshot], str]:
    """Sealed snapshots of a dataset, or of a project where `dataset` is empty, newest first."""
    query = select(SNAPSHOTS).where(SNAPSHOTS.c.sealed, SNAPSHOTS.c.project == project)
    if dataset:
        query = query.where(SNAPSHOTS.c.dataset == dataset)
    if run:
        query = query.where(SNAPSHOTS.c.run == run)
    order = [SNAPSHOTS.c.id]
    rows, token = listing.page(
        connection, query, order=order, page_size=page_size, page_token=page_token, descending=True
    )
    return [_snapshot(row) for row in rows], token


def _snapshot(row: Any) -> Snapshot:
    return Snapshot(
        name=row.name,
        sequence=row.sequence,
        parent=row.parent,
        manifest=ObjectReference(row.manifest_uri, row.manifest_sha256, row.manifest_size_bytes),
        record_count=row.record_count,
        added_count=row.added_count,
        superseded_count=row.superseded_count,
        withdrawn_count=row.withdrawn_count,
        rejected_count=row.rejected_count,
        cause=row.cause,
        run=row.run,
        generation=row.generation,
        create_time=row.create_time,
        created_by=row.created_by,
    )
