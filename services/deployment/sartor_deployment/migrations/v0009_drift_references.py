"""What drift compares with, kept while its revision is live: features of requests, not their text."""

from __future__ import annotations

from alembic import op

revision = "v0009"
down_revision = "v0008"

_UP = """
CREATE TABLE drift_references (
    revision text PRIMARY KEY,
    endpoint text NOT NULL REFERENCES endpoints (name),
    requests integer NOT NULL,
    end_time timestamptz NOT NULL,
    end_id text NOT NULL,
    made_by text NOT NULL DEFAULT '',
    features bytea,
    scores jsonb NOT NULL DEFAULT '[]',
    scores_until timestamptz NOT NULL,
    error text NOT NULL DEFAULT '',
    create_time timestamptz NOT NULL
)
"""


def upgrade() -> None:
    """Add them; what is live gets its own from the requests that are kept now."""
    op.execute(_UP)


def downgrade() -> None:
    """Take them away: windows are compared with the first requests that are kept."""
    op.execute("DROP TABLE drift_references")
