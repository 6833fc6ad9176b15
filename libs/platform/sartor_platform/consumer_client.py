"""The Kafka client under the consumer: subscription, polling, commits, and starting again where a log was lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sartor_platform import log, metrics
from sartor_platform.settings import PlatformSettings
from sartor_platform.topics import Topic, Topics, client_settings

_ASK_SECONDS = 2.0
_MAX_RECORDS = 2000


class TopicReplaced(Exception):
    """A consumed topic has another id: the broker lost its log, and our offsets mean nothing in the new one."""


class ConsumerClient:
    """Subscribes to the wanted topics, which are asked for every few seconds, and creates those that are missing."""

    def __init__(
        self,
        settings: PlatformSettings,
        topics: Topics,
        group: str,
        wanted: Callable[[], Sequence[str | Topic]],
    ) -> None:
        self._settings = settings
        self._topics = topics
        self._group = group
        self._wanted = wanted
        self._client: Any = None
        self._strict: dict[str, bool] = {}
        self._ids: dict[str, str] = {}
        self._from_start: set[str] = set()
        self._asked = 0.0
        self._held: set[Any] = set()
        self._read_to: dict[Any, int] = {}
        self._lock = threading.Lock()
        self._gone: set[Any] = set()
        self._new: set[Any] = set()

    def is_strict(self, topic: str) -> bool:
        """Whether an unknown event type is an error in this topic."""
        return self._strict.get(topic, False)

    def poll(self, patience_seconds: float) -> tuple[dict[Any, list[Any]], set[Any]]:
        """New records by partition, and the partitions that were taken away since (drop what is held of them first).

        Raises:
            TopicReplaced, KafkaError: close and poll again.
        """
        self._subscribe()
        if not self._strict:
            time.sleep(patience_seconds)
            return {}, set()
        records = self._client.poll(timeout_ms=int(patience_seconds * 1000), max_records=_MAX_RECORDS)
        with self._lock:
            gone, self._gone = self._gone, set()
            new, self._new = self._new, set()
        restarted = self._rewind(new)
        for key in restarted:
            records.pop(key, None)
        self._held -= gone
        self._read_to.update((key, held[-1].offset + 1) for key, held in records.items())
        self._show_lag()
        return records, gone | restarted

    def hold(self, keys: set[Any]) -> None:
        """Fetch nothing from these partitions for now; go on with those held before."""
        assigned = self._client.assignment() if self._client is not None else set()
        held = keys & assigned
        if held == self._held:
            return
        self._client.pause(*(held - self._held))
        self._client.resume(*((self._held - held) & assigned))
        self._held = held

    def commit(self, offsets: Mapping[Any, int]) -> None:
        """Remember in the group how far we are. A rebalance in between is no error: it comes again, and was seen."""
        from kafka.errors import CommitFailedError, RebalanceInProgressError
        from kafka.structs import OffsetAndMetadata

        with self._lock:
            kept = {key: offset for key, offset in offsets.items() if key not in self._gone}
        if not kept:
            return
        try:
            self._client.commit(
                {key: OffsetAndMetadata(offset) for key, offset in kept.items()}, timeout_ms=10_000
            )
        except (CommitFailedError, RebalanceInProgressError) as error:
            log.get().info("consumer.commit_overtaken", error=str(error))

    def close(self) -> None:
        """Leave the group."""
        dropped, self._client = self._client, None
        self._strict = {}
        self._asked = 0.0
        self._held = set()
        self._read_to = {}
        self._gone = set()
        self._new = set()
        if dropped is not None:
            dropped.close(autocommit=False, timeout_ms=3_000)

    def _subscribe(self) -> None:
        if time.monotonic() - self._asked < _ASK_SECONDS:
            return
        wanted = {t.name: t.strict for t in (Topic(w) if isinstance(w, str) else w for w in self._wanted())}
        ids = self._topics.ids(list(wanted)) if wanted else {}
        if set(ids) != set(wanted):
            self._topics.ensure(list(wanted))
            ids = self._topics.ids(list(wanted))
        replaced = {name for name, id_ in ids.items() if self._ids.get(name, id_) != id_}
        self._ids = {**self._ids, **ids}
        if replaced:
            self._from_start |= replaced
            raise TopicReplaced(f"{', '.join(sorted(replaced))} was made anew by the broker; read from its start")
        if self._client is None:
            self._client = _consumer(self._settings, self._group)
        if set(wanted) != set(self._strict) and wanted:
            log.get().info("consumer.subscribes", topics=sorted(wanted), group=self._group)
            self._client.subscribe(topics=sorted(wanted), listener=_listener(self._assigned, self._revoked))
        self._strict = wanted
        self._asked = time.monotonic()

    def _rewind(self, assigned: set[Any]) -> set[Any]:
        """Read replaced topics from their start, whatever an old member may have committed there."""
        restarted = {key for key in assigned if key.topic in self._from_start}
        restarted &= self._client.assignment()
        if restarted:
            self._client.seek_to_beginning(*restarted)
            self._from_start -= {key.topic for key in restarted}
        return restarted

    # The client calls these from its own thread.
    def _revoked(self, keys: Iterable[Any]) -> None:
        with self._lock:
            self._gone |= set(keys)
            self._new -= set(keys)

    def _assigned(self, keys: Iterable[Any]) -> None:
        with self._lock:
            self._new |= set(keys)

    def _show_lag(self) -> None:
        lags = dict.fromkeys(self._strict, 0)
        for key in self._client.assignment():
            end = self._client.highwater(key)
            if end is not None and key in self._read_to and key.topic in lags:
                lags[key.topic] += max(end - self._read_to[key], 0)
        for topic, lag in lags.items():
            metrics.CONSUMER_LAG.labels(topic).set(lag)


def _consumer(settings: PlatformSettings, group: str) -> Any:
    from kafka import KafkaConsumer

    return KafkaConsumer(
        **client_settings(settings),
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        allow_auto_create_topics=False,
        max_poll_interval_ms=10_000,
        session_timeout_ms=settings.kafka_session_timeout_ms,
        heartbeat_interval_ms=settings.kafka_session_timeout_ms // 6,
        fetch_max_wait_ms=100,
        max_partition_fetch_bytes=2 * 1024 * 1024,
        metadata_max_age_ms=30_000,
        metrics_enabled=False,
    )


def _listener(assigned: Callable[[Iterable[Any]], None], revoked: Callable[[Iterable[Any]], None]) -> Any:
    from kafka import ConsumerRebalanceListener

    class Listener(ConsumerRebalanceListener):  # type: ignore[misc,unused-ignore]
        """Passes the client's calls on."""

        def on_partitions_assigned(self, assigned_partitions: Iterable[Any]) -> None:
            assigned(assigned_partitions)

        def on_partitions_revoked(self, revoked_partitions: Iterable[Any]) -> None:
            revoked(revoked_partitions)

        def on_partitions_lost(self, lost_partitions: Iterable[Any]) -> None:
            revoked(lost_partitions)

    return Listener()
