"""Dead letters: what cannot be handled goes to `<topic>.dlq` unchanged, with the reason in its headers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sartor_platform import log
from sartor_platform.settings import PlatformSettings
from sartor_platform.topics import DEAD_LETTER_SUFFIX, producer

_OURS = "sartor_"


class DeadLetters:
    """Sends unhandled messages aside and waits for the broker's word that it has them."""

    def __init__(self, settings: PlatformSettings, service: str) -> None:
        self._settings = settings
        self._service = service
        self._producer: Any = None

    def send(self, record: Any, reason: str, message: str) -> None:
        """Put a consumed record aside.

        Raises:
            KafkaError: the broker did not take it; the record must be offered again.
        """
        from kafka.errors import KafkaError

        why = {
            "reason": reason,
            "message": message[:2000],
            "topic": record.topic,
            "partition": str(record.partition),
            "offset": str(record.offset),
            "service": self._service,
            "time": datetime.now(UTC).isoformat(),
        }
        headers = [(key, value or b"") for key, value in record.headers if not key.startswith(_OURS)]
        headers += [(_OURS + key, value.encode()) for key, value in why.items()]
        try:
            if self._producer is None:
                self._producer = producer(self._settings)
            sent = self._producer.send(
                record.topic + DEAD_LETTER_SUFFIX, key=record.key or b"", value=record.value, headers=headers
            )
            if sent.get(timeout=20).offset < 0:  # see the relay: a duplicate that is none
                raise KafkaError("the broker took a new letter for an old one")
        except KafkaError:
            self.close()
            raise
        log.get().warning("event.put_aside", **{**why, "why": why["message"]})

    def close(self) -> None:
        """Close the connection; the next letter opens another."""
        dropped, self._producer = self._producer, None
        if dropped is not None:
            dropped.close(timeout=0)


def original_headers(headers: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """A dead letter's headers without ours: sent with its key and value to its old topic, it is replayed."""
    return [(key, value) for key, value in headers if not key.startswith(_OURS)]
