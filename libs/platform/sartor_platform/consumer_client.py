"""The Kafka client under the consumer: subscription, polling, commits; starts anew where a log was lost."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sartor_platform import log, metrics
from sartor_platform.consumer_progress import Progress
from sartor_platform.record_reading import read_any_header
from sartor_platform.settings import PlatformSettings
from sartor_platform.topics import Topic, Topics, client_settings

_ASK_SECONDS = 2.0
_REWIND_SECONDS = 30.0
_JOIN_SECONDS = 20.0
# All that was fetched at once: kafka-python 3.0.12 may never go on with a partition that is paused when a
# poll has taken only a part of its records. What is fetched is bounded in bytes.
_ALL_RECORDS = 2**31 - 1
_FETCH_BYTES = 16 * 1024 * 1024


class ConsumerClient:
    """Subscribes to the wanted topics, asked for every few seconds, and creates those that are missing."""

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
        self._foreign: dict[str, str] = {}
        self._asked = 0.0
        self._ids: dict[str, str] = {}
        self._replaced: dict[str, float] = {}
        self._held: set[Any] = set()
        self._read_to: dict[Any, int] = {}
        self._membership = _Membership()
        self._progress = Progress()

    def is_strict(self, topic: str) -> bool:
        """Whether an unknown event type is an error in this topic."""
        return self._strict.get(topic, False)

    def foreign_type(self, topic: str) -> str:
        """The event type of what other systems write to this topic; "" where none do."""
        return self._foreign.get(topic, "")

    def poll(self, patience_seconds: float) -> tuple[dict[Any, list[Any]], set[Any]]:
        """New records by partition, and the partitions taken away since (drop what is held of them first).

        Raises:
            KafkaError: close and poll again; also where a join has not ended within 20 s, or where nothing
                is read though there is more.
        """
        rewound = self._ask_topics()
        if not self._strict:
            time.sleep(patience_seconds)
            return {}, set()
        records = self._client.poll(timeout_ms=int(patience_seconds * 1000), max_records=_ALL_RECORDS)
        self._membership.check()
        gone, new = self._membership.changes()
        rewound |= self._rewind({key for key in new if time.monotonic() < self._replaced.get(key.topic, 0.0)})
        for key in rewound:
            records.pop(key, None)
        self._held -= gone
        self._progress.check(self._client, self._held)
        self._read_to.update((key, held[-1].offset + 1) for key, held in records.items())
        self._show_lag()
        return records, gone | rewound

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
        """Remember in the group how far we are.

        A rebalance in between is no error: what was not committed comes again, and was seen.
        """
        from kafka.errors import CommitFailedError, RebalanceInProgressError
        from kafka.structs import OffsetAndMetadata

        kept = {
            key: OffsetAndMetadata(offset)
            for key, offset in offsets.items()
            if not self._membership.lost(key)
        }
        if not kept:
            return
        try:
            self._client.commit(kept, timeout_ms=10_000)
        except (CommitFailedError, RebalanceInProgressError) as error:
            log.get().info("consumer.commit_overtaken", error=log.brief(error))

    def close(self) -> None:
        """Leave the group.

        Waits for a join that is on its way: Tansu never forms a group again whose leader left then.
        """
        dropped, self._client = self._client, None
        self._strict, self._asked, self._held, self._read_to = {}, 0.0, set(), {}
        membership, self._membership = self._membership, _Membership()
        if dropped is None:
            return
        until = time.monotonic() + self._settings.kafka_session_timeout_ms / 1000
        while not membership.joined and time.monotonic() < until:
            dropped.poll(timeout_ms=100, max_records=1)
        if membership.joined:
            dropped.close(autocommit=False, timeout_ms=3_000)
        else:
            dropped._client.close()  # says no goodbye: the broker will find out by itself

    def _ask_topics(self) -> set[Any]:
        """Keep up with the topics that are wanted and with what the broker has.

        Returns the partitions it rewound.
        """
        from kafka.errors import KafkaError

        if time.monotonic() - self._asked < _ASK_SECONDS:
            return set()
        try:
            topics = [Topic(each) if isinstance(each, str) else each for each in self._wanted()]
            self._foreign = {topic.name: topic.foreign for topic in topics}
            wanted = {topic.name: topic.strict for topic in topics}
            replaced = self._look_after(set(wanted))
        except Exception as error:
            if not self._strict:
                raise
            # The answer can wait; what we have goes on.
            log.get().warning("consumer.topics_unknown", error=log.brief(error))
            self._asked = time.monotonic() - (0 if isinstance(error, KafkaError) else _ASK_SECONDS / 2)
            return set()
        left = self._subscribe(wanted)
        self._asked = time.monotonic()
        return left | self._rewind({key for key in self._client.assignment() if key.topic in replaced})

    def _look_after(self, wanted: set[str]) -> set[str]:
        ids = self._topics.ids(wanted) if wanted else {}
        if set(ids) != wanted:
            self._topics.ensure(wanted)
            ids = self._topics.ids(wanted)
        replaced = {name for name, id_ in ids.items() if self._ids.get(name, id_) != id_}
        self._ids.update(ids)
        if replaced:
            # Offsets mean nothing in the new log, whoever committed them there; what was seen is in the
            # inbox.
            log.get().warning("consumer.reads_anew", topics=sorted(replaced))
            self._replaced.update(dict.fromkeys(replaced, time.monotonic() + _REWIND_SECONDS))
        return replaced

    def _subscribe(self, wanted: dict[str, bool]) -> set[Any]:
        """Returns the partitions given up for it."""
        left: set[Any] = set()
        if self._strict and set(wanted) != set(self._strict):
            if not self._membership.joined:
                return left  # a join is never interrupted; asked again
            # kafka-python 3.0.12 can lose the answer to a join that only a change of topics has caused, where
            # it comes as a poll times out, and then reads nothing ever again. A first join has no such gap.
            left = set(self._client.assignment())
            self.close()
        if self._client is None:
            self._client = _consumer(self._settings, self._group)
        if wanted and set(wanted) != set(self._strict):
            log.get().info("consumer.subscribes", topics=sorted(wanted), group=self._group)
            self._client.subscribe(topics=sorted(wanted), listener=_listener(self._membership))
            self._membership.joins()
        self._strict = wanted
        return left

    def _rewind(self, keys: set[Any]) -> set[Any]:
        keys &= self._client.assignment()
        if keys:
            self._client.seek_to_beginning(*keys)
        return keys

    def _show_lag(self) -> None:
        lags = dict.fromkeys(self._strict, 0)
        for key in self._client.assignment():
            end = self._client.highwater(key)
            if end is not None and key in self._read_to and key.topic in lags:
                lags[key.topic] += max(end - self._read_to[key], 0)
        for topic, lag in lags.items():
            metrics.CONSUMER_LAG.labels(topic).set(lag)


class _Membership:
    """What the client says of our place in the group. It speaks from a thread of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._gone: set[Any] = set()
        self._new: set[Any] = set()
        self._join_until = math.inf
        self.joined = False

    def joins(self) -> None:
        """A join begins."""
        self.joined, self._join_until = False, time.monotonic() + _JOIN_SECONDS

    def check(self) -> None:
        """See that a join ends.

        Raises:
            CoordinatorNotAvailableError: it has not ended in time.
        """
        from kafka.errors import CoordinatorNotAvailableError

        if not self.joined and time.monotonic() > self._join_until:
            raise CoordinatorNotAvailableError(f"the group was not joined within {_JOIN_SECONDS:.0f} s")

    def revoked(self, keys: Iterable[Any]) -> None:
        with self._lock:
            self.joins()
            self._gone |= set(keys)
            self._new -= set(keys)

    def assigned(self, keys: Iterable[Any]) -> None:
        with self._lock:
            self.joined = True
            self._new |= set(keys)

    def changes(self) -> tuple[set[Any], set[Any]]:
        """Partitions that were taken and that were given since it was asked last."""
        with self._lock:
            changes = self._gone, self._new
            self._gone, self._new = set(), set()
            return changes

    def lost(self, key: Any) -> bool:
        """Whether the partition was taken away and nobody has asked yet."""
        with self._lock:
            return key in self._gone


def _consumer(settings: PlatformSettings, group: str) -> Any:
    from kafka import KafkaConsumer

    read_any_header()
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
        fetch_max_bytes=_FETCH_BYTES,
        max_partition_fetch_bytes=2 * 1024 * 1024,
        metadata_max_age_ms=30_000,
        metrics_enabled=False,
    )


def _listener(membership: _Membership) -> Any:
    from kafka import ConsumerRebalanceListener

    class Listener(ConsumerRebalanceListener):  # type: ignore[misc,unused-ignore]
        """Passes the client's calls on."""

        def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
            membership.assigned(assigned)

        def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
            membership.revoked(revoked)

        def on_partitions_lost(self, lost: Iterable[Any]) -> None:
            membership.revoked(lost)

    return Listener()
