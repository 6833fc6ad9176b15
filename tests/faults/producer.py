"""Another system that sends data events: kafka-python alone, each event again until it is acknowledged."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError

from tests.faults.ledger import SentEvent


class OutsideProducer:
    """Threads may share it."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._producer: Any = None

    def send(self, event: SentEvent, *, patience_seconds: float = 120.0) -> None:
        """Returns when the broker has it; the same event, with its id, is sent until then."""
        until = time.monotonic() + patience_seconds
        while True:
            try:
                sent = self._client().send(
                    event.topic, key=event.key, value=event.value, headers=list(event.headers)
                )
                if sent.get(timeout=10).offset >= 0:
                    return
                raise KafkaError("the broker took a new event for an old one")
            except KafkaError:
                if time.monotonic() > until:
                    raise
                self._drop()
                time.sleep(0.3)

    def close(self) -> None:
        """Close the connection."""
        self._drop()

    def _client(self) -> Any:
        with self._lock:
            if self._producer is None:
                self._producer = KafkaProducer(
                    **self._settings,
                    acks="all",
                    enable_idempotence=True,
                    delivery_timeout_ms=20_000,
                    max_block_ms=5_000,
                )
            return self._producer

    def _drop(self) -> None:
        with self._lock:
            dropped, self._producer = self._producer, None
        if dropped is not None:
            with contextlib.suppress(KafkaError):  # what it still holds is sent again, by another
                dropped.close(timeout=0)
