"""Base models, curations known from events, training jobs, their checkpoints, models and versions."""

from __future__ import annotations

from alembic import op
from sartor_platform.migrations import create_platform_tables_v1, drop_platform_tables_v1

revision = "v0001"
down_revision = None

_TABLES = """
CREATE TABLE base_models (
    name text PRIMARY KEY,
    revision integer NOT NULL,
    digest text NOT NULL,
    manifest jsonb NOT NULL,
    architecture text NOT NULL,
    parameter_count bigint NOT NULL,
    context_length integer NOT NULL,
    license text NOT NULL,
    ready_time timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE curations (
    name text PRIMARY KEY,
    policy text NOT NULL,
    standing_order text NOT NULL,
    snapshot text NOT NULL,
    manifest jsonb NOT NULL,
    run text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE models (
    name text PRIMARY KEY,
    project text NOT NULL,
    versions integer NOT NULL DEFAULT 0,
    latest_version text NOT NULL DEFAULT '',
    create_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX models_project ON models (project, name);

CREATE TABLE training_jobs (
    name text PRIMARY KEY,
    project text NOT NULL,
    plan text NOT NULL,
    plan_revision integer NOT NULL,
    curation text NOT NULL REFERENCES curations (name),
    model text NOT NULL REFERENCES models (name),
    base_model text NOT NULL,
    base_model_digest text NOT NULL DEFAULT '',
    base_model_manifest jsonb,
    recipe jsonb NOT NULL,
    version integer NOT NULL,
    model_version text NOT NULL DEFAULT '',
    run text NOT NULL,
    generation bigint NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL
);
CREATE UNIQUE INDEX training_jobs_once ON training_jobs (plan, plan_revision, curation) WHERE plan <> '';
CREATE INDEX training_jobs_project ON training_jobs (project, create_time, name);

CREATE TABLE checkpoints (
    training_job text NOT NULL REFERENCES training_jobs (name),
    step bigint NOT NULL,
    object jsonb NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (training_job, step)
);

CREATE TABLE model_versions (
    name text PRIMARY KEY,
    project text NOT NULL,
    model text NOT NULL REFERENCES models (name),
    training_job text NOT NULL REFERENCES training_jobs (name),
    manifest jsonb NOT NULL,
    model_card jsonb NOT NULL,
    base_model text NOT NULL,
    base_model_digest text NOT NULL,
    curation text NOT NULL,
    metrics jsonb NOT NULL,
    run text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX model_versions_model ON model_versions (model, create_time, name);
CREATE INDEX model_versions_project ON model_versions (project, create_time, name);
"""
_ORDER = ("model_versions", "checkpoints", "training_jobs", "models", "curations", "base_models")


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
