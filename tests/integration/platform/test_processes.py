"""A whole service as processes: migrate, serve, work, show metrics, and end when told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from kafka import KafkaProducer
from sartor_local.ports import free_port
from sartor_platform.database import Database
from sartor_platform.migrations import is_current, upgrade
from sqlalchemy import text

from tests.integration.platform.conftest import until

PACKAGE = "tests.integration.platform.sample_service"
ROOT = Path(__file__).parents[3]
READY = "sartor.training.v1.BaseModelReady"


class Process:
    """One process of the sample service."""

    def __init__(self, role: str, environment: dict[str, str], log: Path) -> None:
        self.grpc_port, self.metrics_port = free_port(), free_port()
        self.log = log
        more = {
            "SARTOR_GRPC_BIND": f"127.0.0.1:{self.grpc_port}",
            "SARTOR_METRICS_BIND": f"127.0.0.1:{self.metrics_port}",
        }
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", PACKAGE, role],
                env={**os.environ, **environment, **more},
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def healthy(self) -> bool:
        try:
            return self.get("healthz").startswith("ok")
        except OSError:
            return False

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/{path}") as answer:
            return str(answer.read().decode())

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


@pytest.fixture
def environment(fresh_stack: Any, tmp_path: Path) -> dict[str, str]:
    return {
        **fresh_stack.environment(),
        "SAMPLE_SERVICE_NAME": f"s{uuid.uuid4().hex[:10]}",
        "SARTOR_DATA_DIR": str(tmp_path),
        "SARTOR_KAFKA_SESSION_TIMEOUT_MS": "2000",
        "PYTHONPATH": str(ROOT),
    }


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[[str], Process]]:
    started: list[Process] = []

    def begin(role: str) -> Process:
        process = Process(role, environment, tmp_path / f"{role}-{len(started)}.log")
        started.append(process)
        return process

    yield begin
    for process in started:
        process.process.kill()
        process.process.wait()


@pytest.fixture
def database(environment: dict[str, str]) -> Iterator[Database]:
    database = Database(environment["SARTOR_DATABASE_URL"], environment["SAMPLE_SERVICE_NAME"])
    yield database
    database.close()


def rows(database: Database, query: str) -> list[Any]:
    with database.read() as connection:
        return list(connection.execute(text(query)))


def test_a_process_says_where_its_threads_are_and_goes_on(
    start: Callable[[str], Process], tmp_path: Path
) -> None:
    """An operator asks with SIGUSR1; what stands still is named in the log."""
    process = start("server")
    until(process.healthy)
    process.process.send_signal(signal.SIGUSR1)
    until(lambda: "in run_server" in (tmp_path / "server-0.log").read_text())
    assert process.healthy()


def test_an_event_goes_through_two_servers_and_two_workers_once(
    start: Callable[[str], Process], environment: dict[str, str], database: Database
) -> None:
    """Both replicas migrate, consume, relay, tick and work side by side; they end well when told to."""
    processes = [start(role) for role in ("server", "server", "worker", "worker", "waiter")]
    for process in processes:
        until(process.healthy)
    with grpc.insecure_channel(f"127.0.0.1:{processes[0].grpc_port}") as channel:
        health = health_pb2_grpc.HealthStub(channel)
        until(lambda: health.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True).status == 1)
    topic = f"{environment['SAMPLE_SERVICE_NAME']}.data"
    producer = KafkaProducer(bootstrap_servers=environment["SARTOR_KAFKA_BOOTSTRAP_SERVERS"])
    for number in range(6):
        headers = {"ce_specversion": "1.0", "ce_id": f"e{number % 4}", "ce_source": "/test", "ce_type": READY}
        headers["ce_subject"] = f"subject-{number % 4}"
        producer.send(topic, key=b"k", value=b"{}", headers=[(k, v.encode()) for k, v in headers.items()])
    producer.flush()
    producer.close()
    until(lambda: len(rows(database, "SELECT 1 FROM doubles WHERE resource <> 'tick'")) == 4)
    assert {row.number for row in rows(database, "SELECT number FROM doubles WHERE resource <> 'tick'")} == {
        18
    }
    until(lambda: len(rows(database, "SELECT 1 FROM outbox WHERE published_time IS NOT NULL")) == 4)
    assert rows(database, "SELECT 1 FROM doubles WHERE resource = 'tick'")
    until(lambda: "sartor_events_total" in processes[0].get("metrics") + processes[1].get("metrics"))
    metrics = processes[2].get("metrics") + processes[3].get("metrics")
    for name in (
        "sartor_job_seconds_count",
        "sartor_job_wait_seconds_count",
        "sartor_job_child_start_seconds_count",
    ):
        assert name in metrics
    assert [process.end() for process in processes] == [0] * 5
    for process in processes:
        assert "Traceback" not in process.log.read_text()


def test_an_upgrade_runs_once_and_is_known(environment: dict[str, str], database: Database) -> None:
    """The schema is at its newest revision afterwards, and asking costs no Alembic."""
    assert not is_current(database, PACKAGE)
    for _ in range(2):
        upgrade(environment["SARTOR_DATABASE_URL"], PACKAGE, schema=environment["SAMPLE_SERVICE_NAME"])
    assert is_current(database, PACKAGE)
    assert rows(database, "SELECT 1 FROM alembic_version WHERE version_num = '0003'")


def test_wrong_settings_are_told_all_at_once(environment: dict[str, str]) -> None:
    """One line names every variable that is missing or malformed; no stack trace."""
    wrong = {**environment, "SARTOR_WORKER_SLOTS": "many", "SARTOR_S3_SECURE": "maybe"}
    del wrong["SARTOR_S3_ENDPOINT"]
    done = subprocess.run(
        [sys.executable, "-m", PACKAGE, "server"],
        env={**os.environ, **wrong},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 78
    assert "Traceback" not in done.stdout + done.stderr
    for name in ("SARTOR_WORKER_SLOTS", "SARTOR_S3_SECURE", "SARTOR_S3_ENDPOINT"):
        assert name in done.stdout
