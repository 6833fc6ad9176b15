"""Rollouts step by step and their decisions, several engines of a revision, keys, requests and feedback."""

from __future__ import annotations

from alembic import op

revision = "v0003"
down_revision = "v0002"

_UP = """
ALTER TABLE revisions DROP CONSTRAINT revisions_state_check;
ALTER TABLE revisions ADD CONSTRAINT revisions_state_check CHECK (state IN
    ('BUILDING', 'STARTING', 'CHECKING', 'CANARY', 'AWAITING_APPROVAL', 'LIVE', 'SUPERSEDED', 'ROLLED_BACK',
     'REJECTED'));
ALTER TABLE revisions ADD COLUMN canary_step integer NOT NULL DEFAULT 0;
ALTER TABLE revisions ADD COLUMN canary_weight integer NOT NULL DEFAULT 0;
ALTER TABLE revisions ADD COLUMN step_time timestamptz;
ALTER TABLE revisions ADD COLUMN approved_by text NOT NULL DEFAULT '';
ALTER TABLE revisions ADD COLUMN warm_until timestamptz;
ALTER TABLE revisions ADD COLUMN variants jsonb NOT NULL DEFAULT '[]';
DROP INDEX revisions_engine_wanted;
CREATE INDEX revisions_engine_wanted ON revisions (name)
    WHERE state IN ('STARTING', 'CHECKING', 'CANARY', 'AWAITING_APPROVAL', 'LIVE');
CREATE UNIQUE INDEX revisions_one_canary ON revisions (endpoint) WHERE state = 'CANARY';

ALTER TABLE engines ADD COLUMN replica integer NOT NULL DEFAULT 0;
ALTER TABLE engines DROP CONSTRAINT engines_pkey;
ALTER TABLE engines ADD PRIMARY KEY (revision, agent, replica);

CREATE TABLE decisions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    endpoint text NOT NULL REFERENCES endpoints (name),
    revision text NOT NULL,
    kind text NOT NULL,
    reason text NOT NULL,
    message text NOT NULL,
    figures jsonb NOT NULL,
    decided_by text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX decisions_endpoint ON decisions (endpoint, id);

CREATE TABLE api_keys (
    name text PRIMARY KEY,
    project text NOT NULL,
    digest text NOT NULL UNIQUE,
    prefix text NOT NULL,
    tokens_per_minute bigint NOT NULL,
    requests_per_minute bigint NOT NULL,
    created_by text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    expire_time timestamptz,
    revoke_time timestamptz
);
CREATE INDEX api_keys_project ON api_keys (project, create_time);

CREATE TABLE gateway_requests (
    id text PRIMARY KEY,
    answer_id text NOT NULL,
    endpoint text NOT NULL,
    revision text NOT NULL,
    api_key text NOT NULL,
    status integer NOT NULL,
    failed boolean NOT NULL,
    first_byte_ms double precision NOT NULL,
    total_ms double precision NOT NULL,
    prompt_tokens integer NOT NULL,
    completion_tokens integer NOT NULL,
    question jsonb,
    answer text,
    create_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX requests_revision ON gateway_requests (revision, create_time);
CREATE INDEX requests_endpoint ON gateway_requests (endpoint, create_time);
CREATE INDEX requests_answer ON gateway_requests (answer_id);
CREATE INDEX requests_key ON gateway_requests (api_key, create_time) WHERE api_key <> '';

CREATE TABLE feedback (
    id text PRIMARY KEY,
    request text NOT NULL,
    endpoint text NOT NULL,
    revision text NOT NULL,
    score double precision,
    correction text,
    comment text,
    create_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX feedback_revision ON feedback (revision, create_time);
CREATE INDEX feedback_endpoint ON feedback (endpoint, create_time);
"""
_DOWN = """
DROP TABLE feedback;
DROP TABLE gateway_requests;
DROP TABLE api_keys;
DROP TABLE decisions;
DELETE FROM engines WHERE replica > 0;
ALTER TABLE engines DROP COLUMN replica;
ALTER TABLE engines ADD PRIMARY KEY (revision, agent);
DROP INDEX revisions_one_canary;
DROP INDEX revisions_engine_wanted;
ALTER TABLE revisions DROP CONSTRAINT revisions_state_check;
UPDATE revisions SET state = 'REJECTED' WHERE state IN ('CANARY', 'AWAITING_APPROVAL');
ALTER TABLE revisions ADD CONSTRAINT revisions_state_check CHECK (state IN
    ('BUILDING', 'STARTING', 'CHECKING', 'LIVE', 'SUPERSEDED', 'ROLLED_BACK', 'REJECTED'));
ALTER TABLE revisions DROP COLUMN canary_step, DROP COLUMN canary_weight, DROP COLUMN step_time,
    DROP COLUMN approved_by, DROP COLUMN warm_until, DROP COLUMN variants;
CREATE INDEX revisions_engine_wanted ON revisions (name) WHERE state IN ('STARTING', 'CHECKING', 'LIVE')
"""


def upgrade() -> None:
    """Add them."""
    _execute(_UP)


def downgrade() -> None:
    """Take them away; revisions on their way to users are rejected."""
    _execute(_DOWN)


def _execute(statements: str) -> None:
    for statement in statements.split(";"):
        if statement.strip():
            op.execute(statement)
