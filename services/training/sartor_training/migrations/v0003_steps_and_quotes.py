"""The figures of every step, and quotes that workers made."""

from __future__ import annotations

from alembic import op

revision = "v0003"
down_revision = "v0002"

_TABLES = """
CREATE TABLE training_steps (
    training_job text NOT NULL REFERENCES training_jobs (name),
    step bigint NOT NULL,
    figures jsonb NOT NULL,
    PRIMARY KEY (training_job, step)
);

CREATE TABLE training_quotes (
    name text PRIMARY KEY,
    project text NOT NULL,
    curation text NOT NULL,
    base_model text NOT NULL,
    recipe jsonb NOT NULL,
    result jsonb,
    create_time timestamptz NOT NULL DEFAULT now()
);
"""


def upgrade() -> None:
    """Create everything."""
    for statement in _TABLES.split(";"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    """Drop everything."""
    op.execute("DROP TABLE training_quotes")
    op.execute("DROP TABLE training_steps")
