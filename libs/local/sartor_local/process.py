"""One supervised operating-system process: how it is described, started, recognised again and ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from sartor_local.accounts import SystemUser, between_fork_and_exec
from sartor_local.probes import Probe

LOG_BYTES = 8 * 2**20
_SAME_START_SECONDS = 1.5


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What to run and how to know that it is ready.

    `prepare` runs before each start (it may make files, or raise a LocalError). `after` names the processes
    that must be ready first. A process is stopped only after those that name it have stopped. One that is
    `alive` no more for `DEAD_AFTER_SECONDS` is started again; without that probe, only one that ends is.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: Path
    log: Path
    ready: Probe
    alive: Probe | None = None
    after: tuple[str, ...] = ()
    ports: Mapping[str, int] = field(default_factory=dict)
    user: SystemUser | None = None
    prepare: Callable[[], None] | None = None
    cleanup: Callable[[], None] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 15.0
    ready_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Identity:
    """A process as recorded on disk: its number alone may have been given to another one since."""

    pid: int
    started: float


def identity_of(pid: int) -> Identity | None:
    """Who has this number now, or None."""
    try:
        return Identity(pid, psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return None


def is_alive(identity: Identity) -> bool:
    """Whether exactly this process still runs (a zombie does not)."""
    try:
        process = psutil.Process(identity.pid)
        same = abs(process.create_time() - identity.started) < _SAME_START_SECONDS
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def spawn(spec: ProcessSpec) -> subprocess.Popen[bytes]:
    """Starts the process in a session of its own, its output appended to its log.

    The kernel ends it when the calling *thread* ends (Linux), so call this from a thread that lives as long
    as the supervisor does.
    """
    with open(spec.log, "ab") as log:
        return subprocess.Popen(
            spec.argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(spec.environment),
            cwd=spec.cwd,
            start_new_session=True,
            preexec_fn=between_fork_and_exec(spec.user, die_with_parent=True),
        )


def end_session(leader: int) -> None:
    """Kills what is left of a session started by `spawn`, its leader included."""
    for pid in _members(leader):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _members(leader: int) -> Iterable[int]:
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == leader:
                yield pid


def end_orphans(recorded: Iterable[Identity], wait_seconds: float = 5.0) -> list[int]:
    """Ends what a killed supervisor left running; returns the numbers of the processes ended.

    A session keeps its number reserved while it has members, so members of a recorded session are ours unless
    the recorded leader's number now belongs to a process that started at another time.
    """
    ended: list[psutil.Process] = []
    for identity in recorded:
        now = identity_of(identity.pid)
        if now is not None and abs(now.started - identity.started) >= _SAME_START_SECONDS:
            continue
        for pid in _members(identity.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                process.kill()
                ended.append(process)
    wait_until_gone(ended, wait_seconds)
    return [process.pid for process in ended]


def wait_until_gone(processes: Iterable[psutil.Process], seconds: float) -> None:
    """Waits until none of them runs. One that only waits for its parent to notice (a zombie) is gone."""
    left = list(processes)
    deadline = time.monotonic() + seconds
    while left and time.monotonic() < deadline:
        left = [process for process in left if _runs(process)]
        time.sleep(0.01)


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def ending(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"it ended with code {code}"
    try:
        return f"it was ended by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"it was ended by signal {-code}"


def bound_log(path: Path, limit_bytes: int = LOG_BYTES) -> None:
    """Keeps a log and its one predecessor (`.1`) within `limit_bytes` each.

    The writer holds the file open for appending, so the file is copied and emptied in place. Where the disk
    has no room for the copy, the next call does it.
    """
    with contextlib.suppress(OSError):
        if path.stat().st_size <= limit_bytes:
            return
        with open(path, "rb+") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - limit_bytes))
            path.with_name(path.name + ".1").write_bytes(log.read())
            log.truncate(0)


def log_tail(path: Path, size: int = 4000) -> str:
    """The last characters of a log, "" if there is none."""
    try:
        with open(path, "rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - size))
            return log.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
