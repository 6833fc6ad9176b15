"""How tests end the processes that they started: none may live on and take the events of what follows."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterable

_LIMIT_SECONDS = 30.0


def end(processes: Iterable[subprocess.Popen[bytes]], how: signal.Signals = signal.SIGTERM) -> None:
    """Send all of them the signal and wait.

    One that outlives the limit says in its log where its threads are and is killed, and that is a failure.
    """
    ending = [process for process in processes if process.poll() is None]
    for process in ending:
        process.send_signal(how)
    late = []
    for process in ending:
        try:
            process.wait(_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            late.append(process.args)
            process.send_signal(signal.SIGUSR1)
            time.sleep(1.0)
            process.kill()
            process.wait()
    assert not late, f"these did not end within {_LIMIT_SECONDS:g} s: {late}"
