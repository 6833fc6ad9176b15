"""The child process that does a job's work: `python -m sartor_platform.child`, started by child_process.py.

It has no credentials and talks to its parent only through a pipe of JSON lines. It dies with its parent. Its
task comes as JSON on standard input. Imports nothing that the work itself does not need.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import json
import math
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_REPORT_EVERY_SECONDS = 0.1


class PipeReport:
    """Passes progress and messages of the work to the parent.

    Frequent progress is thinned out, messages never are.
    """

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._pipe = os.fdopen(descriptor, "w", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()
        self._last = 0.0

    def __call__(
        self,
        fraction: float,
        *,
        stage: str = "",
        eta_seconds: float | None = None,
        message: str = "",
        **figures: float,
    ) -> None:
        now = time.monotonic()
        if now - self._last < _REPORT_EVERY_SECONDS and fraction < 1:
            return
        self._last = now
        progress = {
            "fraction": min(max(float(fraction), 0.0), 1.0),
            "stage": stage,
            "eta_seconds": float(eta_seconds)
            if eta_seconds is not None and math.isfinite(eta_seconds)
            else None,
            "message": message,
            "figures": {name: float(value) for name, value in figures.items() if math.isfinite(value)},
        }
        self.send({"type": "progress", "progress": progress})

    def send(self, message: dict[str, Any]) -> None:
        """Pass a message on as it is: `{"type": …}` and JSON values."""
        line = json.dumps(message)
        with self._lock:
            self._pipe.write(line + "\n")


def main(argv: list[str]) -> int:
    """Run `module:function` with the task, and send its result or its error."""
    entry, folder, descriptor, parent = argv
    _die_with(int(parent))
    report = PipeReport(int(descriptor))
    try:
        task = json.load(sys.stdin)
        report.send({"type": "started"})
        module, _, function = entry.partition(":")
        result = getattr(importlib.import_module(module), function)(task, Path(folder), report)
        report.send({"type": "result", "result": result if result is not None else {}})
    except BaseException as error:  # noqa: BLE001 - whatever ended the work is told to the parent
        traceback.print_exc()
        report.send(_failure(error))
        return 1
    return 0


def _failure(error: BaseException) -> dict[str, Any]:
    from sartor_platform.errors import SartorError

    if isinstance(error, SartorError):
        return {
            "type": "error",
            "permanent": not error.transient,
            "reason": error.reason,
            "message": error.message,
            "metadata": error.metadata,
        }
    reason, message = unforeseen(error)
    return {"type": "error", "permanent": False, "reason": reason, "message": message}


def unforeseen(error: BaseException) -> tuple[str, str]:
    """Reason and message of an error nobody planned for, as a user may read them."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return (
            "DISK_FULL",
            "no space is left on the worker's disk; free some (see SARTOR_DATA_DIR) and start it again",
        )
    if isinstance(error, MemoryError):
        return "OUT_OF_MEMORY", "the work needs more memory than there is; give it less at a time"
    return (
        "INTERNAL",
        f"it failed unexpectedly with {type(error).__name__}: {error}; the service's log has the details",
    )


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # The result is out; tearing down gigabytes of tensors only costs time.
    os._exit(status)
