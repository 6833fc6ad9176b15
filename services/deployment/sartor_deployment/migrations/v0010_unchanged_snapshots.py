"""Which snapshot a curation is of, and that an adaptation was told that nothing is newer than one."""

from __future__ import annotations

from alembic import op

revision = "v0010"
down_revision = "v0009"

_TABLES = ("curations", "adaptations")


def upgrade() -> None:
    """Add them: of what is there already they are not known."""
    for table in _TABLES:
        op.execute(f"ALTER TABLE {table} ADD COLUMN snapshot text NOT NULL DEFAULT ''")


def downgrade() -> None:
    """Take them away: an adaptation without newer data waits until its time is over."""
    for table in _TABLES:
        op.execute(f"ALTER TABLE {table} DROP COLUMN snapshot")
