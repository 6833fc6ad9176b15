"""Supervision: order, readiness, restarts and an end that leaves nothing, shown on small processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from sartor_local import supervision as supervision_module
from sartor_local.faults import StartFailed, explain
from sartor_local.probes import NotReady
from sartor_local.process import (
    Identity,
    ProcessSpec,
    bound_log,
    end_orphans,
    ending,
    identity_of,
    is_alive,
    log_tail,
)
from sartor_local.supervision import Phase, Supervision

STAY = "import time; print('up', flush=True); time.sleep(60)"


def spec_of(
    folder: Path,
    name: str,
    code: str = STAY,
    after: Sequence[str] = (),
    ready: Callable[[], None] | None = None,
    ready_seconds: float = 20.0,
) -> ProcessSpec:
    log = folder / f"{name}.log"

    def has_spoken() -> None:
        if "up" not in log_tail(log):
            raise NotReady("silent")

    return ProcessSpec(
        name=name,
        argv=(sys.executable, "-c", code),
        environment=dict(os.environ),
        cwd=folder,
        log=log,
        ready=ready or has_spoken,
        after=tuple(after),
        ready_seconds=ready_seconds,
        stop_seconds=5,
    )


def until(supervision: Supervision, met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not met():
        assert time.monotonic() < deadline
        supervision.tick()
        time.sleep(0.01)


def test_what_is_needed_is_ready_first_and_stopped_last(tmp_path: Path) -> None:
    """A server starts after its database, and the database stops after the server."""
    order: list[str] = []

    def note() -> None:
        for name, each in supervision.processes.items():
            entry = f"{name} {each.phase.value}"
            if each.phase in (Phase.READY, Phase.STOPPED) and entry not in order:
                order.append(entry)

    supervision = Supervision(
        [spec_of(tmp_path, "server", after=["database"]), spec_of(tmp_path, "database")], on_change=note
    )
    supervision.start()
    supervision.stop()
    assert order == ["database ready", "server ready", "server stopped", "database stopped"]


def test_a_crashed_process_is_started_again(tmp_path: Path) -> None:
    """With another number, and the restart is counted."""
    supervision = Supervision([spec_of(tmp_path, "one")])
    supervision.start()
    try:
        process = supervision.processes["one"]
        assert process.identity is not None
        first = process.identity.pid
        os.kill(first, signal.SIGKILL)
        until(supervision, lambda: process.restarts == 1)
        assert "SIGKILL" in process.note
        until(supervision, lambda: process.phase is Phase.READY)
        assert process.identity is not None
        assert process.identity.pid != first
    finally:
        supervision.stop()


def test_a_process_that_runs_but_is_of_no_use_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision_module, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(supervision_module, "DEAD_AFTER_SECONDS", 0.3)
    useless = [False]

    def alive() -> None:
        if useless[0]:
            raise NotReady("it takes no writes")

    supervision = Supervision([replace(spec_of(tmp_path, "store"), alive=alive)])
    supervision.start()
    store = supervision.processes["store"]
    first = store.identity
    useless[0] = True
    until(supervision, lambda: store.restarts == 1)
    useless[0] = False
    until(supervision, supervision.all_ready)
    assert store.identity != first
    supervision.stop()


def test_what_a_full_disk_does_not_take_is_told_later(tmp_path: Path) -> None:
    told: list[str] = []
    full = [False]

    def tell() -> None:
        if full[0]:
            raise OSError(28, "No space left on device")
        told.append(supervision.processes["one"].phase)

    supervision = Supervision([spec_of(tmp_path, "one")], on_change=tell)
    supervision.start()
    full[0] = True
    running = supervision.processes["one"].popen
    assert running is not None
    running.kill()
    until(supervision, lambda: supervision.processes["one"].restarts == 1)
    until(supervision, supervision.all_ready)
    before = len(told)
    full[0] = False
    supervision.tick()
    assert told[before:] == [Phase.READY]
    supervision.stop()


def test_a_process_that_cannot_start_ends_the_start_with_its_words(tmp_path: Path) -> None:
    """The message has the name, the reason and the log; nothing is left running."""
    good, bad = (
        spec_of(tmp_path, "good"),
        spec_of(tmp_path, "bad", "raise SystemExit('OSError: [Errno 28] No space left on device')"),
    )
    supervision = Supervision([good, bad])
    with pytest.raises(StartFailed, match=r"bad did not start: .*the disk is full"):
        supervision.start()
    assert all(process.phase is Phase.STOPPED for process in supervision.processes.values())


def test_a_process_that_never_becomes_ready_is_told(tmp_path: Path) -> None:
    """Being alive is not being ready."""

    def never() -> None:
        raise NotReady("connection refused")

    supervision = Supervision([spec_of(tmp_path, "mute", ready=never, ready_seconds=0.3)], start_attempts=1)
    with pytest.raises(StartFailed, match="not ready after 0 s: connection refused"):
        supervision.start()


def test_a_stop_ends_grandchildren_too(tmp_path: Path) -> None:
    """Whatever a process started in its session ends with it."""
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print('up', child.pid, flush=True); time.sleep(60)"
    )
    supervision = Supervision([spec_of(tmp_path, "parent", code)])
    supervision.start()
    grandchild = int(log_tail(tmp_path / "parent.log").split()[1])
    assert psutil.pid_exists(grandchild)
    supervision.stop()
    assert _gone(grandchild)


def test_orphans_are_recognised_by_number_and_start_time() -> None:
    """A number that was given to another process since is left alone."""
    process = subprocess.Popen(
        [sys.executable, "-c", STAY], start_new_session=True, stdout=subprocess.DEVNULL
    )
    try:
        identity = identity_of(process.pid)
        assert identity is not None
        stranger = Identity(process.pid, identity.started - 1000)
        assert not is_alive(stranger)
        assert end_orphans([stranger]) == []
        assert is_alive(identity)
        assert end_orphans([identity]) == [process.pid]
        assert not is_alive(identity)
    finally:
        process.kill()
        process.wait()


def test_logs_are_bounded_while_they_are_written(tmp_path: Path) -> None:
    """The writer keeps its file open; the end of the log and one predecessor stay."""
    path = tmp_path / "one.log"
    with open(path, "ab", buffering=0) as log:
        for number in range(1000):
            log.write(b"line %04d\n" % number)
        bound_log(path, limit_bytes=1000)
        log.write(b"after\n")
    assert path.read_bytes() == b"after\n"
    kept = path.with_name("one.log.1").read_bytes()
    assert len(kept) == 1000
    assert kept.endswith(b"line 0999\n")


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("listen tcp 127.0.0.1:8333: bind: address already in use", "a port is taken"),
        ("could not write lock file: No space left on device", "the disk is full"),
        ("FATAL: could not open file: Permission denied", "permission denied"),
        (
            '{"event": "process.cannot_start", "error": "the settings are not usable"}',
            "settings are not usable",
        ),
        ("", "without a word"),
    ],
)
def test_the_likely_reason_is_read_from_the_log(log: str, words: str) -> None:
    """People get a sentence, not a log."""
    assert words in explain(log, (8333,))


def test_endings_are_told_in_words() -> None:
    """A signal has a name."""
    assert ending(3) == "it ended with code 3"
    assert ending(-9) == "it was ended by signal 9 (SIGKILL)"


def _gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False
