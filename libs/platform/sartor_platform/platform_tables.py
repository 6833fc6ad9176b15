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


def create_platform_tables_v1(op: Any) -> None:
    """Create them in the schema being migrated. `op` is `alembic.op`."""
    for statement in _V1.split(";"):
        if statement.strip():
            op.execute(statement)


def drop_platform_tables_v1(op: Any) -> None:
    """The way back, for `downgrade()`."""
    for table in _TABLES_V1:
        op.execute(f"DROP TABLE {table}")
