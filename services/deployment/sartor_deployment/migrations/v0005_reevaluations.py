"""What is live, evaluated again now and then on newer items."""

from __future__ import annotations

from alembic import op

revision = "v0005"
down_revision = "v0004"


def upgrade() -> None:
    """Create the table."""
    op.execute("""
        CREATE TABLE reevaluations (
            run text PRIMARY KEY,
            endpoint text NOT NULL REFERENCES endpoints (name),
            revision text NOT NULL,
            model_version text NOT NULL,
            curation text NOT NULL,
            passed boolean,
            message text NOT NULL DEFAULT '',
            request_time timestamptz NOT NULL,
            end_time timestamptz
        )
    """)
    op.execute("CREATE INDEX reevaluations_endpoint ON reevaluations (endpoint, request_time)")


def downgrade() -> None:
    """Drop it; decisions keep what was found."""
    op.execute("DROP TABLE reevaluations")
