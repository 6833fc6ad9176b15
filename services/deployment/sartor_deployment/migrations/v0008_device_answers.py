"""Answers that a device gave by itself, known by the feedback about them."""

from __future__ import annotations

from alembic import op

revision = "v0008"
down_revision = "v0007"

_TABLES = ("feedback", "gateway_requests")


def upgrade() -> None:
    """Mark them: what is there was answered here."""
    for table in _TABLES:
        op.execute(f"ALTER TABLE {table} ADD COLUMN on_device boolean NOT NULL DEFAULT false")


def downgrade() -> None:
    """Forget them: without the mark they would count as requests that the gateway answered."""
    for table in _TABLES:
        op.execute(f"DELETE FROM {table} WHERE on_device")  # noqa: S608 - the names above
        op.execute(f"ALTER TABLE {table} DROP COLUMN on_device")
