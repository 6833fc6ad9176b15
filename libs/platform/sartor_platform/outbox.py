"""The relay: publishes outbox rows to Kafka. One is the leader, by a session lock; the others stand by.

Rows are chosen by `published_time IS NULL`, never by "id > last": ids are given before commit, in another
order. When a topic has another id than before, the broker lost its log: retained rows are published again,
and inboxes make that harmless.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from sartor_platform import events, fault_points, log, metrics
from sartor_platform.database import Database
from sartor_platform.dead_letter_copies import DeadLetterCopies
from sartor_platform.listen import Listener
from sartor_platform.retention import sweep
from sartor_platform.settings import PlatformSettings
from sartor_platform.topics import Topics, producer, topic_of
from sartor_platform.watchdog import Watchdog

if TYPE_CHECKING:
    import psycopg

_BATCH = 500
_POLL_SECONDS = 1.0
_TOPIC_CHECK_SECONDS = 1.0
_SWEEP_SECONDS = 600.0
_UNPUBLISHED = (
    "SELECT id, event_id, topic, subject, type, source, run, generation, traceparent, data, create_time"
    " FROM outbox WHERE published_time IS NULL ORDER BY id LIMIT %s"
)


class PublishFailed(Exception):
    """The broker did not take some of the events; they are tried again in the same order."""


class Relay:
    """Moves this service's outbox to its topic, in a thread of its own."""

    def __init__(
        self,
        database: Database,
        settings: PlatformSettings,
        topics: Topics,
        listener: Listener,
        watchdog: Watchdog,
    ) -> None:
        self._database = database
        self._settings = settings
        self._topics = topics
        self._watchdog = watchdog
        self._topic = topic_of(database.service)
        self._known: set[str] = set()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._producer: Any = None
        self._checked = 0.0
        self._swept = 0.0
        self._copies = DeadLetterCopies(settings, database.service, topics)
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        for topic in ("outbox", "dead_letters"):
            listener.subscribe(topic, lambda _detail: self._wake.set())

    def start(self) -> None:
        """Begin to publish, or to stand by."""
        self._watchdog.beat("relay", self._settings.watchdog_seconds)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the batch that is on its way."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        import psycopg
        from kafka.errors import KafkaError

        pause = 0.5
        while not self._stopping.is_set():
            self._watchdog.beat("relay", self._settings.watchdog_seconds)
            try:
                with self._database.connect() as session:
                    if self._elected(session):
                        log.get().info("relay.leads", topic=self._topic)
                        pause = 0.5
                        self._lead(session)
            except (psycopg.Error, KafkaError, PublishFailed) as error:
                log.get().warning("relay.waits", error=log.brief(error), retry_seconds=pause)
                self._drop_producer()
                self._stopping.wait(pause)
                pause = min(pause * 2, 10.0)
            except Exception:  # noqa: BLE001 - the thread must go on
                log.get().exception("relay.broke")
                self._drop_producer()
                self._stopping.wait(5.0)
        self._drop_producer()
        self._copies.close()
        self._watchdog.forget("relay")

    def _elected(self, session: psycopg.Connection[Any]) -> bool:
        key = f"sartor.relay.{self._database.schema}"
        while not self._stopping.is_set():
            self._watchdog.beat("relay", self._settings.watchdog_seconds)
            row = session.execute("SELECT pg_try_advisory_lock(hashtext(%s))", [key]).fetchone()
            if row is not None and row[0]:
                return True
            self._stopping.wait(_POLL_SECONDS)
        return False

    def _lead(self, session: psycopg.Connection[Any]) -> None:
        self._checked = 0.0
        while not self._stopping.is_set():
            self._watchdog.beat("relay", self._settings.watchdog_seconds)
            self._wake.clear()
            if time.monotonic() - self._checked > _TOPIC_CHECK_SECONDS:
                self._check_topics(session)
            if self._publish_batch(session):
                continue
            self._copies.publish(session)
            if time.monotonic() - self._swept > _SWEEP_SECONDS:
                self._swept = time.monotonic()
                sweep(
                    session,
                    self._settings.outbox_retention_seconds,
                    self._settings.dead_letter_retention_seconds,
                )
            self._wake.wait(_POLL_SECONDS)

    def _check_topics(self, session: psycopg.Connection[Any]) -> None:
        """See that our topic, and others that events went to, are those we knew."""
        rows = session.execute("SELECT topic FROM relay_topics").fetchall()
        for topic in {self._topic, *(row[0] for row in rows)}:
            self._check_topic(session, topic)
        self._checked = time.monotonic()

    def _check_topic(self, session: psycopg.Connection[Any], topic: str) -> None:
        """If it is another than the one we knew, publish again what is retained of it."""
        found = self._topics.ids([topic]).get(topic)
        if found is None:
            self._topics.ensure([topic])
            found = self._topics.ids([topic])[topic]
        self._known.add(topic)
        with session.transaction():
            row = session.execute("SELECT topic_id FROM relay_topics WHERE topic = %s", [topic]).fetchone()
            if row is None or row[0] != found:
                session.execute(
                    "INSERT INTO relay_topics (topic, topic_id) VALUES (%s, %s) ON CONFLICT (topic)"
                    " DO UPDATE SET topic_id = excluded.topic_id, update_time = now()",
                    [topic, found],
                )
                again = session.execute(
                    "UPDATE outbox SET published_time = NULL WHERE topic = %s AND published_time IS NOT NULL",
                    [topic],
                )
                if row is not None:
                    log.get().warning("relay.publishes_again", topic=topic, events=again.rowcount)
                self._drop_producer()

    def _publish_batch(self, session: psycopg.Connection[Any]) -> int:
        rows = session.execute(_UNPUBLISHED, [_BATCH]).fetchall()
        metrics.OUTBOX_AGE_SECONDS.set(max(time.time() - rows[0][10].timestamp(), 0.0) if rows else 0.0)
        if not rows:
            return 0
        for topic in {row[2] for row in rows} - self._known:
            self._check_topic(session, topic)  # the first event that goes there
        fault_points.at("before_publish")
        if fault_points.switched_off(fault_points.RELAY_ORDER):
            rows.reverse()
        published, failure = self._send(rows)
        fault_points.at("after_publish_before_mark")
        session.execute("UPDATE outbox SET published_time = now() WHERE id = ANY(%s)", [published])
        metrics.PUBLISHED.labels(self._topic).inc(len(published))
        if failure is not None:
            raise PublishFailed(f"{len(rows) - len(published)} events were not taken: {failure}") from failure
        return len(rows)

    def _send(self, rows: list[Any]) -> tuple[list[int], BaseException | None]:
        """The ids of the rows that arrived, and the first failure.

        After one of a key failed, none later counts.
        """
        if self._producer is None:
            self._producer = producer(self._settings)
        futures = [
            (
                row[0],
                row[3],
                self._producer.send(
                    row[2],
                    key=row[3].encode(),
                    value=bytes(row[9]),
                    headers=events.headers_of(
                        event_id=row[1],
                        source=row[5],
                        event_type=row[4],
                        subject=row[3],
                        time=row[10],
                        run=row[6],
                        generation=row[7],
                        traceparent=row[8],
                    ),
                ),
            )
            for row in rows
        ]
        self._producer.flush(timeout=25)
        if any(future.succeeded() and future.value.offset < 0 for _, _, future in futures):
            # "A duplicate": so says a broker that lost its log to a producer id it has given away again, too.
            # Nothing of it may have been kept; sent again, a true duplicate harms nobody.
            return [], PublishFailed("the broker took new events for old ones")
        published: list[int] = []
        failed_keys: set[str] = set()
        unordered = fault_points.switched_off(fault_points.RELAY_ORDER)
        failure: BaseException | None = None
        for row_id, key, future in futures:
            if future.succeeded() and (key not in failed_keys or unordered):
                published.append(row_id)
            else:
                failed_keys.add(key)
                failure = failure or future.exception
        return published, failure if failed_keys else None

    def _drop_producer(self) -> None:
        dropped, self._producer = self._producer, None
        if dropped is not None:
            dropped.close(timeout=0)
