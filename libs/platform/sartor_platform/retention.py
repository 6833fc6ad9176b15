"""How long rows are kept: published events, answers and resolved dead letters for the retention time.

Inbox ids are kept for twice that, dead letters nobody dealt with for a time of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sartor_platform import log

if TYPE_CHECKING:
    import psycopg

_CHUNK = 10_000
# The inbox must remember longer than any outbox may publish again.
_SWEEPS = (
    ("outbox", "published_time IS NOT NULL AND published_time < now() - make_interval(secs => %s)", 1),
    ("inbox", "received_time < now() - make_interval(secs => %s)", 2),
    ("requests", "create_time < now() - make_interval(secs => %s)", 1),
    ("dead_letters", "resolve_time < now() - make_interval(secs => %s)", 1),
)
_NEGLECTED = (
    "DELETE FROM dead_letters WHERE state = 'OPEN' AND create_time < now() - make_interval(secs => %s)"
)


def sweep(
    session: psycopg.Connection[Any], retention_seconds: float, dead_letter_seconds: float
) -> dict[str, int]:
    """Delete what is older than it must be, a chunk a statement. Returns how many rows went, by table."""
    swept: dict[str, int] = {}
    for table, condition, times in _SWEEPS:
        chosen = f"SELECT ctid FROM {table} WHERE {condition} LIMIT %s"  # noqa: S608 - fixed texts
        statement = f"DELETE FROM {table} WHERE ctid = ANY(ARRAY({chosen}))"  # noqa: S608 - fixed texts
        while True:
            gone = session.execute(statement, [retention_seconds * times, _CHUNK]).rowcount
            swept[table] = swept.get(table, 0) + gone
            if gone < _CHUNK:
                break
    neglected = session.execute(_NEGLECTED, [dead_letter_seconds]).rowcount
    if neglected:
        log.get().warning("retention.forgot_open_dead_letters", letters=neglected)
    swept["dead_letters"] += neglected
    if any(swept.values()):
        log.get().info("retention.swept", **swept)
    return swept
