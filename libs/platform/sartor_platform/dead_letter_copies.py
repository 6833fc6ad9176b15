"""Copies of dead letters on `<topic>.dlq`, for other systems: unchanged, with the reason in their headers.

The relay's leader sends them, at least once each. The rows are the truth: a copy that cannot be sent waits
and holds up no event.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from sartor_platform import log
from sartor_platform.dead_letters import COLUMNS, DeadLetter, letter_of
from sartor_platform.settings import PlatformSettings
from sartor_platform.topics import DEAD_LETTER_SUFFIX, Topics, producer

if TYPE_CHECKING:
    import psycopg

_OURS = "sartor_"
_BATCH = 100
_UNPUBLISHED = (
    f"SELECT {COLUMNS} FROM dead_letters WHERE open_time IS NOT NULL AND published_time IS NULL"  # noqa: S608
    " ORDER BY number LIMIT %s"
)


class DeadLetterCopies:
    """Sends what was not sent yet, in a client of its own."""

    def __init__(self, settings: PlatformSettings, service: str, topics: Topics) -> None:
        self._settings = settings
        self._service = service
        self._topics = topics
        self._producer: Any = None
        self._known: set[str] = set()
        self._faults = 0
        self._retry_at = 0.0

    def publish(self, session: psycopg.Connection[Any]) -> None:
        """Send some copies and mark their rows; a broker that does not take them is asked again later.

        Raises:
            psycopg.Error: the database is away.
        """
        from kafka.errors import KafkaError
        from psycopg.rows import namedtuple_row

        if time.monotonic() < self._retry_at:
            return
        with session.cursor(row_factory=namedtuple_row) as cursor:
            letters = [letter_of(row) for row in cursor.execute(_UNPUBLISHED, [_BATCH])]
        if not letters:
            return
        try:
            topics = {letter.record.topic for letter in letters}
            self._topics.ensure(topics)
            if not topics <= self._known:
                # Some brokers tell a new client of all topics. Once it asks for one by name, kafka-python
                # 3.0.12 forgets the others that it sent to, and asks for them again without a pause.
                self.close()
                self._known |= topics
            if self._producer is None:
                self._producer = producer(self._settings)
            for letter in letters:
                self._send(letter)
                session.execute("UPDATE dead_letters SET published_time = now() WHERE id = %s", [letter.id])
            self._faults = 0
        except KafkaError as error:
            self.close()
            pause = min(2.0**self._faults, 60.0) * random.uniform(0.5, 1.0)
            self._faults += 1
            self._retry_at = time.monotonic() + pause
            log.get().warning(
                "dead_letters.copies_wait", error=log.brief(error), retry_seconds=round(pause, 1)
            )

    def close(self) -> None:
        """Close the connection; the next letter opens another."""
        dropped, self._producer = self._producer, None
        if dropped is not None:
            dropped.close(timeout=0)

    def _send(self, letter: DeadLetter) -> None:
        from kafka.errors import KafkaError

        record = letter.record
        why = {
            "reason": letter.reason,
            "message": letter.message,
            "topic": record.topic,
            "partition": str(record.partition),
            "offset": str(record.offset),
            "service": self._service,
            "time": letter.create_time.isoformat(),
            "dead_letter": f"services/{self._service}/deadLetters/{letter.id}",
        }
        headers = [(key, value) for key, value in record.headers if not key.startswith(_OURS)]
        headers += [(_OURS + key, value.encode()) for key, value in why.items()]
        sent = self._producer.send(
            record.topic + DEAD_LETTER_SUFFIX, key=record.key or b"", value=record.value, headers=headers
        )
        if sent.get(timeout=20).offset < 0:  # see the relay: a duplicate that is none
            raise KafkaError("the broker took a new letter for an old one")
