"""Projects, sources, datasets, arriving records, segments, snapshots, imports and rejected rows."""

from __future__ import annotations

from alembic import op
from sartor_platform.migrations import create_platform_tables_v1, drop_platform_tables_v1

revision = "v0001"
down_revision = None

_TABLES = """
CREATE TABLE projects (
    name text PRIMARY KEY,
    subject_secret bytea NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE datasets (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    project text NOT NULL REFERENCES projects (name),
    record_count bigint NOT NULL DEFAULT 0,
    pending_count bigint NOT NULL DEFAULT 0,
    rejected_count bigint NOT NULL DEFAULT 0,
    rejected_in_snapshots bigint NOT NULL DEFAULT 0,
    unchanged_count bigint NOT NULL DEFAULT 0,
    at_records bigint NOT NULL DEFAULT 0,
    quiet_seconds double precision NOT NULL DEFAULT 0,
    max_age_seconds double precision NOT NULL DEFAULT 0,
    batch_sequence bigint NOT NULL DEFAULT 0,
    first_pending_time timestamptz,
    last_record_time timestamptz,
    open_imports integer NOT NULL DEFAULT 0,
    sequence bigint NOT NULL DEFAULT 0,
    latest_snapshot text NOT NULL DEFAULT '',
    sealing bigint,
    requested_by text NOT NULL DEFAULT '',
    cut_not_before timestamptz,
    create_time timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE sources (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    dataset_id integer NOT NULL REFERENCES datasets (id),
    topic text NOT NULL,
    live_count bigint NOT NULL DEFAULT 0,
    pending_count bigint NOT NULL DEFAULT 0
);
CREATE INDEX sources_dataset ON sources (dataset_id);

CREATE TABLE batches (
    id text PRIMARY KEY,
    dataset_id integer NOT NULL REFERENCES datasets (id),
    sequence bigint NOT NULL,
    records bigint NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    UNIQUE (dataset_id, sequence)
);

CREATE TABLE arrivals (
    batch_id text NOT NULL,
    n integer NOT NULL,
    source_id integer NOT NULL,
    key_hash bytea NOT NULL,
    record_id bytea NOT NULL,
    withdraw boolean NOT NULL,
    segment_index integer,
    segment_row integer,
    body text,
    PRIMARY KEY (batch_id, n)
);

CREATE TABLE segments (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    dataset_id integer NOT NULL REFERENCES datasets (id),
    batch_id text NOT NULL,
    batch_index integer NOT NULL,
    batch_sequence bigint NOT NULL,
    uri text NOT NULL,
    sha256 text NOT NULL,
    size_bytes bigint NOT NULL,
    records bigint NOT NULL,
    excluded bigint NOT NULL DEFAULT 0,
    state text NOT NULL CHECK (state IN ('PENDING', 'LIVE', 'RETIRED')),
    create_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX segments_dataset ON segments (dataset_id) WHERE state <> 'RETIRED';
CREATE INDEX segments_batch ON segments (batch_id);

CREATE TABLE record_keys (
    dataset_id integer NOT NULL,
    key_hash bytea NOT NULL,
    record_id bytea NOT NULL,
    segment_id bigint NOT NULL,
    segment_row integer NOT NULL,
    source_id integer NOT NULL,
    PRIMARY KEY (dataset_id, key_hash)
);

CREATE TABLE exclusions (
    segment_id bigint NOT NULL REFERENCES segments (id),
    segment_row integer NOT NULL,
    PRIMARY KEY (segment_id, segment_row)
);

CREATE TABLE snapshots (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    dataset_id integer NOT NULL REFERENCES datasets (id),
    dataset text NOT NULL,
    project text NOT NULL,
    sequence bigint NOT NULL,
    parent text NOT NULL,
    through bigint NOT NULL,
    sealed boolean NOT NULL DEFAULT false,
    manifest_uri text NOT NULL DEFAULT '',
    manifest_sha256 text NOT NULL DEFAULT '',
    manifest_size_bytes bigint NOT NULL DEFAULT 0,
    record_count bigint NOT NULL DEFAULT 0,
    added_count bigint NOT NULL DEFAULT 0,
    superseded_count bigint NOT NULL DEFAULT 0,
    withdrawn_count bigint NOT NULL DEFAULT 0,
    unchanged_count bigint NOT NULL DEFAULT 0,
    rejected_count bigint NOT NULL DEFAULT 0,
    cause text NOT NULL,
    run text NOT NULL,
    generation bigint NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL
);
CREATE INDEX snapshots_dataset ON snapshots (dataset_id, sequence);
CREATE INDEX snapshots_run ON snapshots (run);

CREATE TABLE imports (
    name text PRIMARY KEY,
    project text NOT NULL,
    source text NOT NULL,
    source_id integer NOT NULL REFERENCES sources (id),
    dataset_id integer NOT NULL REFERENCES datasets (id),
    source_revision integer NOT NULL,
    uri text NOT NULL,
    sha256 text NOT NULL,
    size_bytes bigint NOT NULL,
    file_name text NOT NULL,
    format text NOT NULL,
    accepted_count bigint NOT NULL DEFAULT 0,
    rejected_count bigint NOT NULL DEFAULT 0,
    unchanged_count bigint NOT NULL DEFAULT 0,
    create_time timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL
);
CREATE INDEX imports_project ON imports (project, name);

CREATE TABLE rejected_records (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text NOT NULL,
    dataset_id integer NOT NULL,
    import text NOT NULL,
    position text NOT NULL,
    reason text NOT NULL,
    message text NOT NULL,
    excerpt text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX rejected_records_source ON rejected_records (source, id);
CREATE INDEX rejected_records_dataset ON rejected_records (dataset_id, id);
CREATE INDEX rejected_records_import ON rejected_records (import, id) WHERE import <> '';
"""
_NAMES = (
    "rejected_records",
    "imports",
    "snapshots",
    "exclusions",
    "record_keys",
    "segments",
    "arrivals",
    "batches",
    "sources",
    "datasets",
    "projects",
)


def upgrade() -> None:
    """Create the tables."""
    create_platform_tables_v1(op)
    for statement in _TABLES.split(";"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    """Drop them."""
    for name in _NAMES:
        op.execute(f"DROP TABLE {name}")
    drop_platform_tables_v1(op)
