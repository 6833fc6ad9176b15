"""An outside reader of all topics: what the world was told, event by event, from the topics alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

OURS = (
    "sartor.ingestion.v1",
    "sartor.curation.v1",
    "sartor.training.v1",
    "sartor.evaluation.v1",
    "sartor.deployment.v1",
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One message of a topic."""

    topic: str
    partition: int
    offset: int
    id: str
    type: str
    subject: str
    time: str
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    key: bytes


class Observer:
    """Reads on in a thread of its own; a broker that goes away is waited for."""

    def __init__(self, settings: Mapping[str, object], topics: Sequence[str]) -> None:
        self._settings = settings
        self._topics = topics
        self._lock = threading.Lock()
        self._seen: list[Seen] = []
        self._next: dict[Any, int] = {}
        self._stop = threading.Event()
        self._anew = threading.Event()
        self._last_news = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)
        self._thread.start()

    def seen(self) -> list[Seen]:
        """Everything so far, in the order of each partition."""
        with self._lock:
            return list(self._seen)

    def quiet_seconds(self) -> float:
        """How long nothing new has come."""
        return time.monotonic() - self._last_news

    def read_anew(self) -> None:
        """The broker lost its log: begin at the start of the new one, and keep what was seen."""
        self._anew.set()

    def stop(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join(15)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._read()
            except KafkaError:
                time.sleep(0.3)

    def _read(self) -> None:
        consumer = KafkaConsumer(
            **self._settings, enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=200
        )
        try:
            assigned: set[Any] = set()
            looked = 0.0
            while not self._stop.is_set():
                if self._anew.is_set():
                    self._anew.clear()
                    self._next.clear()
                    return
                if time.monotonic() - looked > 2.0:
                    looked = time.monotonic()
                    assigned = self._assign(consumer, assigned)
                if not assigned:
                    time.sleep(0.2)
                    continue
                for partition, records in consumer.poll(timeout_ms=300).items():
                    self._keep(partition, records)
        finally:
            consumer.close(autocommit=False, timeout_ms=1000)

    def _assign(self, consumer: Any, assigned: set[Any]) -> set[Any]:
        found = {
            TopicPartition(topic, number)
            for topic in self._topics
            for number in consumer.partitions_for_topic(topic) or ()
        }
        if found and found != assigned:
            consumer.assign(sorted(found))
            for partition in found:
                consumer.seek(partition, self._next.get(partition, 0))
        return found or assigned

    def _keep(self, partition: Any, records: Sequence[Any]) -> None:
        with self._lock:
            for record in records:
                if record.offset < self._next.get(partition, 0):
                    continue
                self._next[partition] = record.offset + 1
                self._seen.append(_seen(record))
        self._last_news = time.monotonic()


def _seen(record: Any) -> Seen:
    headers = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
    return Seen(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        id=f"{headers.get('ce_source', '')} {headers.get('ce_id', '')}",
        type=headers.get("ce_type", ""),
        subject=headers.get("ce_subject", ""),
        time=headers.get("ce_time", ""),
        value=record.value or b"",
        headers=tuple((name, value or b"") for name, value in record.headers),
        key=record.key or b"",
    )
