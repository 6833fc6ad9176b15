"""Imports, and rows that were rejected, whichever way they came."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sartor_platform import listing
from sartor_platform.transaction import Transaction
from sqlalchemy import ColumnElement, Connection, select, text

from sartor_ingestion.rejection import Rejection
from sartor_ingestion.resources import Import, RejectedRecord
from sartor_ingestion.store.sources import SourceOnDuty
from sartor_ingestion.store.tables import IMPORTS, REJECTED_RECORDS

_ADD_REJECTIONS = text(
    "INSERT INTO rejected_records (source, dataset_id, import, position, reason, message, excerpt)"
    " SELECT source, :dataset, :import, position, reason, message, excerpt FROM unnest("
    " cast(:sources AS text[]), cast(:positions AS text[]), cast(:reasons AS text[]),"
    " cast(:messages AS text[]), cast(:excerpts AS text[])) AS r (source, position, reason, message, excerpt)"
)


def add_import(
    tx: Transaction,
    *,
    name: str,
    project: str,
    source: SourceOnDuty,
    uri: str,
    sha256: str,
    size_bytes: int,
    file_name: str,
    data_format: str,
    created_by: str,
    validate_only: bool,
) -> None:
    """Write down an import that is about to be read."""
    tx.connection.execute(
        text(
            "INSERT INTO imports (name, project, source, source_id, dataset_id, source_revision, uri, sha256,"
            " size_bytes, file_name, format, created_by, validate_only) VALUES (:name, :project, :source,"
            " :source_id, :dataset_id, :revision, :uri, :sha256, :size, :file_name, :format, :created_by,"
            " :validate_only)"
        ),
        {
            "name": name,
            "project": project,
            "source": source.name,
            "source_id": source.id,
            "dataset_id": source.dataset_id,
            "revision": source.revision,
            "uri": uri,
            "sha256": sha256,
            "size": size_bytes,
            "file_name": file_name,
            "format": data_format,
            "created_by": created_by,
            "validate_only": validate_only,
        },
    )


def target_of(connection: Connection, name: str) -> tuple[int, int]:
    """The rows of an import's source, and of the dataset the source went into when the import was made."""
    query = text("SELECT source_id, dataset_id FROM imports WHERE name = :name")
    source_id, dataset_id = connection.execute(query, {"name": name}).one()
    return source_id, dataset_id


def finish_import(
    tx: Transaction,
    name: str,
    *,
    sha256: str,
    size_bytes: int,
    data_format: str,
    accepted: int,
    rejected: int,
    unchanged: int,
    preview: Mapping[str, Any] | None = None,
) -> None:
    """Write down what an import brought."""
    tx.connection.execute(
        text(
            "UPDATE imports SET sha256 = :sha256, size_bytes = :size, format = :format,"
            " accepted_count = :accepted, rejected_count = :rejected,"
            " unchanged_count = :unchanged, preview = cast(:preview AS jsonb) WHERE name = :name"
        ),
        {
            "name": name,
            "sha256": sha256,
            "size": size_bytes,
            "format": data_format,
            "accepted": accepted,
            "rejected": rejected,
            "unchanged": unchanged,
            "preview": None if preview is None else json.dumps(preview),
        },
    )


def find(connection: Connection, name: str) -> Import | None:
    """An import, or None."""
    row = connection.execute(select(IMPORTS).where(IMPORTS.c.name == name)).one_or_none()
    return None if row is None else _import(row)


def find_all(connection: Connection, names: Sequence[str]) -> dict[str, Import]:
    """Those of these imports that exist."""
    rows = connection.execute(select(IMPORTS).where(IMPORTS.c.name.in_(names)))
    return {row.name: _import(row) for row in rows}


def list_imports(
    connection: Connection, project: str, page_size: int, page_token: str
) -> tuple[list[Import], str]:
    """The imports of a project, newest first: their ids sort by time."""
    query = select(IMPORTS).where(IMPORTS.c.project == project)
    order = [IMPORTS.c.name]
    rows, token = listing.page(
        connection, query, order=order, page_size=page_size, page_token=page_token, descending=True
    )
    return [_import(row) for row in rows], token


def add_rejections(
    tx: Transaction, dataset_id: int, rejections: Sequence[Rejection], import_name: str = ""
) -> None:
    """Keep rejected rows; one statement, however many."""
    if not rejections:
        return
    tx.connection.execute(
        _ADD_REJECTIONS,
        {
            "dataset": dataset_id,
            "import": import_name,
            "sources": [r.source for r in rejections],
            "positions": [r.position for r in rejections],
            "reasons": [r.reason.value for r in rejections],
            "messages": [_storable(r.message) for r in rejections],
            "excerpts": [_storable(r.excerpt) for r in rejections],
        },
    )


def list_rejected(
    connection: Connection, where: ColumnElement[bool], page_size: int, page_token: str
) -> tuple[list[RejectedRecord], str]:
    """Rejected rows, newest first. `where` is made by `of_source`, `of_dataset` or `of_import`."""
    query = select(REJECTED_RECORDS).where(where)
    order = [REJECTED_RECORDS.c.id]
    rows, token = listing.page(
        connection, query, order=order, page_size=page_size, page_token=page_token, descending=True
    )
    shown = [
        RejectedRecord(**{name: getattr(row, name) for name in RejectedRecord.__slots__}) for row in rows
    ]
    return shown, token


def of_source(name: str) -> ColumnElement[bool]:
    """Rows that came through a source."""
    return REJECTED_RECORDS.c.source == name


def of_dataset(dataset_id: int) -> ColumnElement[bool]:
    """Rows that were meant for a dataset."""
    return REJECTED_RECORDS.c.dataset_id == dataset_id


def of_import(name: str) -> ColumnElement[bool]:
    """Rows of one import."""
    return REJECTED_RECORDS.c["import"] == name


def _storable(value: str) -> str:
    """Text as PostgreSQL takes it: no NUL, no half of a surrogate pair."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def _import(row: Any) -> Import:
    return Import(**{name: getattr(row, name) for name in Import.__slots__})


def forget_rejected(tx: Transaction, after_seconds: float) -> None:
    """Delete rejected rows that are older than this."""
    tx.connection.execute(
        text("DELETE FROM rejected_records WHERE create_time < now() - make_interval(secs => :after)"),
        {"after": after_seconds},
    )


def forget_previews(tx: Transaction, after_seconds: float) -> list[str]:
    """Forget the imports that only looked and are older than this. Returns the objects uploaded for them."""
    rows = tx.connection.execute(
        text(
            "DELETE FROM imports WHERE validate_only AND create_time < now() - make_interval(secs => :after)"
            " RETURNING uri, project"
        ),
        {"after": after_seconds},
    )
    return [row.uri for row in rows if f"/{row.project}/uploads/" in row.uri]
