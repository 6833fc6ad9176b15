"""Lineage of every row, data contracts, previews of imports, and the objects that were imported already."""

from __future__ import annotations

from alembic import op

revision = "v0003"
down_revision = "v0002"

_UP = """
ALTER TABLE arrivals ADD COLUMN subject_key bytea, ADD COLUMN position text NOT NULL DEFAULT '';

CREATE TABLE lineage (
    segment_id bigint NOT NULL,
    segment_row integer NOT NULL,
    dataset_id integer NOT NULL,
    source_id integer NOT NULL,
    record_id bytea NOT NULL,
    key_hash bytea NOT NULL,
    subject_key bytea,
    position text NOT NULL,
    first_sequence bigint NOT NULL,
    gone_sequence bigint,
    PRIMARY KEY (segment_id, segment_row)
);
CREATE INDEX lineage_record ON lineage (record_id);
CREATE INDEX lineage_key ON lineage (key_hash);
CREATE INDEX lineage_subject ON lineage (subject_key) WHERE subject_key IS NOT NULL;

INSERT INTO lineage
    (segment_id, segment_row, dataset_id, source_id, record_id, key_hash, position, first_sequence)
    SELECT k.segment_id, k.segment_row, k.dataset_id, k.source_id, k.record_id, k.key_hash, '', d.sequence
    FROM record_keys k JOIN datasets d ON d.id = k.dataset_id;

ALTER TABLE sources ADD COLUMN breach_count bigint NOT NULL DEFAULT 0,
    ADD COLUMN rows_since bigint NOT NULL DEFAULT 0,
    ADD COLUMN breaches_since bigint NOT NULL DEFAULT 0,
    ADD COLUMN stop_share double precision,
    ADD COLUMN adapter text NOT NULL DEFAULT '';

CREATE TABLE contract_breaches (
    source_id integer NOT NULL REFERENCES sources (id),
    rule text NOT NULL,
    count bigint NOT NULL,
    message text NOT NULL,
    position text NOT NULL,
    update_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source_id, rule)
);

ALTER TABLE imports ADD COLUMN validate_only boolean NOT NULL DEFAULT false, ADD COLUMN preview jsonb;

CREATE TABLE known_objects (
    source_id integer NOT NULL REFERENCES sources (id),
    uri text NOT NULL,
    version text NOT NULL,
    PRIMARY KEY (source_id, uri)
);
"""
_DOWN = """
DROP TABLE known_objects;
ALTER TABLE imports DROP COLUMN validate_only, DROP COLUMN preview;
DROP TABLE contract_breaches;
ALTER TABLE sources DROP COLUMN breach_count, DROP COLUMN rows_since, DROP COLUMN breaches_since,
    DROP COLUMN stop_share, DROP COLUMN adapter;
DROP TABLE lineage;
ALTER TABLE arrivals DROP COLUMN subject_key, DROP COLUMN position;
"""


def upgrade() -> None:
    """Create them. Lineage begins with what is live; what is older has no position."""
    _run(_UP)


def downgrade() -> None:
    """Drop them."""
    _run(_DOWN)


def _run(statements: str) -> None:
    for statement in statements.split(";"):
        if statement.strip():
            op.execute(statement)
