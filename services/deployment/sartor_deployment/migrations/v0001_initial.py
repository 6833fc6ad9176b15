"""Endpoints, revisions, observed engines, and what is known of base models and model versions."""

from __future__ import annotations

from alembic import op
from sartor_platform.migrations import create_platform_tables_v1, drop_platform_tables_v1

revision = "v0001"
down_revision = None

_TABLES = """
CREATE TABLE base_models (
    name text PRIMARY KEY,
    digest text NOT NULL,
    manifest jsonb NOT NULL,
    update_time timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE model_versions (
    name text PRIMARY KEY,
    model text NOT NULL,
    manifest jsonb,
    base_model_manifest jsonb,
    reference_outputs jsonb,
    run text NOT NULL DEFAULT '',
    generation bigint NOT NULL DEFAULT 0,
    approve_time timestamptz,
    create_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX model_versions_approved ON model_versions (model, approve_time) WHERE approve_time IS NOT NULL;

CREATE TABLE endpoints (
    name text PRIMARY KEY,
    project text NOT NULL,
    model text NOT NULL,
    live_revision text NOT NULL DEFAULT '',
    previous_revision text NOT NULL DEFAULT '',
    rollback_to text NOT NULL DEFAULT '',
    next_number integer NOT NULL DEFAULT 1
);
CREATE INDEX endpoints_model ON endpoints (model);

CREATE TABLE revisions (
    name text PRIMARY KEY,
    endpoint text NOT NULL REFERENCES endpoints (name),
    project text NOT NULL,
    number integer NOT NULL,
    model_version text NOT NULL,
    state text NOT NULL CHECK (state IN
        ('BUILDING', 'STARTING', 'CHECKING', 'LIVE', 'SUPERSEDED', 'ROLLED_BACK', 'REJECTED')),
    order_revision integer NOT NULL,
    spec jsonb NOT NULL,
    by_hand boolean NOT NULL,
    reference_outputs jsonb NOT NULL,
    weights jsonb,
    parity jsonb,
    error_reason text NOT NULL DEFAULT '',
    error_message text NOT NULL DEFAULT '',
    run text NOT NULL,
    generation bigint NOT NULL,
    created_by text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    live_time timestamptz,
    UNIQUE (endpoint, number)
);
CREATE UNIQUE INDEX revisions_once ON revisions (endpoint, model_version) WHERE NOT by_hand;
CREATE UNIQUE INDEX revisions_one_live ON revisions (endpoint) WHERE state = 'LIVE';
CREATE INDEX revisions_engine_wanted ON revisions (name) WHERE state IN ('STARTING', 'CHECKING', 'LIVE');
CREATE INDEX revisions_project ON revisions (project, create_time);

CREATE TABLE engines (
    revision text NOT NULL REFERENCES revisions (name),
    agent text NOT NULL,
    state text NOT NULL CHECK (state IN ('STARTING', 'READY', 'BACKOFF')),
    host text NOT NULL DEFAULT '',
    port integer NOT NULL DEFAULT 0,
    pid integer NOT NULL DEFAULT 0,
    restarts integer NOT NULL DEFAULT 0,
    message text NOT NULL DEFAULT '',
    since_time timestamptz NOT NULL DEFAULT now(),
    heartbeat_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (revision, agent)
);
"""
_NAMES = ("engines", "revisions", "endpoints", "model_versions", "base_models")


def upgrade() -> None:
    """Create them."""
    create_platform_tables_v1(op)
    for statement in _TABLES.split(";"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    """Remove them."""
    for name in _NAMES:
        op.execute(f"DROP TABLE {name}")
    drop_platform_tables_v1(op)
