"""A process does not live on with half of its threads."""

from __future__ import annotations

import subprocess
import sys

from sartor_platform.threads import THREAD_DIED

CODE = """
import sys, threading, time
from sartor_platform.threads import end_process_with_its_threads

stop = threading.Event()
end_process_with_its_threads(stop)
if "stopping" in sys.argv:
    stop.set()

def fail():
    raise ImportError("half of a module")

thread = threading.Thread(target=fail, name="relay")
thread.start()
thread.join()
if "stopping" not in sys.argv:
    time.sleep(60)
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The code above in a process of its own."""
    command = [sys.executable, "-c", CODE, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)


def test_a_thread_that_dies_takes_its_process_along() -> None:
    """The log says which thread and of what; the supervisor starts the process again."""
    ended = run()
    assert ended.returncode == THREAD_DIED
    said = ended.stdout + ended.stderr
    assert "thread.died" in said
    assert "relay" in said
    assert "half of a module" in said


def test_a_process_that_ends_anyway_ends_in_peace() -> None:
    """What breaks while it stops is no reason for another status."""
    assert run("stopping").returncode == 0
