"""The supervisor on the real base servers: one at a time, back after a kill, clear when it cannot start."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from sartor_local import control, ports
from sartor_local.faults import AlreadyRunning, LocalError, NotRunning
from sartor_local.folder import open_folder
from sartor_local.process import is_alive
from sartor_local.stack import Stack
from sartor_local.state import ProcessState, StackPhase, StackState
from sartor_local.supervisor import StackOptions

from tests.conftest import short_folder


@pytest.fixture
def options() -> Iterator[StackOptions]:
    folder = short_folder("sartor-stack-")
    yield StackOptions(folder, services=(), durable=False, die_with_parent=True)
    with contextlib.suppress(NotRunning):
        control.down(folder)
    shutil.rmtree(folder, ignore_errors=True)


def without_sartor() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("SARTOR_")}


def process(state: StackState, name: str) -> ProcessState:
    return next(each for each in state.processes if each.name == name)


def until(met: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_second_start_finds_the_first(options: StackOptions) -> None:
    """One supervisor a data folder; the second says who the first is."""
    first = control.up(options, without_sartor())
    assert first.phase is StackPhase.READY
    with pytest.raises(AlreadyRunning) as caught:
        control.up(options, without_sartor())
    assert first.supervisor is not None
    assert caught.value.pid == first.supervisor.pid
    running = control.status(options.data_dir)
    assert running is not None
    assert running.environment == first.environment
    control.down(options.data_dir)
    assert not any(is_alive(identity) for identity in first.identities())
    with pytest.raises(NotRunning):
        control.down(options.data_dir)


def test_after_kill_9_of_everything_the_next_start_has_all_data(options: StackOptions) -> None:
    """Stale locks, pid files and orphans do not stop it, and addresses stay the same."""
    first = control.up(options, without_sartor())
    url = first.environment["SARTOR_DATABASE_URL"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept (n int)")
        connection.execute("INSERT INTO kept VALUES (7)")
    assert first.supervisor is not None
    for identity in (first.supervisor, *first.identities()):
        os.kill(identity.pid, signal.SIGKILL)
    until(lambda: control.status(options.data_dir) is None)
    second = control.up(options, without_sartor())
    assert second.environment == first.environment
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (7,)


def test_children_end_with_their_supervisor(options: StackOptions) -> None:
    """A killed supervisor leaves no server behind, or the next start ends it."""
    first = control.up(options, without_sartor())
    assert first.supervisor is not None
    os.kill(first.supervisor.pid, signal.SIGKILL)
    until(lambda: control.status(options.data_dir) is None)
    if psutil.LINUX:
        until(lambda: not any(is_alive(identity) for identity in first.identities()))
    control.up(options, without_sartor())
    assert not any(is_alive(identity) for identity in first.identities())


def test_a_crashed_server_is_started_again(options: StackOptions) -> None:
    """stack.json shows the restart and the reason."""
    first = control.up(options, without_sartor())
    broker = process(first, "tansu").identity
    assert broker is not None
    os.kill(broker.pid, signal.SIGKILL)

    def back() -> bool:
        state = control.status(options.data_dir)
        assert state is not None
        now = process(state, "tansu")
        return now.restarts == 1 and now.phase == "ready"

    until(back)


def test_a_stack_for_tests_ends_with_its_block(options: StackOptions) -> None:
    """`with Stack(…)` is the same supervisor."""
    with Stack(options, without_sartor()) as state:
        assert state.phase is StackPhase.READY
        assert [each.name for each in state.processes] == ["postgres", "seaweed", "tansu"]
    assert control.status(options.data_dir) is None


def test_external_servers_are_not_started(options: StackOptions) -> None:
    """What the environment names is used as it is."""
    environ = without_sartor() | {
        "SARTOR_DATABASE_URL": "postgresql://elsewhere/sartor",
        "SARTOR_S3_ENDPOINT": "elsewhere:9000",
        "SARTOR_S3_ACCESS_KEY": "key",
        "SARTOR_S3_SECRET_KEY": "secret",
    }
    state = control.up(options, environ)
    assert [each.name for each in state.processes] == ["tansu"]
    assert state.environment["SARTOR_DATABASE_URL"] == "postgresql://elsewhere/sartor"
    assert state.environment["SARTOR_S3_ENDPOINT"] == "elsewhere:9000"


def test_a_port_taken_at_the_last_moment_is_told(
    options: StackOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server that wanted it, the port, and what to do."""
    folder = open_folder(options.data_dir)
    with socket.socket() as other:
        other.bind((ports.HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        folder.ports_file.write_text(f'{{"tansu": {port}}}')
        monkeypatch.setattr(ports, "is_free", lambda number: True)
        from sartor_local.supervisor import Supervisor

        with pytest.raises(LocalError, match=rf"tansu did not start: .*a port is taken .*{port}"):
            Supervisor(options, without_sartor()).run()


def test_a_file_where_the_folder_should_be_is_told(tmp_path: Path) -> None:
    """No stack trace, one sentence."""
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalError, match="cannot be used"):
        control.up(StackOptions(tmp_path / "file", services=()), without_sartor())
