"""Where the resident runners of the workers listen."""

from __future__ import annotations

from sqlalchemy import Connection, text


def beat(connection: Connection, target: str, token: str) -> None:
    """A worker's runners listen at `target` now; those that were silent for long are forgotten."""
    connection.execute(
        text(
            "INSERT INTO runners VALUES (:target, :token, now())"
            " ON CONFLICT (target) DO UPDATE SET token = excluded.token, heartbeat = now()"
        ),
        {"target": target, "token": token},
    )
    connection.execute(text("DELETE FROM runners WHERE heartbeat < now() - interval '1 hour'"))


def living_runners(connection: Connection) -> list[tuple[str, str]]:
    """(target, token) of the workers heard of lately."""
    query = "SELECT target, token FROM runners WHERE heartbeat > now() - interval '30 seconds'"
    return [(row.target, row.token) for row in connection.execute(text(query))]
