"""The platform's second tables."""

from __future__ import annotations

from alembic import op
from sartor_platform.migrations import create_platform_tables_v2, drop_platform_tables_v2

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    create_platform_tables_v2(op)


def downgrade() -> None:
    drop_platform_tables_v2(op)
