"""Parked events: one whose handler keeps failing steps aside, with those of its key; other keys go on.

The consumer parks; a thread of each server tries the first of each key again, with growing pauses, until it
is handled, turns out to be poison, or is dropped by a person. Order within a key is kept.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping

from sqlalchemy import text

from sartor_platform import dead_letters, log, tracing
from sartor_platform.database import Database, is_transient
from sartor_platform.dead_letters import COLUMNS, DeadLetter, letter_of
from sartor_platform.errors import NotReady, ResourceExhausted, SartorError
from sartor_platform.inbox import BatchHandler, Handler, remember
from sartor_platform.listen import Listener
from sartor_platform.partitions import Pending, decoded
from sartor_platform.settings import PlatformSettings
from sartor_platform.transaction import Transaction
from sartor_platform.watchdog import Watchdog

_POLL_SECONDS = 1.0
_LOOK_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 300.0
_TRIES = 3
RETRY = "retry"
"""Who resolved a parked event that a later try has handled."""

_DUE = text(
    f"SELECT {COLUMNS} FROM dead_letters WHERE state = 'PARKED' AND retry_time <= now()"  # noqa: S608
    " ORDER BY retry_time LIMIT 1 FOR UPDATE SKIP LOCKED"
)


class ParkedLanes:
    """The keys that have parked events, as the consumer knows them: all of them, or a few too many."""

    def __init__(self, database: Database, limit: int) -> None:
        self._database = database
        self._limit = limit
        self._lanes: set[str] = set()
        self._count = 0
        self._look_at = 0.0

    def look_again(self) -> None:
        """Partitions came to this consumer: others may have parked events of theirs."""
        self._look_at = 0.0

    def refresh(self) -> None:
        """Ask the database, where it is time; raises what the database raises."""
        if time.monotonic() < self._look_at:
            return
        with self._database.read() as connection:
            rows = connection.execute(
                text("SELECT lane, count(*) FROM dead_letters WHERE state = 'PARKED' GROUP BY lane")
            )
            found = {str(lane): int(count) for lane, count in rows}
        self._lanes = set(found)
        self._count = sum(found.values())
        self._look_at = time.monotonic() + (_LOOK_SECONDS if found else float("inf"))

    def holds(self, pending: Pending) -> bool:
        """Whether the message must wait behind a parked one."""
        return bool(self._lanes) and pending.lane in self._lanes

    def park(self, pending: Pending, error: Exception | None) -> None:
        """Keep the event in the database until it can be handled. None: it waits behind an earlier one.

        Raises:
            ResourceExhausted: TOO_MANY_PARKED_EVENTS.
        """
        if self._count >= self._limit:
            raise ResourceExhausted(
                f"{self._count} events are parked already: this one waits in its partition",
                reason="TOO_MANY_PARKED_EVENTS",
            )
        reason, message = cause_of(error) if error else ("EARLIER_EVENT_PARKED", "waits for one of its key")
        pause = error.retry_after_seconds if isinstance(error, NotReady) else pause_after(1)
        with self._database.transaction() as tx:
            new = dead_letters.add(
                tx,
                pending.record,
                pending.event,
                state="PARKED",
                reason=reason,
                message=message,
                tries=1 if error else 0,
                retry_seconds=pause,
            )
        self._count += new
        if pending.lane:
            self._lanes.add(pending.lane)
        self._look_at = min(self._look_at, time.monotonic() + _LOOK_SECONDS)


class ParkedEvents:
    """Tries parked events again, in a thread of its own; replicas share the work by row locks."""

    def __init__(
        self,
        database: Database,
        settings: PlatformSettings,
        handlers: Mapping[str, Handler | BatchHandler],
        listener: Listener,
        watchdog: Watchdog,
    ) -> None:
        self._database = database
        self._settings = settings
        self._handlers = handlers
        self._watchdog = watchdog
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="parked", daemon=True)
        listener.subscribe("parked", lambda _detail: self._wake.set())

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the event in hand."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._watchdog.beat("parked", self._settings.watchdog_seconds)
            self._wake.clear()
            try:
                busy = self._try_one()
            except Exception as error:  # noqa: BLE001 - the thread must go on
                log.get().warning("parked.waits", error=log.brief(error))
                self._stopping.wait(_POLL_SECONDS)
                continue
            if not busy:
                self._wake.wait(_POLL_SECONDS * random.uniform(0.8, 1.0))
        self._watchdog.forget("parked")

    def _try_one(self) -> bool:
        letter: DeadLetter | None = None
        try:
            with self._database.transaction() as tx:
                row = tx.connection.execute(_DUE).one_or_none()
                if row is None:
                    return False
                letter = letter_of(row)
                error = attempt(tx, letter, self._handlers)
                self._settle(tx, letter, error)
        except Exception as error:
            # The transaction is lost with its connection: what it was is written in another.
            if letter is None or not is_transient(error):
                raise
            self._postpone(letter, error)
        return True

    def _postpone(self, letter: DeadLetter, error: Exception) -> None:
        with self._database.transaction() as tx:
            self._settle(tx, dead_letters.find(tx.connection, letter.id, lock=True), error)

    def _settle(self, tx: Transaction, letter: DeadLetter, error: Exception | None) -> None:
        if letter.state != "PARKED":
            return
        if error is None:
            dead_letters.resolve(tx, letter, "REPLAYED", RETRY)
            log.get().info("event.unparked", dead_letter=letter.id, type=letter.event_type)
            return
        reason, message = cause_of(error)
        if is_passing(error) or (reason == "INTERNAL" and letter.tries + 1 < _TRIES):
            pause = (
                error.retry_after_seconds if isinstance(error, NotReady) else pause_after(letter.tries + 1)
            )
            dead_letters.failed_again(tx, letter, "PARKED", reason, message)
            dead_letters.retry_after(tx, letter, pause)
            log.get().warning(
                "event.parked_again", dead_letter=letter.id, reason=reason, retry_seconds=round(pause, 1)
            )
        else:
            dead_letters.failed_again(tx, letter, "OPEN", reason, message)
            log.get().warning("event.put_aside", dead_letter=letter.id, reason=reason, why=message)


def attempt(
    tx: Transaction, letter: DeadLetter, handlers: Mapping[str, Handler | BatchHandler]
) -> Exception | None:
    """Give a locked letter's event to its handler, inbox in force; returns why that failed.

    What a failed handler has changed is undone; the transaction goes on.
    """
    pending = decoded(letter.record, letter.event_type)
    if pending.fault is not None:
        return pending.fault
    handler = handlers.get(pending.type)
    if handler is None:
        return SartorError(f"no handler for events of type {pending.type!r}", reason="UNKNOWN_EVENT_TYPE")
    try:
        pending.parse()
        with tracing.continued(pending.event.traceparent), tx.connection.begin_nested():
            for event in remember(tx, [pending.event]):
                handler.fn(tx, [event]) if isinstance(handler, BatchHandler) else handler(tx, event)
    except Exception as error:
        if tx.connection.invalidated or tx.connection.closed:
            raise
        if not isinstance(error, (SartorError, NotReady)) and not is_transient(error):
            log.get().exception("event.handler_broke", type=pending.type, position=pending.event.position)
        return error
    return None


def is_passing(error: BaseException) -> bool:
    """Whether the same event may be handled later, without a change of anything of ours."""
    return isinstance(error, NotReady) or is_transient(error) or bool(getattr(error, "transient", False))


def cause_of(error: Exception) -> tuple[str, str]:
    """Reason and message for people; what a driver or a bug says is not for them."""
    if isinstance(error, NotReady):
        return "NOT_READY", str(error)
    if isinstance(error, SartorError):
        return error.reason, error.message
    if is_transient(error):
        return "DATABASE_UNAVAILABLE", "the database did not finish its transaction"
    return "INTERNAL", f"its handler failed with {type(error).__name__}; see the log of the service"


def pause_after(tries: int) -> float:
    """Seconds to the next try: doubling from one second to five minutes, the half of it by chance."""
    return float(min(2.0 ** min(tries - 1, 16), _LONGEST_PAUSE_SECONDS) * random.uniform(0.5, 1.0))
