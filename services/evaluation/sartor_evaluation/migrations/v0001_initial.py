"""Evaluations, their item results, and what evaluation knows of models and curations."""

from __future__ import annotations

from alembic import op
from sartor_platform.migrations import create_platform_tables_v1, drop_platform_tables_v1

revision = "v0001"
down_revision = None

_TABLES = """
CREATE TABLE evaluations (
    name text PRIMARY KEY,
    project text NOT NULL,
    gate text NOT NULL,
    gate_revision integer NOT NULL,
    model_version text NOT NULL,
    spec jsonb NOT NULL,
    inputs jsonb NOT NULL,
    findings jsonb NOT NULL DEFAULT '{}',
    objects jsonb NOT NULL DEFAULT '{}',
    run text NOT NULL,
    generation bigint NOT NULL,
    create_time timestamptz NOT NULL,
    created_by text NOT NULL
);
CREATE INDEX evaluations_project ON evaluations (project, create_time, name);
CREATE INDEX evaluations_run ON evaluations (run);

CREATE TABLE item_results (
    evaluation text NOT NULL REFERENCES evaluations (name) ON DELETE CASCADE,
    rank integer NOT NULL,
    suite text NOT NULL,
    candidate text NOT NULL,
    item_id text NOT NULL,
    document jsonb NOT NULL,
    PRIMARY KEY (evaluation, rank)
);

CREATE TABLE base_models (
    name text PRIMARY KEY,
    digest text NOT NULL,
    manifest jsonb NOT NULL,
    update_time timestamptz NOT NULL
);

CREATE TABLE model_versions (
    name text PRIMARY KEY,
    model text NOT NULL,
    manifest jsonb NOT NULL,
    base_model text NOT NULL,
    base_model_manifest jsonb NOT NULL,
    curation text NOT NULL,
    curated_manifest jsonb NOT NULL,
    create_time timestamptz NOT NULL
);

CREATE TABLE curations (
    name text PRIMARY KEY,
    snapshot text NOT NULL,
    manifest jsonb NOT NULL,
    create_time timestamptz NOT NULL
);
"""


def upgrade() -> None:
    """Create the platform's tables and evaluation's own."""
    create_platform_tables_v1(op)
    for statement in _TABLES.split(";"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    """Drop them again."""
    for table in ("curations", "model_versions", "base_models", "item_results", "evaluations"):
        op.execute(f"DROP TABLE {table}")
    drop_platform_tables_v1(op)
