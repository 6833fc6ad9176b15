"""Base models in the form engines map, one file for all revisions that add an adapter to it."""

from __future__ import annotations

from alembic import op

revision = "v0006"
down_revision = "v0005"


def upgrade() -> None:
    """Create the table, and say of each revision which base it adds its weights to."""
    op.execute("""
        CREATE TABLE shared_bases (
            source_digest text NOT NULL,
            quantization text NOT NULL,
            weights jsonb NOT NULL,
            create_time timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (source_digest, quantization)
        )
    """)
    op.execute("ALTER TABLE revisions ADD COLUMN base_weights jsonb")


def downgrade() -> None:
    """Drop both. Revisions on a shared base that are not live are rejected: no older release runs them."""
    op.execute(
        "UPDATE revisions SET state = 'REJECTED', error_reason = 'SHARED_BASE_DROPPED' WHERE base_weights IS"
        " NOT NULL AND state IN ('STARTING', 'CHECKING', 'CANARY', 'AWAITING_APPROVAL')"
    )
    op.execute("ALTER TABLE revisions DROP COLUMN base_weights")
    op.execute("DROP TABLE shared_bases")
