"""Windows of requests compared for drift, and the loop: its brake, its adaptations, what it learns from."""

from __future__ import annotations

from alembic import op

revision = "v0004"
down_revision = "v0003"

_UP = """
CREATE TABLE curations (
    name text PRIMARY KEY,
    policy text NOT NULL,
    training_records bigint NOT NULL,
    run text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX curations_policy ON curations (policy, create_time);
ALTER TABLE model_versions ADD COLUMN curation text NOT NULL DEFAULT '';
ALTER TABLE feedback ADD COLUMN adaptation text NOT NULL DEFAULT '';
CREATE INDEX feedback_corrections ON feedback (endpoint, create_time)
    WHERE correction IS NOT NULL AND adaptation = '';

CREATE TABLE drift_windows (
    name text PRIMARY KEY,
    endpoint text NOT NULL REFERENCES endpoints (name),
    revision text NOT NULL,
    number integer NOT NULL,
    reference_requests integer NOT NULL,
    window_requests integer NOT NULL,
    start_time timestamptz NOT NULL,
    end_time timestamptz NOT NULL,
    end_id text NOT NULL,
    after_time timestamptz NOT NULL,
    after_id text NOT NULL,
    embedding text NOT NULL DEFAULT '',
    findings jsonb NOT NULL DEFAULT '[]',
    found boolean NOT NULL DEFAULT false,
    looked boolean NOT NULL DEFAULT false,
    error text NOT NULL DEFAULT '',
    create_time timestamptz NOT NULL DEFAULT now(),
    UNIQUE (revision, number)
);
CREATE INDEX drift_windows_endpoint ON drift_windows (endpoint, create_time);

CREATE TABLE loops (
    endpoint text PRIMARY KEY REFERENCES endpoints (name),
    paused_by text NOT NULL DEFAULT '',
    pause_message text NOT NULL DEFAULT '',
    pause_time timestamptz,
    held_reason text NOT NULL DEFAULT '',
    held text NOT NULL DEFAULT ''
);

CREATE TABLE adaptations (
    name text PRIMARY KEY,
    endpoint text NOT NULL REFERENCES endpoints (name),
    project text NOT NULL,
    state text NOT NULL CHECK (state IN
        ('COLLECTING', 'TRAINING', 'EVALUATING', 'DEPLOYING', 'PROMOTED', 'REJECTED', 'FAILED')),
    trigger text NOT NULL,
    cause text NOT NULL,
    run text NOT NULL UNIQUE,
    generation bigint NOT NULL,
    corrections integer NOT NULL DEFAULT 0,
    curation text NOT NULL DEFAULT '',
    live_version text NOT NULL DEFAULT '',
    model_version text NOT NULL DEFAULT '',
    revision text NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT '',
    message text NOT NULL DEFAULT '',
    training_time timestamptz,
    training_seconds double precision NOT NULL DEFAULT 0,
    stage_time timestamptz NOT NULL,
    create_time timestamptz NOT NULL,
    end_time timestamptz
);
CREATE INDEX adaptations_endpoint ON adaptations (endpoint, create_time);
CREATE UNIQUE INDEX adaptations_one_under_way ON adaptations (endpoint)
    WHERE state IN ('COLLECTING', 'TRAINING', 'EVALUATING', 'DEPLOYING');
"""
_DOWN = """
DROP TABLE adaptations;
DROP TABLE loops;
DROP TABLE drift_windows;
DROP INDEX feedback_corrections;
ALTER TABLE feedback DROP COLUMN adaptation;
ALTER TABLE model_versions DROP COLUMN curation;
DROP TABLE curations
"""


def upgrade() -> None:
    """Add them."""
    _execute(_UP)


def downgrade() -> None:
    """Take them away; what was adapted stays live."""
    _execute(_DOWN)


def _execute(statements: str) -> None:
    for statement in statements.split(";"):
        if statement.strip():
            op.execute(statement)
