"""Work for child processes of the tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from sartor_platform.errors import InvalidArgument


def double(task: dict[str, Any], folder: Path, report: Any) -> dict[str, Any]:
    """Doubles a number and writes it to a file."""
    report(0.5, stage="doubling", eta_seconds=1.0, loss=0.25, broken=float("nan"))
    report.send({"type": "checkpoint", "step": 1})
    (folder / "out.txt").write_text(str(task["number"] * 2))
    print("a line for the log")
    return {"number": task["number"] * 2}


def environment(task: dict[str, Any], folder: Path, report: Any) -> dict[str, Any]:
    """Tells what it can see."""
    return {"environment": dict(os.environ), "folder": str(folder), "cwd": str(Path.cwd()), "path": sys.path}


def refuse(task: dict[str, Any], folder: Path, report: Any) -> dict[str, Any]:
    """Fails for good."""
    raise InvalidArgument("the rows are all empty; send others", reason="NO_ROWS")


def die_once(task: dict[str, Any], folder: Path, report: Any) -> dict[str, Any]:
    """Is killed at the first attempt."""
    if task["attempt"] == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return {}


def wait(task: dict[str, Any], folder: Path, report: Any) -> dict[str, Any]:
    """Starts a process of its own, tells both ids, and waits for the file `go`."""
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    report.send({"type": "pids", "pids": [os.getpid(), other.pid]})
    while not Path(task["go"]).exists():
        time.sleep(0.02)
    other.kill()
    return {"attempt": task["attempt"]}


def crash(task: dict[str, Any], folder: Path, report: Any) -> dict[str, Any]:
    """Fails in a way nobody foresaw."""
    raise KeyError("secret detail")
