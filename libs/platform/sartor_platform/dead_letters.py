"""Dead letters: events that were not handled, kept whole in the service's own database.

OPEN      it can never be handled as it is; its key goes on, and a person replays or drops it
PARKED    its handler has failed for long, and may work later: it is tried again, and those of its key wait
REPLAYED  handled after all
DROPPED   never to be handled

The row is the truth. A copy of each OPEN letter goes to `<topic>.dlq` for other systems.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, text

from sartor_platform import events, log
from sartor_platform.errors import IllegalTransition, NotFound
from sartor_platform.names import new_id, pattern

if TYPE_CHECKING:
    from sartor_platform.events import Event
    from sartor_platform.transaction import Transaction

DEAD_LETTER = pattern("services/{service}/deadLetters/{dead_letter}")
STATES = ("OPEN", "PARKED", "REPLAYED", "DROPPED")
COLUMNS = (
    'id, number, lane, state, topic, partition, "offset", key, value, headers, record_time, event_id,'
    " event_source, event_type, subject, run, reason, message, tries, retry_time, resolve_time, resolved_by,"
    " create_time, update_time"
)
_MESSAGE_LIMIT = 2000

_ADD = text(
    'INSERT INTO dead_letters (id, identity, lane, state, topic, partition, "offset", key, value, headers,'
    " record_time, event_id, event_source, event_type, subject, run, reason, message, tries, open_time,"
    " retry_time)"
    " VALUES (:id, :identity, :lane, :state, :topic, :partition, :offset, :key, :value,"
    " cast(:headers AS jsonb), :record_time, :event_id, :event_source, :event_type, :subject, :run, :reason,"
    " :message, :tries, CASE WHEN :state = 'OPEN' THEN now() END,"
    # Of a key's parked events only the first has a time: the others wait for it.
    " CASE WHEN :state = 'PARKED' AND NOT EXISTS"
    "  (SELECT 1 FROM dead_letters WHERE lane = :lane AND state = 'PARKED')"
    "  THEN now() + make_interval(secs => :retry_seconds) END)"
    " ON CONFLICT (identity) DO NOTHING"
)


@dataclass(frozen=True, slots=True)
class Record:
    """A Kafka message as it was consumed; `timestamp` in milliseconds."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One row. `lane` is shared by the events of one key."""

    id: str
    number: int
    lane: str
    state: str
    record: Record
    record_time: datetime
    event_id: str
    event_source: str
    event_type: str
    subject: str
    run: str
    reason: str
    message: str
    tries: int
    retry_time: datetime | None
    resolve_time: datetime | None
    resolved_by: str
    create_time: datetime
    update_time: datetime


def lane_of(record: Any) -> str:
    """What the events of one key of one topic share; "" where there is no key, and so no order."""
    return f"{record.topic}:{hashlib.sha256(record.key).hexdigest()[:24]}" if record.key else ""


def add(
    tx: Transaction,
    record: Any,
    event: Event | None,
    *,
    state: str,
    reason: str,
    message: str,
    tries: int = 1,
    retry_seconds: float = 0.0,
) -> bool:
    """Keep a message that was not handled; False where it is kept already, as after a crash before commit."""
    identity = _identity(record, event)
    lane = lane_of(record) or identity
    _hold_lane(tx, lane)
    values = {
        "id": new_id(),
        "identity": identity,
        "lane": lane,
        "state": state,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "key": record.key,
        "value": record.value,
        "headers": json.dumps([[_storable(key), _base64(value)] for key, value in record.headers]),
        "record_time": datetime.fromtimestamp(min(max(record.timestamp, 0) / 1000, events.LAST_SECOND), UTC),
        "event_id": _storable(event.id) if event else "",
        "event_source": _storable(event.source) if event else "",
        "event_type": _storable(event.type) if event else "",
        "subject": _storable(event.subject) if event else "",
        "run": _storable(event.run) if event else "",
        "reason": reason,
        "message": _storable(message)[:_MESSAGE_LIMIT],
        "tries": tries,
        "retry_seconds": retry_seconds,
    }
    if not tx.connection.execute(_ADD, values).rowcount:
        return False
    log.get().warning(
        "event.put_aside" if state == "OPEN" else "event.parked",
        dead_letter=values["id"],
        position=f"{record.topic}/{record.partition}/{record.offset}",
        reason=reason,
        why=values["message"],
    )
    tx.wake("dead_letters" if state == "OPEN" else "parked")
    return True


def find(connection: Connection, id_: str, *, lock: bool = False) -> DeadLetter:
    """The letter of this id.

    Raises:
        NotFound: DEAD_LETTER_NOT_FOUND.
    """
    query = f"SELECT {COLUMNS} FROM dead_letters WHERE id = :id{' FOR UPDATE' if lock else ''}"  # noqa: S608
    row = connection.execute(text(query), {"id": id_}).one_or_none()
    if row is None:
        raise NotFound(
            f"there is no dead letter {id_!r}; resolved ones are forgotten after the retention time",
            reason="DEAD_LETTER_NOT_FOUND",
            metadata={"dead_letter": id_},
        )
    return letter_of(row)


def check_unresolved(letter: DeadLetter) -> None:
    """See that the letter can still be replayed or dropped.

    Raises:
        IllegalTransition: DEAD_LETTER_RESOLVED: it has come to its end already.
    """
    if letter.state not in ("OPEN", "PARKED"):
        raise IllegalTransition(
            f"the dead letter was {letter.state.lower()} already, by {letter.resolved_by}",
            reason="DEAD_LETTER_RESOLVED",
            metadata={"state": letter.state},
        )


def drop(tx: Transaction, letter: DeadLetter, who: str) -> None:
    """See that a locked letter's event is never handled: its inbox row stands for it if it comes again.

    Raises:
        IllegalTransition: DEAD_LETTER_RESOLVED.
    """
    resolve(tx, letter, "DROPPED", who)
    if letter.event_id:
        tx.connection.execute(
            text("INSERT INTO inbox (source, id) VALUES (:source, :id) ON CONFLICT DO NOTHING"),
            {"source": letter.event_source, "id": letter.event_id},
        )
    log.get().warning("dead_letter.dropped", dead_letter=letter.id, by=who)


def resolve(tx: Transaction, letter: DeadLetter, state: str, who: str) -> None:
    """Bring a locked letter to its end: REPLAYED or DROPPED.

    Raises:
        IllegalTransition: DEAD_LETTER_RESOLVED.
    """
    check_unresolved(letter)
    tx.connection.execute(
        text(
            "UPDATE dead_letters SET state = :state, resolved_by = :who, resolve_time = now(),"
            " update_time = now(), retry_time = NULL WHERE id = :id"
        ),
        {"id": letter.id, "state": state, "who": who},
    )
    _free_lane(tx, letter)


def failed_again(tx: Transaction, letter: DeadLetter, state: str, reason: str, message: str) -> None:
    """Write down that a locked letter was tried in vain; it is `state` now. See `retry_after` besides."""
    tx.connection.execute(
        text(
            "UPDATE dead_letters SET state = :state, reason = :reason, message = :message, tries = tries + 1,"
            " open_time = CASE WHEN :state = 'OPEN' THEN coalesce(open_time, now()) END,"
            " update_time = now(), retry_time = NULL WHERE id = :id"
        ),
        {
            "id": letter.id,
            "state": state,
            "reason": reason,
            "message": _storable(message)[:_MESSAGE_LIMIT],
        },
    )
    if state == "OPEN":
        tx.wake("dead_letters")
        _free_lane(tx, letter)


def retry_after(tx: Transaction, letter: DeadLetter, seconds: float) -> None:
    """Try a parked letter again, this much later."""
    tx.connection.execute(
        text(
            "UPDATE dead_letters SET retry_time = now() + make_interval(secs => :seconds)"
            " WHERE id = :id AND state = 'PARKED'"
        ),
        {"id": letter.id, "seconds": seconds},
    )


def counts(connection: Connection) -> dict[str, int]:
    """How many letters are OPEN and PARKED."""
    rows = connection.execute(
        text("SELECT state, count(*) FROM dead_letters WHERE state IN ('OPEN', 'PARKED') GROUP BY state")
    )
    return {"OPEN": 0, "PARKED": 0} | {str(state): int(count) for state, count in rows}


def letter_of(row: Any) -> DeadLetter:
    """A row of COLUMNS as a letter."""
    record = Record(
        topic=row.topic,
        partition=row.partition,
        offset=row.offset,
        timestamp=int(row.record_time.timestamp() * 1000),
        key=None if row.key is None else bytes(row.key),
        value=None if row.value is None else bytes(row.value),
        headers=[(key, base64.b64decode(value)) for key, value in row.headers],
    )
    kept = {name: getattr(row, name) for name in DeadLetter.__slots__ if name != "record"}
    return DeadLetter(record=record, **kept)


def _identity(record: Any, event: Event | None) -> str:
    """The same for each delivery of the same message.

    An event is the same at another offset too: a broker that lost its log is given it again.
    """
    if event is not None:
        parts = ["event", event.source, event.id, event.type]
    else:
        parts = ["record", record.topic, str(record.partition), str(record.offset)]
        parts += [f"{key}={_base64(value)}" for key, value in record.headers]
    parts += [_base64(record.key), _base64(record.value)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _hold_lane(tx: Transaction, lane: str) -> None:
    """Nobody else adds to this key's parked events or takes from them until this transaction ends."""
    tx.connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:lane, 7))"), {"lane": lane})


def _free_lane(tx: Transaction, letter: DeadLetter) -> None:
    """What waited behind the letter is next."""
    if letter.state != "PARKED":
        return
    _hold_lane(tx, letter.lane)
    tx.connection.execute(
        text(
            "UPDATE dead_letters SET retry_time = now() WHERE retry_time IS NULL AND number = (SELECT"
            " min(number) FROM dead_letters WHERE lane = :lane AND state = 'PARKED')"
        ),
        {"lane": letter.lane},
    )
    tx.wake("parked")


def _base64(data: bytes | None) -> str:
    return base64.b64encode(data or b"").decode()


def _storable(value: str) -> str:
    """PostgreSQL's text has no NUL and no half of a surrogate pair."""
    return value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
