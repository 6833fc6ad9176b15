"""What each endpoint serves, for gates that compare with it."""

from __future__ import annotations

from alembic import op

revision = "v0004"
down_revision = "v0003"


def upgrade() -> None:
    """Create the table."""
    op.execute(
        "CREATE TABLE live_versions (endpoint text PRIMARY KEY, model text NOT NULL, version text NOT NULL,"
        " update_time timestamptz NOT NULL)"
    )
    op.execute("CREATE INDEX live_versions_model ON live_versions (model, update_time)")


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE live_versions")
