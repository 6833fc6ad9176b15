"""Processes told to stop under load, frozen, or without their servers end in time and tell the truth."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from kafka import KafkaProducer
from sartor.platform.v1.dead_letter_service_pb2 import ListDeadLettersRequest
from sartor.platform.v1.dead_letter_service_pb2_grpc import DeadLetterServiceStub
from sartor_local.embedded import EmbeddedServers
from sartor_platform.database import Database
from sartor_platform.watchdog import EXIT_STATUS

from tests.conftest import short_folder
from tests.integration.platform.conftest import until
from tests.integration.platform.test_processes import READY, ROOT, Process, rows

END_SECONDS = 20.0
"""How long a process may take from SIGTERM to its end: the promise itself."""


class Service:
    """Processes of one sample service on given servers."""

    def __init__(self, servers: dict[str, str], folder: Path) -> None:
        self.name = f"s{uuid.uuid4().hex[:10]}"
        self.folder = folder
        self.environment = {
            **servers,
            "SAMPLE_SERVICE_NAME": self.name,
            "SARTOR_DATA_DIR": str(folder),
            "SARTOR_KAFKA_SESSION_TIMEOUT_MS": "2000",
            "SARTOR_UNWELL_AFTER_SECONDS": "2",
            "PYTHONPATH": str(ROOT),
        }
        self.database = Database(self.environment["SARTOR_DATABASE_URL"], self.name)
        self.started: list[Process] = []

    def start(self, role: str, **more: str) -> Process:
        log = self.folder / f"{role}-{len(self.started)}.log"
        process = Process(role, {**self.environment, **more}, log)
        self.started.append(process)
        return process

    def publish(self, *subjects: str) -> None:
        producer = KafkaProducer(bootstrap_servers=self.environment["SARTOR_KAFKA_BOOTSTRAP_SERVERS"])
        for subject in subjects:
            headers = {
                "ce_specversion": "1.0",
                "ce_id": f"e-{subject}",
                "ce_source": "/test",
                "ce_type": READY,
            }
            headers["ce_subject"] = subject
            pairs = [(key, value.encode()) for key, value in headers.items()]
            producer.send(f"{self.name}.data", key=subject.encode(), value=b"{}", headers=pairs)
        producer.flush()
        producer.close()

    def doubled(self) -> set[str]:
        return {row.resource for row in rows(self.database, "SELECT resource FROM doubles")} - {"tick"}

    def close(self) -> None:
        for process in self.started:
            process.process.kill()
            process.process.wait()
        self.database.close()


@pytest.fixture
def service(fresh_stack: Any, tmp_path: Path) -> Iterator[Service]:
    made = Service(fresh_stack.environment(), tmp_path)
    yield made
    made.close()


def serving(process: Process) -> bool:
    with grpc.insecure_channel(f"127.0.0.1:{process.grpc_port}") as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def ended(process: Process) -> int:
    """Its exit status; it was told to stop before."""
    return process.process.wait(timeout=END_SECONDS)


class Load:
    """Clients that call two servers in turn, and repeat a call that failed once, at the other."""

    def __init__(self, service: Service, servers: list[Process]) -> None:
        self.calls, self.repeated = 0, 0
        self.failed: list[str] = []
        self._request = ListDeadLettersRequest(parent=f"services/{service.name}")
        self._channels = [grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") for server in servers]
        self._stubs = [DeadLetterServiceStub(channel) for channel in self._channels]
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(n,)) for n in range(4)]
        for thread in self._threads:
            thread.start()

    def _call(self, turn: int) -> None:
        while not self._stop.wait(0.01):
            turn += 1
            for attempt in (0, 1):
                try:
                    self._stubs[(turn + attempt) % 2].ListDeadLetters(self._request, timeout=10)
                    self.calls += 1
                    break
                except grpc.RpcError as error:
                    self.repeated += 1
                    if attempt:
                        self.failed.append(str(error))

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for channel in self._channels:
            channel.close()


def test_a_server_that_is_told_to_stop_under_load_fails_no_call_beyond_one_retry(service: Service) -> None:
    """Events and jobs in hand are done once, by it or by another."""
    first = service.start("server", SARTOR_DRAIN_NOTICE_SECONDS="1")
    second = service.start("server")
    workers = [service.start("worker") for _ in range(2)]
    until(lambda: serving(first) and serving(second) and all(worker.healthy() for worker in workers))
    load = Load(service, [first, second])
    try:
        service.publish(*(f"n{number}" for number in range(12)))
        until(lambda: load.calls > 50 and service.doubled())
        first.process.send_signal(signal.SIGTERM)
        workers[0].process.send_signal(signal.SIGTERM)
        until(lambda: not serving(first))
        assert (ended(first), ended(workers[0])) == (0, 0)
        calls = load.calls
        until(lambda: load.calls > calls + 50)
        until(lambda: len(service.doubled()) == 12)
    finally:
        load.end()
    assert load.failed == []
    assert not rows(service.database, "SELECT 1 FROM jobs WHERE state <> 'SUCCEEDED'")
    assert len(rows(service.database, "SELECT 1 FROM outbox")) == 12
    for process in (second, workers[1]):
        process.process.send_signal(signal.SIGTERM)
    assert (ended(second), ended(workers[1])) == (0, 0)


def test_a_worker_whose_job_hangs_hands_it_to_another_in_time(service: Service) -> None:
    """The attempt is not counted, and what it may still do is fenced."""
    server, worker = (
        service.start("server"),
        service.start("worker", SAMPLE_SERVICE_STUCK="yes", SARTOR_DRAIN_SECONDS="1"),
    )
    until(lambda: serving(server) and worker.healthy())
    service.publish("hangs")
    until(lambda: rows(service.database, "SELECT 1 FROM jobs WHERE state = 'RUNNING'"))
    worker.process.send_signal(signal.SIGTERM)
    assert ended(worker) == 0
    (job,) = rows(service.database, "SELECT state, attempt, lease_token FROM jobs")
    assert (job.state, job.attempt, job.lease_token) == ("QUEUED", 0, None)
    service.start("worker")
    until(lambda: service.doubled() == {"hangs"})


def test_a_stuck_consumer_is_ended_by_its_watchdog_and_another_takes_over(service: Service) -> None:
    """A restart is cheaper than a replica that stands still; a process that was only stopped lives on."""
    stuck = service.start("server", SAMPLE_SERVICE_STUCK="yes", SARTOR_WATCHDOG_SECONDS="8")
    until(lambda: serving(stuck))
    os.kill(stuck.process.pid, signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        stuck.process.wait(timeout=10)
    os.kill(stuck.process.pid, signal.SIGCONT)
    until(lambda: serving(stuck))
    service.publish("stuck")
    assert stuck.process.wait(timeout=60) == EXIT_STATUS
    assert "watchdog.ends_process" in stuck.log.read_text()
    service.start("server")
    service.start("worker")
    until(lambda: service.doubled() == {"stuck"})


@pytest.fixture
def own_servers(fresh_stack: Any) -> Iterator[EmbeddedServers]:
    """A PostgreSQL and a broker of the test's own, to freeze."""
    folder = short_folder("sartor-health-")
    s3 = {key: value for key, value in fresh_stack.environment().items() if "_S3_" in key}
    try:
        with EmbeddedServers(folder, environ=s3) as servers:
            yield servers
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def freezer(servers: EmbeddedServers, name: str) -> Callable[[signal.Signals], None]:
    """Sends a signal to a server and all its processes."""
    assert servers.supervision is not None
    found = next(each for key, each in servers.supervision.processes.items() if key == name)
    assert found.popen is not None
    root = psutil.Process(found.popen.pid)

    def send(number: signal.Signals) -> None:
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):  # sessions of the database come and go
                process.send_signal(number)

    return send


def test_health_tells_when_a_server_is_away_for_long_and_when_it_is_back(
    own_servers: EmbeddedServers, tmp_path: Path
) -> None:
    """NOT_SERVING and the reason at /healthz, then SERVING again; a frozen database holds up no SIGTERM."""
    service = Service(own_servers.environment(), tmp_path)
    try:
        server = service.start("server", SARTOR_DRAIN_SECONDS="0.5")
        until(lambda: serving(server))
        for name, word in (("tansu", "broker"), ("postgres", "database")):
            send = freezer(own_servers, name)
            send(signal.SIGSTOP)
            try:
                until(lambda: not serving(server))
                status = fault(server)
                assert f"the {word} has not answered" in status
                assert server.get("livez").startswith("ok")
            finally:
                send(signal.SIGCONT)
            until(lambda: serving(server) and server.healthy())
        send(signal.SIGSTOP)
        try:
            server.process.send_signal(signal.SIGTERM)
            ended(server)
        finally:
            send(signal.SIGCONT)
    finally:
        service.close()


def fault(process: Process) -> str:
    import urllib.error

    with pytest.raises(urllib.error.HTTPError) as raised:
        process.get("healthz")
    return raised.value.read().decode()
