"""The tables as SQLAlchemy sees them, for the lists that are paged. The schema itself is in migrations/."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Integer, MetaData, String, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

METADATA = MetaData()
_TIME = DateTime(timezone=True)

PROJECTS = Table("projects", METADATA, Column("name", Text))

DATASETS = Table(
    "datasets",
    METADATA,
    Column("name", Text),
    Column("project", Text),
    Column("record_count", BigInteger),
    Column("pending_count", BigInteger),
    Column("rejected_count", BigInteger),
    Column("latest_snapshot", Text),
    Column("create_time", _TIME),
)

SNAPSHOTS = Table(
    "snapshots",
    METADATA,
    Column("id", BigInteger),
    Column("name", Text),
    Column("dataset", Text),
    Column("project", Text),
    Column("sequence", BigInteger),
    Column("parent", Text),
    Column("sealed", Boolean),
    Column("manifest_uri", Text),
    Column("manifest_sha256", Text),
    Column("manifest_size_bytes", BigInteger),
    Column("record_count", BigInteger),
    Column("added_count", BigInteger),
    Column("superseded_count", BigInteger),
    Column("withdrawn_count", BigInteger),
    Column("rejected_count", BigInteger),
    Column("cause", Text),
    Column("run", Text),
    Column("generation", BigInteger),
    Column("create_time", _TIME),
    Column("created_by", Text),
)

IMPORTS = Table(
    "imports",
    METADATA,
    Column("name", Text),
    Column("project", Text),
    Column("source", Text),
    Column("source_revision", Integer),
    Column("uri", Text),
    Column("sha256", String),
    Column("size_bytes", BigInteger),
    Column("file_name", Text),
    Column("format", Text),
    Column("accepted_count", BigInteger),
    Column("rejected_count", BigInteger),
    Column("unchanged_count", BigInteger),
    Column("create_time", _TIME),
    Column("created_by", Text),
    Column("validate_only", Boolean),
    Column("preview", JSONB),
)

REJECTED_RECORDS = Table(
    "rejected_records",
    METADATA,
    Column("id", BigInteger),
    Column("source", Text),
    Column("dataset_id", Integer),
    Column("import", Text),
    Column("position", Text),
    Column("reason", Text),
    Column("message", Text),
    Column("excerpt", Text),
    Column("create_time", _TIME),
)
