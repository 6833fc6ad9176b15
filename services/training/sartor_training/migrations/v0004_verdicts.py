"""What gates said of model versions, for their model cards."""

from __future__ import annotations

from alembic import op

revision = "v0004"
down_revision = "v0003"


def upgrade() -> None:
    """Create the table."""
    op.execute("""
        CREATE TABLE model_version_verdicts (
            model_version text NOT NULL REFERENCES model_versions (name),
            gate text NOT NULL,
            evaluation text NOT NULL,
            passed boolean NOT NULL,
            rules jsonb NOT NULL,
            in_card boolean NOT NULL DEFAULT false,
            update_time timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (model_version, gate)
        )
    """)
    op.execute("CREATE INDEX ON model_version_verdicts (update_time) WHERE NOT in_card")


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE model_version_verdicts")
