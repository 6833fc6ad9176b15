"""The consumer: one thread polls Kafka, handles events in transactions and commits offsets afterwards.

A partition whose event meets a transient fault waits, paused, with backoff; the others go on. An event that
can never be handled goes to the dead letters, and the partition goes on. An unexpected exception counts as
transient at first.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sartor_platform import fault_points, log, metrics
from sartor_platform.consumer_client import ConsumerClient
from sartor_platform.database import Database, is_transient
from sartor_platform.dead_letters import DeadLetters
from sartor_platform.errors import NotReady, SartorError
from sartor_platform.inbox import BatchHandler, Handler, handle
from sartor_platform.partitions import Partition, Pending, decoded
from sartor_platform.settings import PlatformSettings
from sartor_platform.topics import Topic, Topics
from sartor_platform.watchdog import Watchdog

__all__ = ["BatchHandler", "Consumer", "Handler"]

_TURN_SECONDS = 2.0
_POLL_SECONDS = 0.25
_TRIES = 3


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
        self._dead_letters = DeadLetters(settings, database.service)
        self._partitions: dict[Any, Partition] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="consumer", daemon=True)

    def start(self) -> None:
        """Begin to consume."""
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
        self._dead_letters.close()
        self._watchdog.forget("consumer")

    def _start_over(self) -> None:
        self._partitions.clear()
        self._client.close()

    def _turn(self) -> None:
        polled, gone = self._client.poll(self._patience())
        for key in gone:
            self._partitions.pop(key, None)
        for key, records in polled.items():
            partition = self._partitions.setdefault(key, Partition())
            partition.pending.extend(decoded(record) for record in records)
        self._work()
        self._commit()
        self._client.hold({key for key, partition in self._partitions.items() if partition.pending})

    def _patience(self) -> float:
        now = time.monotonic()
        waits = [partition.retry_at - now for partition in self._partitions.values() if partition.pending]
        return max(0.0, min([_POLL_SECONDS, *waits]))

    def _work(self) -> None:
        until = time.monotonic() + _TURN_SECONDS
        while time.monotonic() < until:
            now = time.monotonic()
            ready = {key: p for key, p in self._partitions.items() if p.pending and p.retry_at <= now}
            if not ready:
                return
            for key, partition in ready.items():
                if partition.pending and partition.retry_at <= now:
                    self._take(key, partition, ready)
            self._watchdog.beat("consumer", self._settings.watchdog_seconds)

    def _take(self, key: Any, partition: Partition, ready: Mapping[Any, Partition]) -> None:
        """Handle what is first in this partition; a batch takes what fits to it from the others too."""
        first = partition.pending[0]
        if first.fault is not None:
            self._put_aside(partition, first.fault.reason, first.fault.message)
            return
        handler = self._handlers.get(first.event.type)
        if handler is None:
            self._unhandled(partition, first)
        elif isinstance(handler, BatchHandler):
            self._handle_batch(handler, first.event.type, {key: partition, **ready})
        else:
            self._handle_one(handler, partition)

    def _handle_one(self, handler: Handler | BatchHandler, partition: Partition) -> None:
        event = partition.pending[0].event
        try:
            partition.pending[0].parse()
            fresh = handle(self._database, handler, [partition.pending[0].event])
        except SartorError as error:
            if error.transient:
                self._postpone(partition, error)
            else:
                self._put_aside(partition, error.reason, error.message)
            return
        except Exception as error:  # noqa: BLE001 - whatever it was, it is sorted there
            self._unexpected(partition, error)
            return
        self._count(event.topic, event.type, "handled" if fresh else "seen_before")
        if fresh:
            log.get().info("event.handled", type=event.type, subject=event.subject, position=event.position)
        partition.done(1)

    def _handle_batch(self, handler: BatchHandler, type_: str, ready: Mapping[Any, Partition]) -> None:
        batch: list[Pending] = []
        taken: list[tuple[Partition, int]] = []
        try:
            for partition in ready.values():
                run = partition.run_of(type_, handler.limit - len(batch))
                for pending in run:
                    pending.parse()
                if run:
                    batch.extend(run)
                    taken.append((partition, len(run)))
            fresh = handle(self._database, handler, [pending.event for pending in batch])
        except Exception as error:  # noqa: BLE001 - tried again, one by one
            if is_transient(error) or (isinstance(error, SartorError) and error.transient):
                for partition, _ in taken:
                    self._postpone(partition, error)
                return
            for partition, count in taken or [(p, 1) for p in ready.values() if p.run_of(type_, 1)]:
                self._one_by_one(handler, partition, count)
            return
        for pending in batch:
            metrics.EVENTS.labels(pending.event.topic, type_, "taken").inc()
        log.get().info("events.handled", type=type_, events=len(batch), fresh=fresh)
        for partition, count in taken:
            partition.done(count)

    def _one_by_one(self, handler: BatchHandler, partition: Partition, count: int) -> None:
        for _ in range(count):
            left = len(partition.pending)
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

    def _unexpected(self, partition: Partition, error: Exception) -> None:
        first = partition.pending[0]
        if is_transient(error) or isinstance(error, NotReady):
            self._postpone(partition, error)
            return
        first.tries += 1
        log.get().exception("event.handler_broke", type=first.event.type, position=first.event.position)
        if first.tries >= _TRIES:
            self._put_aside(
                partition, "INTERNAL", f"its handler failed {_TRIES} times; see the log of the service"
            )
        else:
            self._postpone(partition, error)

    def _postpone(self, partition: Partition, error: Exception) -> None:
        if isinstance(error, NotReady):
            pause = error.retry_after_seconds
        else:
            pause = min(0.25 * 2.0**partition.faults, 15.0) * random.uniform(0.5, 1.0)
        partition.faults += 1
        partition.retry_at = time.monotonic() + pause
        log.get().warning("event.postponed", error=log.brief(error), retry_seconds=round(pause, 2))

    def _put_aside(self, partition: Partition, reason: str, message: str) -> None:
        from kafka.errors import KafkaError

        first = partition.pending[0]
        try:
            self._dead_letters.send(first.record, reason, message)
        except KafkaError as error:
            self._postpone(partition, error)
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
