"""Keeps processes running: parallel start in order of need, readiness, restart with backoff, ordered stop."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum

from sartor_local.faults import LocalError, StartFailed, explain
from sartor_local.probes import NotReady
from sartor_local.process import (
    Identity,
    ProcessSpec,
    bound_log,
    end_session,
    ending,
    identity_of,
    log_tail,
    spawn,
)

STEP_SECONDS = 0.02
IDLE_SECONDS = 0.25
BACKOFF_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
STEADY_SECONDS = 60.0
LOOK_SECONDS = 10.0
"""How often it is asked whether a process is alive."""
DEAD_AFTER_SECONDS = 20.0


class Phase(StrEnum):
    """Where a supervised process is in its life."""

    WAITING = "waiting"
    PREPARING = "preparing"
    STARTING = "starting"
    READY = "ready"
    BACKOFF = "restarting"
    STOPPED = "stopped"


@dataclass(slots=True)
class Supervised:
    """One process and what the supervisor knows of it."""

    spec: ProcessSpec
    phase: Phase = Phase.WAITING
    popen: subprocess.Popen[bytes] | None = None
    identity: Identity | None = None
    restarts: int = 0
    note: str = ""
    since: float = field(default_factory=time.monotonic)
    task: Future[None] | None = None
    failures: int = 0
    was_ready: bool = False
    looked: float = 0.0
    alive: float = 0.0

    def enter(self, phase: Phase, note: str = "") -> None:
        self.phase, self.note, self.since = phase, note, time.monotonic()


class Supervision:
    """Runs `specs`. All processes are spawned by the thread that calls `start` and `tick`, which must be the
    same.

    During `start` a process that ends before it was ready once is fatal after `start_attempts` tries;
    afterwards it is restarted for ever, with backoff.
    """

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        on_change: Callable[[], None] = lambda: None,
        start_attempts: int = 2,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._on_change = on_change
        self._start_attempts = start_attempts
        self._should_stop = should_stop
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="probe")
        self._changed = threading.Event()
        self._last_logs = time.monotonic()
        self._untold = False
        self.processes: dict[str, Supervised] = {spec.name: Supervised(spec) for spec in specs}

    def start(self) -> None:
        """Returns when everything is ready (or `should_stop` says to give up).

        Raises:
            LocalError: a process could not be started; nothing is left running.
        """
        try:
            while not self.all_ready() and not self._should_stop():
                self.tick(starting=True)
                self._changed.wait(STEP_SECONDS)
        except BaseException:
            self.stop()
            raise

    def all_ready(self) -> bool:
        return all(process.phase is Phase.READY for process in self.processes.values())

    def watch(self) -> None:
        """Supervises until `should_stop`."""
        while not self._should_stop():
            self.tick()
            self._changed.wait(STEP_SECONDS if not self.all_ready() else IDLE_SECONDS)

    def tick(self, starting: bool = False) -> None:
        """Moves every process one step on."""
        for process in self.processes.values():
            before = (process.phase, process.note)
            self._step(process, starting)
            self._untold |= (process.phase, process.note) != before
        if self._untold:
            self._tell()
        if time.monotonic() - self._last_logs > 1.0:
            self._last_logs = time.monotonic()
            for process in self.processes.values():
                bound_log(process.spec.log)

    def _tell(self) -> None:
        """Tell of changes, or later where the disk takes no word of them now."""
        self._untold = True
        with contextlib.suppress(OSError):
            self._on_change()
            self._untold = False

    def _step(self, process: Supervised, starting: bool) -> None:
        match process.phase:
            case Phase.WAITING:
                if all(self._is_ready(name) for name in process.spec.after):
                    self._begin(process)
            case Phase.PREPARING:
                if process.task is not None and process.task.done():
                    self._prepared(process, starting)
            case Phase.STARTING:
                self._await_ready(process, starting)
            case Phase.READY:
                if process.popen is not None and process.popen.poll() is not None:
                    self._ended(process, starting)
                    return
                self._look(process, starting)
                if process.failures and time.monotonic() - process.since > STEADY_SECONDS:
                    process.failures = 0
            case Phase.BACKOFF:
                wait = BACKOFF_SECONDS[min(process.failures, len(BACKOFF_SECONDS)) - 1]
                if time.monotonic() - process.since >= wait:
                    self._begin(process)
            case Phase.STOPPED:
                return

    def _is_ready(self, name: str) -> bool:
        return name not in self.processes or self.processes[name].phase is Phase.READY

    def _begin(self, process: Supervised) -> None:
        if process.spec.cleanup:
            process.spec.cleanup()
        if process.spec.prepare is None:
            self._launch(process)
            return
        process.enter(Phase.PREPARING)
        process.task = self._pool.submit(process.spec.prepare)

    def _prepared(self, process: Supervised, starting: bool) -> None:
        assert process.task is not None
        error, process.task = process.task.exception(), None
        if error is None:
            self._launch(process)
        elif isinstance(error, LocalError) and not starting:
            process.failures += 1
            process.enter(Phase.BACKOFF, str(error))
        else:
            raise error

    def _launch(self, process: Supervised) -> None:
        process.popen = spawn(process.spec)
        process.identity = identity_of(process.popen.pid)
        process.task = None
        process.enter(Phase.STARTING)

    def _await_ready(self, process: Supervised, starting: bool) -> None:
        assert process.popen is not None
        if process.popen.poll() is not None:
            self._ended(process, starting)
            return
        task = process.task
        if task is None:
            process.task = self._pool.submit(process.spec.ready)
            process.task.add_done_callback(lambda _: self._changed.set())
            return
        if not task.done():
            return
        self._changed.clear()
        process.task, error = None, task.exception()
        if error is None:
            process.was_ready = True
            process.enter(Phase.READY)
            process.looked = process.alive = process.since
        elif not isinstance(error, NotReady):
            raise error
        elif time.monotonic() - process.since > process.spec.ready_seconds:
            end_session(process.popen.pid)
            process.popen.wait()
            self._ended(process, starting, f"not ready after {process.spec.ready_seconds:.0f} s: {error}")

    def _look(self, process: Supervised, starting: bool) -> None:
        """Ask whether a process that runs is of any use."""
        now = time.monotonic()
        if process.spec.alive is None or process.popen is None:
            return
        task = process.task
        if task is None:
            if now - process.looked > LOOK_SECONDS:
                process.looked = now
                process.task = self._pool.submit(process.spec.alive)
            return
        if not task.done():
            return
        process.task, error = None, task.exception()
        if error is None:
            process.alive = now
        elif not isinstance(error, NotReady):
            raise error
        elif now - process.alive > LOOK_SECONDS + DEAD_AFTER_SECONDS:
            end_session(process.popen.pid)
            self._ended(process, starting, f"it ran, but was of no use: {error}")

    def _ended(self, process: Supervised, starting: bool, why: str = "") -> None:
        assert process.popen is not None
        code = process.popen.wait()
        end_session(process.popen.pid)
        process.popen, process.identity, process.task = None, None, None
        process.failures += 1
        if not why:
            why = ending(code)
            if code >= 0:
                why += f": {explain(log_tail(process.spec.log), tuple(process.spec.ports.values()))}"
        if starting and process.failures >= self._start_attempts and not process.was_ready:
            raise StartFailed(process.spec.name, why, process.spec.log)
        process.restarts += 1
        process.enter(Phase.BACKOFF, why)

    def stop(self) -> None:
        """Stops everything, each process after those that need it."""
        while running := [
            process for process in self.processes.values() if process.phase is not Phase.STOPPED
        ]:
            needed = {name for process in running for name in process.spec.after}
            last = [process for process in running if process.spec.name not in needed] or running
            self._stop_all(last)
            self._tell()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _stop_all(self, processes: Sequence[Supervised]) -> None:
        for process in processes:
            if process.popen is not None and process.popen.poll() is None:
                process.popen.send_signal(process.spec.stop_signal)
        deadline = time.monotonic() + max((process.spec.stop_seconds for process in processes), default=0)
        for process in processes:
            if process.popen is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.popen.wait(max(0.0, deadline - time.monotonic()))
                end_session(process.popen.pid)
                process.popen.wait()
            if process.spec.cleanup:
                process.spec.cleanup()
            process.popen, process.identity = None, None
            process.enter(Phase.STOPPED)

    def identities(self) -> Mapping[str, Identity]:
        """The running processes by name."""
        return {
            name: process.identity for name, process in self.processes.items() if process.identity is not None
        }
