"""The inbox: an event is handled once, in one transaction with the row that says so. Effectively once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import text

from sartor_platform import fault_points, tracing
from sartor_platform.database import Database
from sartor_platform.events import Event
from sartor_platform.transaction import Transaction

Handler = Callable[[Transaction, Event], None]

_REMEMBER = text(
    "INSERT INTO inbox (source, id) SELECT * FROM unnest(cast(:sources AS text[]), cast(:ids AS text[]))"
    " ON CONFLICT DO NOTHING RETURNING source, id"
)


@dataclass(frozen=True, slots=True)
class BatchHandler:
    """A handler that takes many events of one type in one transaction; at most `limit` at a time.

    If it raises, its events are given to it again one by one, so that one bad event spoils no other.
    """

    fn: Callable[[Transaction, Sequence[Event]], None]
    limit: int = 1000


def handle(database: Database, handler: Handler | BatchHandler, events: Sequence[Event]) -> int:
    """Handle those of the events that were never handled before. Returns how many those were."""
    with tracing.continued(events[0].traceparent), database.transaction() as tx:
        fresh = remember(tx, events)
        if fresh and isinstance(handler, BatchHandler):
            handler.fn(tx, fresh)
        elif not isinstance(handler, BatchHandler):
            for event in fresh:
                with tracing.continued(event.traceparent):
                    handler(tx, event)
        fault_points.at("before_commit")
        return len(fresh)


def remember(tx: Transaction, events: Sequence[Event]) -> list[Event]:
    """The events that are new, in their order; they are remembered if the transaction commits."""
    by_key = {(event.source, event.id): event for event in reversed(events)}
    # Sorted, so that two transactions with the same ids cannot wait for each other.
    keys = sorted(by_key)
    rows = tx.connection.execute(
        _REMEMBER, {"sources": [source for source, _ in keys], "ids": [id_ for _, id_ in keys]}
    )
    new = {(row.source, row.id) for row in rows}
    if fault_points.switched_off(fault_points.INBOX):
        new = set(by_key)
    return [
        event
        for event in events
        if (event.source, event.id) in new and by_key[event.source, event.id] is event
    ]
