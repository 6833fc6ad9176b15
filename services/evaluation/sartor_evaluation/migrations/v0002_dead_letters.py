"""Dead letters, the sweep of losing attempts and the fair claim of jobs."""

from __future__ import annotations

from alembic import op
from sartor_platform.migrations import create_platform_tables_v2, drop_platform_tables_v2

revision = "v0002"
down_revision = "v0001"


def upgrade() -> None:
    """Create everything."""
    create_platform_tables_v2(op)


def downgrade() -> None:
    """Drop everything."""
    drop_platform_tables_v2(op)
