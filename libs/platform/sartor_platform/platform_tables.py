"""The tables every service has: inbox, outbox, jobs, answered requests and standing orders.

Part of first migrations. A change is a new function (`…_v2`) called by a new migration of every service; v1
never changes once released.
"""

from __future__ import annotations

from typing import Any

_V1 = """
CREATE TABLE inbox (
    source text NOT NULL,
    id text NOT NULL,
    received_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source, id)
);
CREATE INDEX inbox_received_time ON inbox USING brin (received_time);

CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id text NOT NULL,
    topic text NOT NULL,
    subject text NOT NULL,
    type text NOT NULL,
    source text NOT NULL,
    run text NOT NULL,
    generation bigint NOT NULL,
    traceparent text NOT NULL,
    data bytea NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    published_time timestamptz
);
CREATE INDEX outbox_unpublished ON outbox (id) WHERE published_time IS NULL;
CREATE INDEX outbox_published_time ON outbox (published_time) WHERE published_time IS NOT NULL;

CREATE TABLE relay_topics (
    topic text PRIMARY KEY,
    topic_id text NOT NULL,
    update_time timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE jobs (
    id text PRIMARY KEY,
    kind text NOT NULL,
    resource text NOT NULL,
    project text NOT NULL,
    run text NOT NULL,
    generation bigint NOT NULL,
    revision integer NOT NULL,
    parent text NOT NULL,
    payload jsonb NOT NULL,
    priority integer NOT NULL,
    requirements jsonb NOT NULL,
    state text NOT NULL CHECK (state IN
        ('QUEUED', 'RUNNING', 'PAUSED', 'CANCELLING', 'SUCCEEDED', 'FAILED', 'CANCELLED')),
    attempt integer NOT NULL DEFAULT 0,
    lease_token text,
    lease_owner text,
    lease_until timestamptz,
    progress jsonb NOT NULL DEFAULT '{}',
    error_reason text NOT NULL DEFAULT '',
    error_message text NOT NULL DEFAULT '',
    traceparent text NOT NULL,
    not_before timestamptz,
    deadline timestamptz,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    start_time timestamptz,
    end_time timestamptz
);
CREATE INDEX jobs_unfinished ON jobs (kind, state)
    WHERE state IN ('QUEUED', 'RUNNING', 'PAUSED', 'CANCELLING');
CREATE INDEX jobs_resource ON jobs (resource, create_time);
CREATE INDEX jobs_run ON jobs (run);

CREATE TABLE requests (
    principal text NOT NULL,
    type text NOT NULL,
    request_id text NOT NULL,
    digest text NOT NULL,
    response bytea,
    create_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (principal, type, request_id)
);
CREATE INDEX requests_create_time ON requests (create_time);

CREATE TABLE orders (
    name text PRIMARY KEY,
    revision integer NOT NULL,
    generation bigint NOT NULL,
    version bigint NOT NULL DEFAULT 0,
    paused boolean NOT NULL DEFAULT false,
    created_by text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE order_revisions (
    name text NOT NULL REFERENCES orders (name),
    revision integer NOT NULL,
    spec jsonb NOT NULL,
    digest text NOT NULL,
    created_by text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (name, revision)
);
"""
_TABLES_V1 = ("order_revisions", "orders", "requests", "jobs", "relay_topics", "outbox", "inbox")


# Jobs that ended before this are never swept: nobody wrote down which attempt had won.
_V2 = """
CREATE TABLE dead_letters (
    id text PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY,
    identity text NOT NULL UNIQUE,
    lane text NOT NULL,
    state text NOT NULL CHECK (state IN ('OPEN', 'PARKED', 'REPLAYED', 'DROPPED')),
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    key bytea,
    value bytea,
    headers jsonb NOT NULL,
    record_time timestamptz NOT NULL,
    event_id text NOT NULL,
    event_source text NOT NULL,
    event_type text NOT NULL,
    subject text NOT NULL,
    run text NOT NULL,
    reason text NOT NULL,
    message text NOT NULL,
    tries integer NOT NULL,
    retry_time timestamptz,
    open_time timestamptz,
    published_time timestamptz,
    resolve_time timestamptz,
    resolved_by text NOT NULL DEFAULT '',
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX dead_letters_state ON dead_letters (state, id);
CREATE INDEX dead_letters_lane ON dead_letters (lane, number) WHERE state = 'PARKED';
CREATE INDEX dead_letters_retry ON dead_letters (retry_time) WHERE state = 'PARKED';
CREATE INDEX dead_letters_unpublished ON dead_letters (number)
    WHERE open_time IS NOT NULL AND published_time IS NULL;

ALTER TABLE jobs ADD COLUMN winner_prefix text NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN sweep_time timestamptz;
UPDATE jobs SET sweep_time = now() WHERE end_time IS NOT NULL;
CREATE INDEX jobs_unswept ON jobs (end_time) WHERE end_time IS NOT NULL AND sweep_time IS NULL;
CREATE INDEX jobs_queue
    ON jobs (project, kind, (coalesce(requirements ->> 'device', 'cpu')), priority DESC, create_time, id)
    WHERE state = 'QUEUED';
CREATE INDEX jobs_turns ON jobs (project, start_time DESC) WHERE start_time IS NOT NULL
"""


def create_platform_tables_v1(op: Any) -> None:
    """Create them in the schema being migrated. `op` is `alembic.op`."""
    _execute(op, _V1)


def create_platform_tables_v2(op: Any) -> None:
    """Add the dead letters, what the sweep of losing attempts needs, and the indexes of a fair claim."""
    _execute(op, _V2)


def drop_platform_tables_v2(op: Any) -> None:
    """The way back, for `downgrade()`."""
    for index in ("jobs_turns", "jobs_queue", "jobs_unswept"):
        op.execute(f"DROP INDEX {index}")
    op.execute("ALTER TABLE jobs DROP COLUMN sweep_time, DROP COLUMN winner_prefix")
    op.execute("DROP TABLE dead_letters")


def drop_platform_tables_v1(op: Any) -> None:
    """The way back, for `downgrade()`."""
    for table in _TABLES_V1:
        op.execute(f"DROP TABLE {table}")


def _execute(op: Any, statements: str) -> None:
    for statement in statements.split(";"):
        if statement.strip():
            op.execute(statement)
