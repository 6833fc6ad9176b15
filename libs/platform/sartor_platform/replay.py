"""Replaying dead letters: `python -m sartor_<service> replay <topic>` offers them again, each once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sartor_platform import log
from sartor_platform.dead_letters import original_headers
from sartor_platform.settings import PlatformSettings
from sartor_platform.topics import DEAD_LETTER_SUFFIX, client_settings, producer

_QUIET_POLLS = 3


def replay(settings: PlatformSettings, service: str, topic: str) -> int:
    """Send the service's dead letters of a topic to that topic again: those since the last replay.

    A letter that still cannot be handled comes back as a new one. Returns how many were sent.

    Raises:
        KafkaError: the broker is not there; what was not sent is sent by the next replay.
    """
    from kafka.structs import OffsetAndMetadata, TopicPartition

    sender = producer(settings)
    reader = _reader(settings, service)
    try:
        sent = 0
        for record in _letters(reader, topic + DEAD_LETTER_SUFFIX, datetime.now(UTC).isoformat()):
            if _header(record, "service") == service:
                headers = original_headers(list(record.headers))
                sender.send(topic, key=record.key, value=record.value, headers=headers).get(timeout=20)
                sent += 1
            at = TopicPartition(record.topic, record.partition)
            reader.commit({at: OffsetAndMetadata(record.offset + 1)}, timeout_ms=10_000)
        log.get().info("dead_letters.replayed", topic=topic, letters=sent)
        return sent
    finally:
        sender.close(timeout=5)
        reader.close(autocommit=False, timeout_ms=3_000)


def _reader(settings: PlatformSettings, service: str) -> Any:
    from kafka import KafkaConsumer

    return KafkaConsumer(
        **client_settings(settings),
        group_id=f"sartor-{service}-replay",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        allow_auto_create_topics=False,
        metrics_enabled=False,
    )


def _letters(reader: Any, topic: str, before: str) -> Iterator[Any]:
    """The letters from where the last replay ended; those put aside after `before` are left to the next.

    The end of a partition is where nothing more comes: Tansu understates its end offsets.
    """
    from kafka.structs import TopicPartition

    reader.assign([TopicPartition(topic, part) for part in sorted(reader.partitions_for_topic(topic) or ())])
    quiet = 0
    while quiet < _QUIET_POLLS:
        polled = reader.poll(timeout_ms=500)
        quiet = 0 if polled else quiet + 1
        for records in polled.values():
            yield from (record for record in records if _header(record, "time") < before)


def _header(record: Any, name: str) -> str:
    return str(dict(record.headers).get(f"sartor_{name}", b"").decode())
