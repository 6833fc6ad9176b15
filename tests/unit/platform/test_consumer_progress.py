"""A client that reads nothing although there is more is noticed; one that waits or is done is not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from kafka.errors import KafkaError
from kafka.structs import TopicPartition
from sartor_platform.consumer_progress import CHECK_SECONDS, Progress

KEY = TopicPartition("sartor.data", 0)


class Client:
    """Stands at `at` of a partition that ends at `end`."""

    def __init__(self, at: int, end: int) -> None:
        self.at, self.end = at, end

    def assignment(self) -> set[TopicPartition]:
        return {KEY}

    def end_offsets(self, keys: Sequence[TopicPartition], timeout_ms: int) -> dict[TopicPartition, int]:
        return dict.fromkeys(keys, self.end)

    def position(self, key: TopicPartition, timeout_ms: int) -> int:
        return self.at


class Clock:
    """Time that passes when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def passes(self) -> None:
        self.now += CHECK_SECONDS


def test_a_partition_that_stands_still_is_named_once() -> None:
    """Where a start over changes nothing, nothing readable lies behind: it is not started over for ever."""
    clock, client = Clock(), Client(at=3, end=5)
    progress = Progress(clock)
    clock.passes()
    progress.check(client, set())
    progress.check(client, set())  # too early to judge
    clock.passes()
    with pytest.raises(KafkaError, match=r"sartor\.data\[0\] at 3"):
        progress.check(client, set())
    for _ in range(3):
        clock.passes()
        progress.check(client, set())
    client.at, client.end = 5, 9
    clock.passes()
    progress.check(client, set())
    clock.passes()
    with pytest.raises(KafkaError, match="at 5"):
        progress.check(client, set())


@pytest.mark.parametrize(("at", "end", "held"), [(5, 5, False), (3, 5, True)])
def test_done_and_held_partitions_may_stand_still(at: int, end: int, held: bool) -> None:
    """There is nothing to read, or it was asked to wait."""
    clock, client = Clock(), Client(at, end)
    progress = Progress(clock)
    for _ in range(3):
        clock.passes()
        progress.check(client, {KEY} if held else set())


def test_one_that_moves_is_fine() -> None:
    """However far behind it is."""
    clock, client = Clock(), Client(0, 1000)
    progress = Progress(clock)
    for at in range(4):
        client.at = at
        clock.passes()
        progress.check(client, set())
