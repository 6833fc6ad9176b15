"""Which rows came from which object, so that what an object does not hold any more can be withdrawn."""

from __future__ import annotations

from alembic import op

revision = "v0005"
down_revision = "v0004"


def upgrade() -> None:
    """Create the table. Objects that an earlier release imported are in it when they come again."""
    op.execute(
        "CREATE TABLE object_rows (source_id integer NOT NULL REFERENCES sources (id), uri text NOT NULL,"
        " batch_id text NOT NULL, prefix text NOT NULL, PRIMARY KEY (source_id, uri, batch_id, prefix))"
    )
    op.execute("CREATE INDEX object_rows_batch ON object_rows (batch_id)")


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE object_rows")
