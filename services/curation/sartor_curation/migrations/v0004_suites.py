"""Suites known from events: what models are evaluated on is not trained on."""

from __future__ import annotations

from alembic import op

revision = "v0004"
down_revision = "v0003"


def upgrade() -> None:
    """Create the table. Suites of an earlier release are in it when they are applied again."""
    op.execute("CREATE TABLE suites (name text PRIMARY KEY, objects jsonb NOT NULL)")


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE suites")
