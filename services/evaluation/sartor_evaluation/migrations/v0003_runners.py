"""Where resident runners listen, for EvaluateOnce."""

from __future__ import annotations

from alembic import op

revision = "v0003"
down_revision = "v0002"


def upgrade() -> None:
    """Create the table."""
    op.execute(
        "CREATE TABLE runners (target text PRIMARY KEY, token text NOT NULL, heartbeat timestamptz NOT NULL)"
    )


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE runners")
