"""Items of running evaluations, for those who watch."""

from __future__ import annotations

from alembic import op

revision = "v0005"
down_revision = "v0004"


def upgrade() -> None:
    """Create the table."""
    op.execute(
        "CREATE TABLE finished_items (number bigserial PRIMARY KEY, evaluation text NOT NULL,"
        " document jsonb NOT NULL)"
    )
    op.execute("CREATE INDEX finished_items_evaluation ON finished_items (evaluation, number)")


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE finished_items")
