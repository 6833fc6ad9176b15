"""The embedded servers speak the real protocols and come back with their data."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from kafka import KafkaConsumer, KafkaProducer
from minio import Minio
from sartor_local.embedded import EmbeddedServers

from tests.conftest import Servers, short_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    path = short_folder("sartor-embedded-")
    yield path
    shutil.rmtree(path, ignore_errors=True)


def test_all_three_answer_real_clients(stack: Servers) -> None:
    """SQL, S3 and Kafka work through the clients Sartor uses."""
    with psycopg.connect(stack.database_url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    objects = Minio(
        stack.s3_endpoint, access_key=stack.s3_access_key, secret_key=stack.s3_secret_key, secure=False
    )
    objects.put_object(stack.s3_bucket, "probe/one", io.BytesIO(b"hello"), 5)
    assert objects.get_object(stack.s3_bucket, "probe/one").read() == b"hello"
    producer = KafkaProducer(
        bootstrap_servers=stack.kafka_bootstrap_servers, acks="all", enable_idempotence=True
    )
    producer.send("probe.topic", b"hello").get(10)
    producer.close()
    consumer = KafkaConsumer(
        "probe.topic",
        bootstrap_servers=stack.kafka_bootstrap_servers,
        auto_offset_reset="earliest",
        consumer_timeout_ms=10_000,
    )
    assert next(consumer).value == b"hello"
    consumer.close()


def test_a_fresh_database_is_empty_and_apart(fresh_stack: Servers, stack: Servers) -> None:
    """A module's database is not the session's."""
    assert fresh_stack.database_url != stack.database_url
    with psycopg.connect(fresh_stack.database_url) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert tables == (0,)


def test_data_and_addresses_survive_a_kill(folder: Path) -> None:
    """After kill -9 of every server the next start has the same addresses, rows and objects."""
    servers = EmbeddedServers(folder, durable=True, environ={})
    servers.start()
    first = servers.environment()
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept VALUES (7)")
    objects = Minio(
        servers.s3_endpoint, access_key=servers.s3_access_key, secret_key=servers.s3_secret_key, secure=False
    )
    objects.put_object("sartor", "kept", io.BytesIO(b"x" * 100_000), 100_000)
    assert servers.supervision is not None
    for process in servers.supervision.processes.values():
        assert process.popen is not None
        process.popen.kill()
        process.popen.wait()
    again = EmbeddedServers(folder, durable=True, environ={})
    try:
        again.start()
        assert again.environment() == first
        with psycopg.connect(again.database_url) as connection:
            assert connection.execute("SELECT n FROM kept").fetchone() == (7,)
        assert len(objects.get_object("sartor", "kept").read()) == 100_000
    finally:
        again.stop()
        servers.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to borrow an account for PostgreSQL")
def test_a_folder_private_to_root_stays_private_and_works(folder: Path) -> None:
    """A clone below /root is nothing unusual."""
    private = folder / "private"
    private.mkdir(mode=0o700)
    for _ in range(2):
        with EmbeddedServers(private / "stack", environ={}) as servers:
            with psycopg.connect(servers.database_url) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
            assert servers.supervision is not None
            identity = servers.supervision.identities()["postgres"]
            assert psutil.Process(identity.pid).uids().effective != 0
    assert private.stat().st_mode & 0o077 == 0


def test_nothing_is_left_behind(folder: Path) -> None:
    """Stopping ends every process and removes the sockets SeaweedFS puts in /tmp."""
    with EmbeddedServers(folder, environ={}) as servers:
        assert servers.supervision is not None
        ports = set(servers.supervision.processes["seaweed"].spec.ports.values())
        pids = [identity.pid for identity in servers.supervision.identities().values()]
        assert len(pids) == 3
    assert not any(psutil.pid_exists(pid) for pid in pids)
    left = {int(path.stem.rpartition("-")[2]) for path in Path("/tmp").glob("seaweedfs-*-grpc-*.sock")}
    assert not left & ports


def test_external_servers_are_used_as_they_are(stack: Servers, folder: Path) -> None:
    """What the environment names is not started a second time."""
    with EmbeddedServers(folder, environ=stack.environment()) as servers:
        assert servers.supervision is not None
        assert servers.supervision.processes == {}
        assert servers.kafka_bootstrap_servers == stack.kafka_bootstrap_servers
