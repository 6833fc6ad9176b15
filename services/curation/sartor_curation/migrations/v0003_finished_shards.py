"""Shards of running curations that are done, so that another attempt goes on from them."""

from __future__ import annotations

from alembic import op

revision = "v0003"
down_revision = "v0002"


def upgrade() -> None:
    """Create the table."""
    op.execute(
        "CREATE TABLE finished_shards (curation text NOT NULL REFERENCES curations (name),"
        " number integer NOT NULL, object jsonb NOT NULL, PRIMARY KEY (curation, number))"
    )


def downgrade() -> None:
    """Drop the table."""
    op.execute("DROP TABLE finished_shards")
