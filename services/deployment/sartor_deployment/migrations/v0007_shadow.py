"""Revisions that answer in the shadow of the live one, and how far their answers agree."""

from __future__ import annotations

from alembic import op

revision = "v0007"
down_revision = "v0006"

_WANTED = "'STARTING', 'CHECKING', 'CANARY', 'AWAITING_APPROVAL', 'LIVE'"
_STATES = f"{_WANTED}, 'BUILDING', 'SUPERSEDED', 'ROLLED_BACK', 'REJECTED'"


def upgrade() -> None:
    """Allow the state, keep the agreement."""
    _allow(f"{_STATES}, 'SHADOW'", f"{_WANTED}, 'SHADOW'")
    op.execute("ALTER TABLE gateway_requests ADD COLUMN agreement real")


def downgrade() -> None:
    """What is in the shadow is rejected: it can be deployed again."""
    op.execute("ALTER TABLE gateway_requests DROP COLUMN agreement")
    op.execute("UPDATE revisions SET state = 'REJECTED' WHERE state = 'SHADOW'")
    _allow(_STATES, _WANTED)


def _allow(states: str, wanted: str) -> None:
    op.execute("ALTER TABLE revisions DROP CONSTRAINT revisions_state_check")
    op.execute(f"ALTER TABLE revisions ADD CONSTRAINT revisions_state_check CHECK (state IN ({states}))")
    op.execute("DROP INDEX revisions_engine_wanted")
    op.execute(f"CREATE INDEX revisions_engine_wanted ON revisions (name) WHERE state IN ({wanted})")
