"""Small parts of every process: the watchdog, traces, the log, the service's command line, imports."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any

import pytest
from sartor_platform import metrics, tracing
from sartor_platform.errors import FailedPrecondition
from sartor_platform.service import USAGE, ServiceDefinition, main
from sartor_platform.settings import PlatformSettings
from sartor_platform.watchdog import Watchdog


def test_the_watchdog_ends_a_process_whose_loop_stands_still() -> None:
    """A loop that ended as it should is forgotten, one that beats is left alone."""
    ended = threading.Event()
    watchdog = Watchdog(end=ended.set)
    watchdog.beat("done", 0.0)
    watchdog.forget("done")
    watchdog.beat("lively", 60.0)
    assert watchdog.stuck() == []
    watchdog.beat("stuck", 0.0)
    assert watchdog.stuck() == ["stuck"]
    watchdog.start()
    assert ended.wait(20)


def test_a_trace_goes_on_with_a_span_of_its_own() -> None:
    """A malformed one is replaced; outside of a block there is none."""
    with tracing.continued() as first:
        with tracing.continued(first) as second:
            assert tracing.trace_id() == tracing.trace_id(first)
            assert second != first
        assert tracing.current() == first
    assert tracing.current() == ""
    for bad in ("", "00-xyz-1-01", "00-" + "0" * 32 + "-" + "1" * 16 + "-01"):
        assert tracing.trace_id(bad) == ""
        with tracing.continued(bad) as span:
            assert tracing.trace_id(span)


def test_log_lines_are_json_with_service_process_and_trace() -> None:
    """Also those of libraries; exceptions are part of the line."""
    script = (
        "import logging\n"
        "from sartor_platform import log, tracing\n"
        "log.configure('training', 'worker', as_json=True)\n"
        "with tracing.continued():\n"
        "    log.get(job='j').info('job.started')\n"
        "logging.getLogger('library').warning('careful')\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError: log.get().exception('broke')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    started, library, broke = [json.loads(line) for line in done.stdout.splitlines()]
    assert (started["event"], started["job"], started["service"]) == ("job.started", "j", "training")
    assert len(started["trace"]) == 32
    assert (library["event"], library["process"]) == ("careful", "worker")
    assert broke["exception"][0]["exc_type"] == "ZeroDivisionError"


def test_a_wrong_command_line_shows_what_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    """Roles of the service's own included."""
    nothing: Any = lambda _runtime: ()  # noqa: E731
    definition = ServiceDefinition(
        name="x",
        package="sartor_x",
        settings=PlatformSettings,
        servicers=nothing,
        topics=nothing,
        handlers=lambda _runtime: {},
        job_kinds=nothing,
        roles={"gateway": nothing},
    )
    for arguments in ([], ["nonsense"], ["server", "worker"]):
        assert main(definition, arguments) == USAGE
        assert "server|worker|migrate|gateway" in capsys.readouterr().err


def test_a_metrics_port_that_is_taken_is_said_plainly() -> None:
    """The error says what to set."""
    first = metrics.MetricsServer("127.0.0.1:0", lambda: None)
    with pytest.raises(FailedPrecondition, match="SARTOR_METRICS_BIND"):
        metrics.MetricsServer(f"127.0.0.1:{first.port}", lambda: None)


@pytest.mark.parametrize(
    ("module", "costly"),
    [
        ("sartor_platform.worker", ("sqlalchemy", "grpc", "kafka", "minio", "google.protobuf")),
        ("sartor_platform.child", ("sqlalchemy", "grpc", "kafka", "minio", "google.protobuf", "structlog")),
        ("sartor_platform.service", ("grpc", "kafka", "minio", "alembic")),
        ("sartor_platform.worker_loop", ("grpc", "kafka", "minio", "alembic")),
    ],
)
def test_a_process_imports_only_what_it_uses(module: str, costly: tuple[str, ...]) -> None:
    """The memory of idle processes is bounded by this."""
    script = f"import sys, {module}; print([name for name in {costly!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
