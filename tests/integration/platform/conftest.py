"""One fresh schema a test, and the parts of a service started in this process and stopped at its end."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer
from sartor_platform.consumer import BatchHandler, Consumer, Handler
from sartor_platform.database import Database
from sartor_platform.listen import Listener
from sartor_platform.objects import ObjectStore
from sartor_platform.outbox import Relay
from sartor_platform.parking import ParkedEvents
from sartor_platform.platform_tables import create_platform_tables_v1, create_platform_tables_v2
from sartor_platform.runtime import Runtime
from sartor_platform.settings import PlatformSettings, read
from sartor_platform.topics import Topic, Topics
from sartor_platform.watch import Watchers
from sartor_platform.watchdog import Watchdog
from sartor_platform.worker import JobKind
from sartor_platform.worker_loop import WorkerLoop
from sqlalchemy import text


def until(condition: Callable[[], Any], *, seconds: float = 30) -> Any:
    """Wait for the condition and return what it gave; fails only when it never comes."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def read_all(settings: PlatformSettings, topic: str, count: int) -> list[Any]:
    """The first `count` messages of a topic."""
    consumer = KafkaConsumer(
        topic, bootstrap_servers=settings.kafka_bootstrap_servers, auto_offset_reset="earliest"
    )
    try:
        found: list[Any] = []

        def enough() -> bool:
            for records in consumer.poll(timeout_ms=200).values():
                found.extend(records)
            return len(found) >= count

        until(enough)
        return found
    finally:
        consumer.close()


class Platform:
    """The parts of one service, as a process would hold them."""

    def __init__(self, settings: PlatformSettings, service: str, stack: ExitStack) -> None:
        self.settings = settings
        self.service = service
        self.topic = f"sartor.{service}.v1"
        self._stack = stack
        self.database = Database(settings.database_url, service)
        stack.callback(self.database.close)
        with self.database.engine.begin() as connection:
            connection.execute(text(f'CREATE SCHEMA "{self.database.schema}"'))
        with self.database.engine.begin() as connection:
            create_platform_tables_v1(_Op(connection))
            create_platform_tables_v2(_Op(connection))
        self.listener = Listener(self.database)
        self.watchers = Watchers(self.listener)
        self.listener.start()
        stack.callback(self.listener.stop)
        self.topics = Topics(settings)
        stack.callback(self.topics.close)
        self.watchdog = Watchdog(end=lambda: None)
        self.objects = ObjectStore(settings)
        self.runtime = Runtime(settings, self.database, self.objects, self.watchers, service)

    def relay(self, settings: PlatformSettings | None = None) -> Relay:
        """A running relay."""
        relay = Relay(self.database, settings or self.settings, self.topics, self.listener, self.watchdog)
        return self._started(relay)

    def consumer(
        self,
        handlers: Mapping[str, Handler | BatchHandler],
        topics: Sequence[str | Topic] | None = None,
        settings: PlatformSettings | None = None,
    ) -> Consumer:
        """A running consumer of the service's own topic, or of others."""
        wanted = [self.topic] if topics is None else topics
        consumer = Consumer(
            self.database, settings or self.settings, self.topics, lambda: wanted, handlers, self.watchdog
        )
        return self._started(consumer)

    def parked_events(self, handlers: Mapping[str, Handler | BatchHandler]) -> ParkedEvents:
        """A running thread that tries parked events again."""
        return self._started(
            ParkedEvents(self.database, self.settings, handlers, self.listener, self.watchdog)
        )

    def worker(self, *kinds: JobKind) -> WorkerLoop:
        """A running worker."""
        return self._started(WorkerLoop(self.runtime, kinds, self.listener))

    def rows(self, query: str, **values: Any) -> list[Any]:
        """The rows of a query."""
        with self.database.read() as connection:
            return list(connection.execute(text(query), values))

    def _started(self, part: Any) -> Any:
        part.start()
        self._stack.callback(part.stop)
        return part


class _Op:
    """What `create_platform_tables_…` needs of `alembic.op`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, statement: str) -> None:
        self._connection.execute(text(statement))


@pytest.fixture
def settings(fresh_stack: Any, tmp_path: Path) -> PlatformSettings:
    """Settings on the session's servers, with a data folder of the test's own."""
    quick = {"SARTOR_TOPIC_PARTITIONS": "3", "SARTOR_KAFKA_SESSION_TIMEOUT_MS": "2000"}
    environment = {**fresh_stack.environment(), **quick, "SARTOR_DATA_DIR": str(tmp_path)}
    return read(PlatformSettings, environment)


@pytest.fixture
def platform(settings: PlatformSettings) -> Iterator[Platform]:
    """The parts of a service nobody else uses."""
    with ExitStack() as stack:
        yield Platform(settings, f"t{uuid.uuid4().hex[:10]}", stack)


class Seen:
    """Collects what handlers were given; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.events: list[Any] = []

    def __call__(self, _tx: Any, event: Any) -> None:
        with self._lock:
            self.events.append(event)

    def many(self, tx: Any, events: Sequence[Any]) -> None:
        for event in events:
            self(tx, event)

    @property
    def subjects(self) -> list[str]:
        with self._lock:
            return [event.subject for event in self.events]


@pytest.fixture
def seen() -> Seen:
    """A collector of events."""
    return Seen()
