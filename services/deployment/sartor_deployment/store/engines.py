"""Engines as their agents see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sartor_platform.transaction import Transaction
from sqlalchemy import Connection, text

ENGINE_FRESH_SECONDS = 60.0
"""An engine whose agent was not heard of for longer counts as gone. Long, for a busy machine's sake: who
finds it gone earlier, because it does not answer, passes it over anyway."""


@dataclass(frozen=True, slots=True)
class EngineRow:
    """An engine as its agent sees it."""

    revision: str
    agent: str
    state: str
    host: str
    port: int
    pid: int
    restarts: int
    message: str
    replica: int = 0

    @property
    def url(self) -> str:
        """Its HTTP API."""
        return f"http://{self.host}:{self.port}"


def put_engine(tx: Transaction, row: EngineRow) -> None:
    """Write what an agent sees of one of its engines; `since_time` moves when the state does."""
    tx.connection.execute(
        text(
            "INSERT INTO engines (revision, agent, state, host, port, pid, restarts, message, replica)"
            " VALUES (:revision, :agent, :state, :host, :port, :pid, :restarts, :message, :replica)"
            " ON CONFLICT (revision, agent, replica) DO UPDATE SET state = excluded.state,"
            " host = excluded.host, port = excluded.port, pid = excluded.pid, restarts = excluded.restarts,"
            " message = excluded.message, since_time = CASE WHEN engines.state = excluded.state"
            " AND engines.pid = excluded.pid THEN engines.since_time ELSE now() END, heartbeat_time = now()"
        ),
        asdict(row),
    )
    tx.notify(row.revision)


def heartbeat(tx: Transaction, agent: str) -> None:
    """Say that an agent's engines are still looked after."""
    tx.connection.execute(
        text("UPDATE engines SET heartbeat_time = now() WHERE agent = :agent"), {"agent": agent}
    )


def remove_engines(tx: Transaction, agent: str, revision: str | None = None, pid: int | None = None) -> None:
    """Forget an agent's engine of a revision (where it still is this process), or all of its engines."""
    removed = tx.connection.execute(
        text(
            "DELETE FROM engines WHERE agent = :agent AND revision = coalesce(:revision, revision)"
            " AND pid = coalesce(cast(:pid AS integer), pid) RETURNING revision"
        ),
        {"agent": agent, "revision": revision, "pid": pid},
    ).scalars()
    for name in removed.all():
        tx.notify(name)


def ready_engines(connection: Connection, revisions: Sequence[str] | None = None) -> list[EngineRow]:
    """The engines that answer now, of these revisions or of all."""
    rows = connection.execute(
        text(
            "SELECT revision, agent, state, host, port, pid, restarts, message, replica FROM engines"
            " WHERE state = 'READY' AND heartbeat_time > now() - make_interval(secs => :fresh)"
            " AND (cast(:revisions AS text[]) IS NULL OR revision = ANY(:revisions))"
            " ORDER BY revision, agent, replica"
        ),
        {"fresh": ENGINE_FRESH_SECONDS, "revisions": None if revisions is None else list(revisions)},
    )
    return [EngineRow(*row) for row in rows]
