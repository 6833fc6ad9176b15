"""Notices a Kafka client that reads nothing although the broker has more: starting over mends it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any

CHECK_SECONDS = 15.0


class Progress:
    """Compares where a client stands with where its partitions end, every 15 seconds.

    kafka-python 3.0.12 has more than one way to forget a partition that it should fetch, without an error.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._checked = clock()
        self._behind: dict[Any, int] = {}
        self._forgiven: set[tuple[Any, int]] = set()

    def check(self, client: Any, held: Collection[Any]) -> None:
        """See that every partition that is not held has moved since the last check, or has nothing more.

        A position that is still the same after a start over is forgiven: nothing readable may lie behind it.

        Raises:
            KafkaError: one has not moved; or the broker does not answer.
        """
        from kafka.errors import KafkaError

        if self._clock() - self._checked < CHECK_SECONDS:
            return
        self._checked = self._clock()
        free = [key for key in client.assignment() if key not in held]
        ends = client.end_offsets(free, timeout_ms=5_000) if free else {}
        stands = {key: client.position(key, timeout_ms=5_000) for key in free}
        behind = {key: at for key, at in stands.items() if at is not None and at < ends[key]}
        still = {(key, at) for key, at in behind.items() if self._behind.get(key) == at} - self._forgiven
        self._behind = behind
        if still:
            self._forgiven = still
            self._behind = {}
            names = ", ".join(f"{key.topic}[{key.partition}] at {at}" for key, at in sorted(still))
            raise KafkaError(f"nothing was read for {CHECK_SECONDS:.0f} s though there is more: {names}")
