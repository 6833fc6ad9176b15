"""Snapshots and base models known from events, curations, what they dropped, and splits for life."""

from __future__ import annotations

from alembic import op
from sartor_platform.migrations import create_platform_tables_v1, drop_platform_tables_v1

revision = "v0001"
down_revision = None

_TABLES = """
CREATE TABLE snapshots (
    name text PRIMARY KEY,
    dataset text NOT NULL,
    sequence bigint NOT NULL,
    manifest jsonb NOT NULL,
    record_count bigint NOT NULL
);
CREATE INDEX snapshots_dataset ON snapshots (dataset, sequence);

CREATE TABLE base_models (
    name text PRIMARY KEY,
    digest text NOT NULL,
    manifest jsonb NOT NULL
);

CREATE TABLE curations (
    name text PRIMARY KEY,
    project text NOT NULL,
    policy text NOT NULL,
    policy_revision integer NOT NULL,
    standing_order text NOT NULL,
    snapshot text NOT NULL REFERENCES snapshots (name),
    run text NOT NULL,
    generation bigint NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL,
    result jsonb
);
CREATE UNIQUE INDEX curations_once ON curations (policy, policy_revision, snapshot)
    WHERE standing_order <> '';
CREATE INDEX curations_project ON curations (project, create_time, name);

CREATE TABLE dropped_records (
    curation text NOT NULL REFERENCES curations (name),
    number integer NOT NULL,
    record_id text NOT NULL,
    record_key text NOT NULL,
    position text NOT NULL,
    step text NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    excerpt text NOT NULL,
    PRIMARY KEY (curation, number)
);
CREATE INDEX dropped_records_reason ON dropped_records (curation, reason, number);

CREATE TABLE splits (
    dataset text NOT NULL,
    record_key text NOT NULL,
    cluster text NOT NULL,
    split text NOT NULL CHECK (split IN ('train', 'validation', 'test')),
    curation text NOT NULL,
    PRIMARY KEY (dataset, record_key)
);
"""
_ORDER = ("splits", "dropped_records", "curations", "base_models", "snapshots")


def upgrade() -> None:
    """Create everything."""
    create_platform_tables_v1(op)
    for statement in _TABLES.split(";"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    """Drop everything."""
    for table in _ORDER:
        op.execute(f"DROP TABLE {table}")
    drop_platform_tables_v1(op)
