"""Records as Arrow batches and back. Imports pyarrow: for the child process of a job, not for a server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import pyarrow as pa

from sartor_datasets.records import Message, Record

_MESSAGE = pa.struct(
    [pa.field("role", pa.string(), nullable=False), pa.field("content", pa.string(), nullable=False)]
)

_RECORD_FIELDS: list[pa.Field[Any]] = [
    pa.field("record_id", pa.string(), nullable=False),
    pa.field("record_key", pa.string(), nullable=False),
    pa.field("op", pa.string(), nullable=False),
    pa.field("kind", pa.string(), nullable=False),
    pa.field("messages", pa.list_(_MESSAGE), nullable=False),
    pa.field("text", pa.string(), nullable=False),
    pa.field("label", pa.string(), nullable=False),
    pa.field("attributes", pa.map_(pa.string(), pa.string()), nullable=False),
    pa.field("subject_key", pa.string(), nullable=False),
    pa.field("source", pa.string(), nullable=False),
    pa.field("position", pa.string(), nullable=False),
    pa.field("event_time", pa.timestamp("us", tz="UTC"), nullable=False),
    pa.field("chosen", pa.string(), nullable=False),
    pa.field("rejected", pa.string(), nullable=False),
]

RECORD_SCHEMA: pa.Schema = pa.schema(_RECORD_FIELDS)

LATER_COLUMNS = ("chosen", "rejected")
"""Columns that files written before there were preferences lack; `with_later_columns` adds them, empty."""

_CURATION_FIELDS: list[pa.Field[Any]] = [
    pa.field("split", pa.string(), nullable=False),
    pa.field("cluster", pa.string(), nullable=False),
    pa.field("language", pa.string(), nullable=False),
    pa.field("tokens", pa.int32(), nullable=False),
]

CURATED_SCHEMA: pa.Schema = pa.schema(_RECORD_FIELDS + _CURATION_FIELDS)

_EXCLUSION_FIELDS: list[pa.Field[Any]] = [
    pa.field("segment", pa.string(), nullable=False),
    pa.field("row", pa.int32(), nullable=False),
]

EXCLUSION_SCHEMA: pa.Schema = pa.schema(_EXCLUSION_FIELDS)


@dataclass(frozen=True, slots=True)
class CuratedRecord:
    """A record that curation kept: `record.messages` is filled whatever its kind."""

    record: Record
    split: str
    cluster: str
    """The near-duplicate cluster that decided the split."""
    language: str
    tokens: int


def with_later_columns(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch of all columns in the order of the newest schema, whenever its file was written."""
    for name in LATER_COLUMNS:
        if name not in batch.schema.names:
            batch = batch.append_column(RECORD_SCHEMA.field(name), pa.array([""] * len(batch)))
    return batch.select((CURATED_SCHEMA if "split" in batch.schema.names else RECORD_SCHEMA).names)


def records_to_batch(records: Sequence[Record]) -> pa.RecordBatch:
    """One batch of RECORD_SCHEMA."""
    return pa.RecordBatch.from_pydict(_columns(records), schema=RECORD_SCHEMA)


def batch_to_records(batch: pa.RecordBatch) -> Iterator[Record]:
    """The records of a batch of RECORD_SCHEMA, or of CURATED_SCHEMA without what curation added."""
    for row in batch.select(RECORD_SCHEMA.names).to_pylist():
        yield _record(row)


def curated_to_batch(records: Sequence[CuratedRecord]) -> pa.RecordBatch:
    """One batch of CURATED_SCHEMA."""
    columns = _columns([curated.record for curated in records])
    for name in ("split", "cluster", "language", "tokens"):
        columns[name] = [getattr(curated, name) for curated in records]
    return pa.RecordBatch.from_pydict(columns, schema=CURATED_SCHEMA)


def batch_to_curated(batch: pa.RecordBatch) -> Iterator[CuratedRecord]:
    """The records of a batch of CURATED_SCHEMA."""
    for row in batch.to_pylist():
        yield CuratedRecord(_record(row), row["split"], row["cluster"], row["language"], row["tokens"])


def _columns(records: Sequence[Record]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {
        name: [getattr(r, name) for r in records] for name in RECORD_SCHEMA.names
    }
    columns["messages"] = [[{"role": m.role, "content": m.content} for m in r.messages] for r in records]
    columns["attributes"] = [list(r.attributes.items()) for r in records]
    return columns


def _record(row: dict[str, Any]) -> Record:
    return Record(
        record_id=row["record_id"],
        record_key=row["record_key"],
        op=row["op"],
        kind=row["kind"],
        messages=tuple(Message(m["role"], m["content"]) for m in row["messages"]),
        text=row["text"],
        label=row["label"],
        attributes=dict(row["attributes"]),
        subject_key=row["subject_key"],
        source=row["source"],
        position=row["position"],
        event_time=row["event_time"].astimezone(UTC),
        chosen=row["chosen"],
        rejected=row["rejected"],
    )
