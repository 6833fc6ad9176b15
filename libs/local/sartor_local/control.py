"""Starts, finds and stops the stack of a data folder from another process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from sartor_local.faults import AlreadyRunning, LocalError, NotRunning
from sartor_local.folder import DataFolder, open_folder
from sartor_local.process import end_orphans, is_alive, log_tail
from sartor_local.state import StackPhase, StackState, read_state
from sartor_local.supervisor import StackOptions, is_locked

_POLL_SECONDS = 0.05
_STOP_SECONDS = 90.0


def up(
    options: StackOptions,
    environ: Mapping[str, str] | None = None,
    on_change: Callable[[StackState], None] = lambda state: None,
) -> StackState:
    """Starts the supervisor as a process of its own and returns when the stack is ready.

    Interrupted (KeyboardInterrupt), it stops what it started.

    Raises:
        AlreadyRunning: there is one for this data folder.
        LocalError: it could not start; nothing is left running.
    """
    folder = open_folder(options.data_dir)
    if is_locked(folder):
        state = read_state(folder)
        raise AlreadyRunning(folder.root, state.supervisor.pid if state and state.supervisor else None)
    log = folder.log_of("supervisor")
    with open(log, "ab") as output:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "sartor_local.supervisor", *options.arguments()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(os.environ if environ is None else environ),
            start_new_session=True,
        )
    try:
        return _until_ready(folder, supervisor, on_change)
    except BaseException:
        supervisor.send_signal(signal.SIGTERM)
        supervisor.wait(_STOP_SECONDS)
        raise


def _until_ready(
    folder: DataFolder, supervisor: subprocess.Popen[bytes], on_change: Callable[[StackState], None]
) -> StackState:
    shown: StackState | None = None
    while True:
        ended = supervisor.poll()
        state = read_state(folder)
        ours = state is not None and state.supervisor is not None and state.supervisor.pid == supervisor.pid
        if state is not None and ours and state != shown:
            shown = state
            on_change(state)
        if state is not None and ours and state.phase is StackPhase.READY:
            return state
        if ended is not None:
            if state is not None and ours and state.error:
                raise LocalError(state.error)
            log = folder.log_of("supervisor")
            raise LocalError(
                f"The supervisor ended with code {ended}.\n{log_tail(log, 1500)}\nIts log: {log}"
            )
        time.sleep(_POLL_SECONDS)


def status(data_dir: Path) -> StackState | None:
    """The state of the folder's stack, or None if no supervisor lives."""
    folder = DataFolder(data_dir.expanduser().resolve())
    return read_state(folder) if is_locked(folder) else None


def down(data_dir: Path, on_change: Callable[[StackState], None] = lambda state: None) -> None:
    """Stops the folder's stack in order and returns when all of it has ended.

    Raises:
        NotRunning: there is none. What a killed supervisor had left running has been ended.
        LocalError: it did not stop in time.
    """
    folder = DataFolder(data_dir.expanduser().resolve())
    state = read_state(folder)
    if not is_locked(folder):
        if state is not None:
            end_orphans(state.identities())
        raise NotRunning(folder.root)
    if state is None or state.supervisor is None:
        raise LocalError(f"{folder.state_file} cannot be read, yet a supervisor holds {folder.lock_file}.")
    supervisor = state.supervisor
    os.kill(supervisor.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while is_alive(supervisor) and is_locked(folder):
        if time.monotonic() > deadline:
            raise LocalError(f"The supervisor (pid {supervisor.pid}) did not stop in {_STOP_SECONDS:.0f} s.")
        now = read_state(folder)
        if now is not None and now != state:
            state = now
            on_change(now)
        time.sleep(_POLL_SECONDS)
