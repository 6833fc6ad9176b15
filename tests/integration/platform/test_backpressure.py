"""Producers faster than their consumer: what it holds is bounded, what waits is shown, nothing is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from sartor_platform import metrics
from sartor_platform.consumer import BatchHandler
from sartor_platform.consumer_client import _FETCH_BYTES
from sqlalchemy import text

from tests.integration.platform.conftest import Platform, until
from tests.integration.platform.test_events import READY, binary, send

EVENTS = 7_000
PADDED = b'{"x": "' + 5_000 * b"x" + b'"}'


def test_a_flood_is_held_back_at_the_broker_and_seen_as_lag(platform: Platform) -> None:
    """In memory there is never more than two fetches' worth; all arrive, once."""
    slow = threading.Event()
    slow.set()

    def handler(tx: Any, events: Sequence[Any]) -> None:
        if slow.is_set():
            time.sleep(0.2)
        tx.connection.execute(
            text("INSERT INTO flood SELECT unnest(cast(:ids AS text[]))"),
            {"ids": [event.id for event in events]},
        )

    with platform.database.transaction() as tx:
        tx.connection.execute(text("CREATE TABLE flood (id text PRIMARY KEY)"))
    send(platform, platform.topic, *((binary(str(n)), PADDED, str(n % 50)) for n in range(EVENTS)))
    consumer = platform.consumer({READY: BatchHandler(handler, limit=500)})
    held: list[int] = []

    def lag() -> float:
        pending = [
            each for partition in list(consumer._partitions.values()) for each in list(partition.pending)
        ]
        held.append(sum(len(each.record.value) for each in pending))
        return metrics.CONSUMER_LAG.labels(platform.topic)._value.get()

    until(lambda: lag() > 100)
    until(lambda: platform.rows("SELECT count(*) AS n FROM flood")[0].n > 0)
    slow.clear()
    until(lambda: lag() == 0 and platform.rows("SELECT count(*) AS n FROM flood")[0].n == EVENTS, seconds=60)
    assert 0 < max(held) <= 2 * _FETCH_BYTES < EVENTS * len(PADDED)
