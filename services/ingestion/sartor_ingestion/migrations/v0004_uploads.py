"""Uploads that have begun, so that what a killed server left in the object store is found."""

from __future__ import annotations

from alembic import op

revision = "v0004"
down_revision = "v0003"


def upgrade() -> None:
    """Create the table. Uploads that an earlier release left are not in it."""
    op.execute(
        "CREATE TABLE uploads (uri text PRIMARY KEY, create_time timestamptz NOT NULL DEFAULT now(),"
        " abandoned boolean NOT NULL DEFAULT false)"
    )


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE uploads")
