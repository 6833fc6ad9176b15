"""The consumer: one thread polls Kafka, handles events in transactions and commits offsets afterwards.

A partition whose event meets a transient fault waits, paused, with backoff; the others go on. Where that
lasts longer than `park_after_seconds`, the event is parked with those of its key that follow, and the
partition goes on. An event that can never be handled goes to the dead letters. An unexpected exception counts
as transient at first.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sartor_platform import dead_letters, fault_points, log, metrics
from sartor_platform.consumer_client import ConsumerClient
from sartor_platform.database import Database, is_transient
from sartor_platform.errors import NotReady, SartorError
from sartor_platform.inbox import BatchHandler, Handler, handle
from sartor_platform.parking import ParkedLanes, is_passing
from sartor_platform.partitions import Partition, Pending, decoded
from sartor_platform.settings import PlatformSettings
from sartor_platform.topics import Topic, Topics
from sartor_platform.watchdog import Watchdog

__all__ = ["BatchHandler", "Consumer", "Handler"]

_TURN_SECONDS = 2.0
_POLL_SECONDS = 0.25
_TRIES = 3
_TOGETHER = 64
_BATCH_TRIES = 4


class Consumer:
    """Consumes the service's topics in its consumer group `sartor-<service>`."""

    def __init__(
        self,
        database: Database,
        settings: PlatformSettings,
        topics: Topics,
        wanted: Callable[[], Sequence[str | Topic]],
        handlers: Mapping[str, Handler | BatchHandler],
        watchdog: Watchdog,
    ) -> None:
        self._database = database
        self._settings = settings
        self._handlers = handlers
        self._watchdog = watchdog
        self._client = ConsumerClient(settings, topics, f"sartor-{database.service}", wanted)
        self._parked = ParkedLanes(database, settings.parked_limit)
        self._partitions: dict[Any, Partition] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="consumer", daemon=True)

    def start(self) -> None:
        """Begin to consume."""
        self._watchdog.beat("consumer", self._settings.watchdog_seconds)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the events in hand, leave the group."""
        self._stopping.set()
        self._thread.join(timeout=15)

    def _run(self) -> None:
        pause = 0.5
        while not self._stopping.is_set():
            self._watchdog.beat("consumer", self._settings.watchdog_seconds)
            try:
                self._turn()
                pause = 0.5
            except Exception as error:  # noqa: BLE001 - the thread must go on
                # Broker or database away, or a fault of ours: a new client, and what was not committed comes
                # again.
                log.get().warning("consumer.starts_over", error=log.brief(error), retry_seconds=pause)
                self._start_over()
                self._stopping.wait(pause)
                pause = min(pause * 2, 10.0)
        self._start_over()
        self._watchdog.forget("consumer")

    def _start_over(self) -> None:
        self._partitions.clear()
        self._client.close()

    def _turn(self) -> None:
        polled, gone = self._client.poll(self._patience())
        for key in gone:
            self._partitions.pop(key, None)
        if not polled.keys() <= self._partitions.keys():
            self._parked.look_again()
        for key, records in polled.items():
            partition = self._partitions.setdefault(key, Partition())
            foreign = self._client.foreign_type(key.topic)
            partition.pending.extend(decoded(record, foreign) for record in records)
        self._work()
        self._commit()
        self._client.hold({key for key, partition in self._partitions.items() if partition.pending})

    def _patience(self) -> float:
        now = time.monotonic()
        waits = [partition.retry_at - now for partition in self._partitions.values() if partition.pending]
        return max(0.0, min([_POLL_SECONDS, *waits]))

    def _work(self) -> None:
        until = time.monotonic() + _TURN_SECONDS
        while time.monotonic() < until and self._knows_parked():
            now = time.monotonic()
            ready = {key: p for key, p in self._partitions.items() if p.pending and p.retry_at <= now}
            if not ready:
                return
            for key, partition in ready.items():
                if partition.pending and partition.retry_at <= now:
                    self._take(key, partition, ready)
            self._watchdog.beat("consumer", self._settings.watchdog_seconds)

    def _knows_parked(self) -> bool:
        """See which keys have parked events; where the database cannot say, everything waits."""
        try:
            self._parked.refresh()
        except Exception as error:
            if not is_transient(error):
                raise
            for partition in self._partitions.values():
                self._postpone(partition, error)
            return False
        return True

    def _take(self, key: Any, partition: Partition, ready: Mapping[Any, Partition]) -> None:
        """Handle what is first in this partition; a batch takes what fits to it from the others too."""
        first = partition.pending[0]
        if first.fault is not None:
            self._put_aside(partition, first.fault.reason, first.fault.message)
            return
        handler = self._handlers.get(first.event.type)
        if handler is None:
            self._unhandled(partition, first)
        elif self._parked.holds(first):
            self._park(partition, None)
        elif first.failing_since is None and (
            isinstance(handler, BatchHandler) or len(partition.pending) > 1
        ):
            self._handle_batch(handler, first.event.type, {key: partition, **ready})
        else:
            self._handle_one(handler, partition)

    def _handle_one(self, handler: Handler | BatchHandler, partition: Partition) -> None:
        event = partition.pending[0].event
        try:
            partition.pending[0].parse()
            fresh = handle(self._database, handler, [partition.pending[0].event])
        except Exception as error:  # noqa: BLE001 - whatever it was, it is sorted there
            self._failed(partition, error)
            return
        self._count(event.topic, event.type, "handled" if fresh else "seen_before")
        if fresh:
            log.get().info("event.handled", type=event.type, subject=event.subject, position=event.position)
        partition.done(1)

    def _handle_batch(
        self, handler: Handler | BatchHandler, type_: str, ready: Mapping[Any, Partition]
    ) -> None:
        """Events of one type in one transaction: each alone would cost a commit."""
        limit = handler.limit if isinstance(handler, BatchHandler) else _TOGETHER
        batch: list[Pending] = []
        taken: list[tuple[Partition, int]] = []
        try:
            for partition in ready.values():
                run = partition.run_of(type_, limit - len(batch), self._parked.holds)
                for pending in run:
                    pending.parse()
                if run:
                    batch.extend(run)
                    taken.append((partition, len(run)))
            fresh = handle(self._database, handler, [pending.event for pending in batch])
        except Exception as error:  # noqa: BLE001 - tried again, one by one
            if is_transient(error) and all(partition.faults < _BATCH_TRIES for partition, _ in taken):
                for partition, _ in taken:
                    self._postpone(partition, error)
                return
            single = [(p, 1) for p in ready.values() if p.run_of(type_, 1, self._parked.holds)]
            for partition, count in taken or single:
                self._one_by_one(handler, partition, count)
            return
        for pending in batch:
            metrics.EVENTS.labels(pending.event.topic, type_, "taken").inc()
        log.get().info("events.handled", type=type_, events=len(batch), fresh=fresh)
        for partition, count in taken:
            partition.done(count)

    def _one_by_one(self, handler: Handler | BatchHandler, partition: Partition, count: int) -> None:
        for _ in range(count):
            left = len(partition.pending)
            if self._parked.holds(partition.pending[0]):
                self._park(partition, None)
            else:
                self._handle_one(handler, partition)
            if len(partition.pending) == left:
                return  # postponed: what follows waits behind it

    def _unhandled(self, partition: Partition, first: Pending) -> None:
        event = first.event
        if not self._client.is_strict(event.topic):
            self._count(event.topic, event.type, "ignored")
            partition.done(1)
            return
        known = ", ".join(sorted(self._handlers))
        self._put_aside(
            partition,
            "UNKNOWN_EVENT_TYPE",
            f"no handler for events of type {event.type!r}; this topic takes {known}",
        )

    def _failed(self, partition: Partition, error: Exception) -> None:
        """What becomes of the event at the front, which its handler did not take."""
        first = partition.pending[0]
        if not is_passing(error):
            if isinstance(error, SartorError):
                self._put_aside(partition, error.reason, error.message)
                return
            first.tries += 1
            log.get().exception(
                "event.handler_broke", type=first.event.type, position=first.event.position, exc_info=error
            )
            if first.tries >= _TRIES:
                self._put_aside(
                    partition, "INTERNAL", f"its handler failed {_TRIES} times; see the log of the service"
                )
                return
        if first.failing_since is None:
            first.failing_since = time.monotonic()
        left = first.failing_since + self._settings.park_after_seconds - time.monotonic()
        asks_later = isinstance(error, NotReady) and error.retry_after_seconds > max(left, 0.0)
        if is_passing(error) and (left <= 0 or asks_later):
            self._park(partition, error)
        else:
            self._postpone(partition, error, at_most=max(left, 0.05))

    def _postpone(self, partition: Partition, error: Exception, *, at_most: float = 15.0) -> None:
        if isinstance(error, NotReady):
            pause = error.retry_after_seconds
        else:
            pause = min(0.25 * 2.0**partition.faults, 15.0, at_most) * random.uniform(0.5, 1.0)
        partition.faults += 1
        partition.retry_at = time.monotonic() + pause
        log.get().warning("event.postponed", error=log.brief(error), retry_seconds=round(pause, 2))

    def _park(self, partition: Partition, error: Exception | None) -> None:
        """Let the event at the front wait in the database: for its handler, or for one of its key."""
        first = partition.pending[0]
        try:
            self._parked.park(first, error)
        except Exception as fault:
            if not is_passing(fault):
                raise
            self._postpone(partition, fault)
            return
        self._count(first.event.topic, first.type, "parked")
        partition.done(1)

    def _put_aside(self, partition: Partition, reason: str, message: str) -> None:
        first = partition.pending[0]
        event = first.event if first.fault is None else None
        try:
            with self._database.transaction() as tx:
                dead_letters.add(tx, first.record, event, state="OPEN", reason=reason, message=message)
        except Exception as fault:
            if not is_transient(fault):
                raise
            self._postpone(partition, fault)
            return
        self._count(first.record.topic, first.type, "put_aside")
        partition.done(1)

    def _count(self, topic: str, type_: str, outcome: str) -> None:
        # Types nobody handles are chosen by others: as labels they could grow without end.
        metrics.EVENTS.labels(topic, type_ if type_ in self._handlers else "other", outcome).inc()

    def _commit(self) -> None:
        offsets = {key: p.next_offset for key, p in self._partitions.items() if p.next_offset is not None}
        if not offsets:
            return
        self._watchdog.beat("consumer", self._settings.watchdog_seconds)
        fault_points.at("after_commit_before_offset")
        self._client.commit(offsets)
        for key in offsets:
            self._partitions[key].next_offset = None
