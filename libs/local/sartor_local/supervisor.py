"""The supervisor: one process that owns every other of the stack (`python -m sartor_local.supervisor`).

It holds a lock on the data folder for its whole life, ends what a killed predecessor left, starts everything,
writes stack.json at each change, restarts what crashes, and stops all in order on SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import IO

from sartor_local.embedded import EmbeddedServers
from sartor_local.faults import AlreadyRunning, LocalError, StartFailed
from sartor_local.folder import DataFolder, open_folder
from sartor_local.ports import Ports
from sartor_local.process import end_orphans, identity_of
from sartor_local.services import SERVICES, Replicas, ServiceProcesses, service_processes
from sartor_local.state import ProcessState, StackPhase, StackState, read_state, write_state
from sartor_local.supervision import Supervision


@dataclass(frozen=True, slots=True)
class StackOptions:
    """What to run, and where."""

    data_dir: Path
    services: tuple[str, ...] = SERVICES
    replicas: Replicas = field(default_factory=Replicas)
    gateway_port: int | None = None
    kafka_log: str = "memory"
    durable: bool = True
    die_with_parent: bool = False

    def arguments(self) -> list[str]:
        """The same as arguments of `python -m sartor_local.supervisor`."""
        arguments = [
            "--data-dir", str(self.data_dir), "--services", ",".join(self.services),
            "--servers", str(self.replicas.servers), "--workers", str(self.replicas.workers),
            "--kafka-log", self.kafka_log,
        ]  # fmt: skip
        if self.gateway_port is not None:
            arguments += ["--gateway-port", str(self.gateway_port)]
        if not self.durable:
            arguments.append("--not-durable")
        if self.die_with_parent:
            arguments.append("--die-with-parent")
        return arguments


def lock(folder: DataFolder) -> IO[str]:
    """Takes the folder's lock; it is given back when the file is closed or the process ends, however it ends.

    Raises:
        AlreadyRunning: another supervisor holds it.
    """
    # The file stays open as long as the supervisor lives.
    file = open(folder.lock_file, "a+")  # noqa: SIM115
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        state = read_state(folder)
        raise AlreadyRunning(
            folder.root, state.supervisor.pid if state and state.supervisor else None
        ) from None
    return file


def is_locked(folder: DataFolder) -> bool:
    """Whether a supervisor lives."""
    if not folder.lock_file.exists():
        return False
    with open(folder.lock_file, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        return False


class Supervisor:
    """Runs one stack in this process until it is told to stop."""

    def __init__(
        self,
        options: StackOptions,
        environ: Mapping[str, str] | None = None,
        on_change: Callable[[StackState], None] = lambda state: None,
    ) -> None:
        self._options = options
        self._environ = os.environ if environ is None else environ
        self._on_change = on_change
        self._stopping = False
        self._began = time.monotonic()
        self._state = StackState(
            phase=StackPhase.STARTING,
            supervisor=identity_of(os.getpid()),
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self._supervision: Supervision | None = None

    def request_stop(self) -> None:
        """Safe to call from a signal handler."""
        self._stopping = True

    def run(self) -> None:
        """Returns after an orderly stop.

        Raises:
            LocalError: the stack could not start; nothing is left running.
        """
        folder = open_folder(self._options.data_dir)
        with lock(folder):
            before = read_state(folder)
            if before is not None:
                end_orphans(before.identities())
            self._folder = folder
            self._write(phase=StackPhase.STARTING)
            try:
                self._run_locked(folder)
            except LocalError as error:
                self._write(phase=StackPhase.FAILED, error=str(error))
                raise
            self._write(phase=StackPhase.STOPPED)

    def _run_locked(self, folder: DataFolder) -> None:
        supervision = self._start(folder)
        try:
            if not self._stopping:
                self._write(phase=StackPhase.READY, ready_seconds=round(time.monotonic() - self._began, 2))
            supervision.watch()
        finally:
            self._write(phase=StackPhase.STOPPING)
            supervision.stop()

    def _start(self, folder: DataFolder, attempts: int = 3) -> Supervision:
        supervision = self._supervision = self._plan(folder)
        try:
            supervision.start()
        except StartFailed as error:
            # Somebody else may have taken a free port between its choice and its use: choose again.
            if attempts == 1 or not error.port_taken:
                raise
            return self._start(folder, attempts - 1)
        return supervision

    def _plan(self, folder: DataFolder) -> Supervision:
        options = self._options
        fixed = {"gateway": options.gateway_port} if options.gateway_port is not None else {}
        ports = Ports(folder.ports_file, fixed)
        base = EmbeddedServers(
            folder.root, durable=options.durable, kafka_log=options.kafka_log, environ=self._environ
        )
        specs = base.specs(ports)
        environment = base.environment()
        services: ServiceProcesses = service_processes(
            folder, ports, environment, options.services, options.replicas
        )
        self._write(environment=environment, targets=services.targets, gateway_url=services.gateway_url)
        return Supervision(
            [*specs, *services.specs], on_change=self._write, should_stop=lambda: self._stopping
        )

    def _write(self, **changes: object) -> None:
        processes = self._state.processes
        if self._supervision is not None:
            processes = tuple(
                ProcessState(
                    name=name,
                    phase=each.phase.value,
                    identity=each.identity,
                    restarts=each.restarts,
                    note=each.note,
                    ports=each.spec.ports,
                    log=str(each.spec.log),
                )
                for name, each in self._supervision.processes.items()
            )
        values = {name: getattr(self._state, name) for name in StackState.__slots__}
        self._state = StackState(**{**values, **changes, "processes": processes})
        write_state(self._folder, self._state)
        self._on_change(self._state)


def main(argv: list[str] | None = None) -> int:
    """Runs the supervisor; the exit status is 0 after an orderly stop, 3 if one runs already, else 1."""
    options = _parse(argv)
    if options.die_with_parent and sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0)
    supervisor = Supervisor(options)

    def stop(number: int, frame: FrameType | None) -> None:
        supervisor.request_stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        supervisor.run()
    except AlreadyRunning as error:
        sys.stderr.write(f"{error}\n")
        return 3
    except LocalError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _parse(argv: list[str] | None) -> StackOptions:
    parser = argparse.ArgumentParser(prog="python -m sartor_local.supervisor", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--services", default=",".join(SERVICES))
    parser.add_argument("--servers", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--gateway-port", type=int)
    parser.add_argument("--kafka-log", choices=["memory", "s3"], default="memory")
    parser.add_argument("--not-durable", action="store_true")
    parser.add_argument("--die-with-parent", action="store_true")
    given = parser.parse_args(argv)
    return StackOptions(
        data_dir=given.data_dir,
        services=tuple(name for name in given.services.split(",") if name),
        replicas=Replicas(given.servers, given.workers),
        gateway_port=given.gateway_port,
        kafka_log=given.kafka_log,
        durable=not given.not_durable,
        die_with_parent=given.die_with_parent,
    )


if __name__ == "__main__":
    sys.exit(main())
