"""What can go wrong when the stack starts or stops, each with what to do next.

LocalError
├── StartFailed        a process did not become ready; carries its name and the end of its log
├── FolderRefused      the data folder cannot be used
├── PortTaken          a port asked for is held by another program
├── DiskFull           too little space under the data folder
├── AlreadyRunning     another supervisor holds the data folder
└── NotRunning         there is no supervisor for the data folder
"""

from __future__ import annotations

import json
from pathlib import Path

_PORT_TAKEN = "a port is taken"


class LocalError(Exception):
    """A fault of the local stack; the text says what happened and what to do next."""


class StartFailed(LocalError):
    """A process of the stack did not become ready."""

    def __init__(self, name: str, why: str, log: Path) -> None:
        super().__init__(f"{name} did not start: {why}\nIts log: {log}")
        self.name = name
        self.why = why
        self.log = log

    @property
    def port_taken(self) -> bool:
        """Whether another port might help."""
        return _PORT_TAKEN in self.why


class FolderRefused(LocalError):
    """The data folder cannot hold the stack."""

    def __init__(self, folder: Path, why: str) -> None:
        super().__init__(f"The data folder {folder} cannot be used: {why}")
        self.folder = folder
        self.why = why


class PortTaken(LocalError):
    """A port that was asked for is in use by another program."""

    def __init__(self, port: int, wanted_by: str) -> None:
        super().__init__(
            f"Port {port} on 127.0.0.1, wanted by {wanted_by}, is taken by another program. "
            f"Stop that program (find it with: ss -ltnp | grep :{port}) or ask for another port."
        )
        self.port = port
        self.wanted_by = wanted_by


class DiskFull(LocalError):
    """Too little disk space for the stack to work safely."""

    def __init__(self, folder: Path, free_bytes: int, needed_bytes: int) -> None:
        super().__init__(
            f"Only {free_bytes // 2**20} MB are free on the disk of {folder}; the stack needs at least "
            f"{needed_bytes // 2**20} MB. Free some space, or choose another disk with --data-dir."
        )
        self.folder = folder
        self.free_bytes = free_bytes


class AlreadyRunning(LocalError):
    """Another supervisor already owns this data folder."""

    def __init__(self, folder: Path, pid: int | None) -> None:
        who = f" (supervisor pid {pid})" if pid else ""
        super().__init__(f"The stack of {folder} is already running{who}. See it with `sartor status`.")
        self.folder = folder
        self.pid = pid


class NotRunning(LocalError):
    """No supervisor runs for this data folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"No stack is running in {folder}. Start one with `sartor up`.")
        self.folder = folder


def explain(log_tail: str, ports: tuple[int, ...] = ()) -> str:
    """The likely reason for a server's end, read from the last lines of its log, and what to do next."""
    low = log_tail.lower()
    if any(
        words in low for words in ("address already in use", "address_in_use", "addrinuse", "could not bind")
    ):
        which = ", ".join(str(port) for port in ports) or "one of its ports"
        return f"{_PORT_TAKEN} by another program ({which}). Stop that program, then start again."
    if "no space left on device" in low or "disk quota exceeded" in low:
        return "the disk is full. Free some space or choose another disk with --data-dir, then start again."
    if "permission denied" in low:
        return "it may not read or write its files (permission denied). Check the owner of the data folder."
    if "cannot allocate memory" in low or "out of memory" in low:
        return "there is not enough memory. Close other programs, then start again."
    last = [_spoken(line) for line in log_tail.splitlines() if line.strip()][-3:]
    return "its last words were:\n    " + "\n    ".join(last) if last else "it ended without a word."


def _spoken(line: str) -> str:
    """A log line as people read it: of a JSON line the event and its error."""
    try:
        entry = json.loads(line)
        words = [str(entry[key]) for key in ("event", "error", "reason") if entry.get(key)]
    except (ValueError, TypeError, AttributeError, KeyError):
        return line.strip()
    return ": ".join(words) or line.strip()
