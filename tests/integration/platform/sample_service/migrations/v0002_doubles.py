"""The service's own table."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("CREATE TABLE doubles (resource text PRIMARY KEY, number integer NOT NULL)")


def downgrade() -> None:
    op.execute("DROP TABLE doubles")
