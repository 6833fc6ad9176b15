"""Ends the process when a loop stands still that must not: a restart is cheaper than a stuck replica."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from sartor_platform import log

EXIT_STATUS = 70
_ASLEEP_SECONDS = 3.0


def _end_process() -> None:
    os._exit(EXIT_STATUS)


class Watchdog:
    """Watches the beats of named loops: Kafka clients can wait without end in `commit` and `flush`."""

    def __init__(self, *, end: Callable[[], None] = _end_process) -> None:
        self._beats: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()
        self._end = end
        self._stopping = threading.Event()

    def beat(self, name: str, limit_seconds: float) -> None:
        """The loop `name` lives; if it does not say so again within the limit, the process ends."""
        with self._lock:
            self._beats[name] = (time.monotonic(), limit_seconds)

    def forget(self, name: str) -> None:
        """The loop ended as it should."""
        with self._lock:
            self._beats.pop(name, None)

    def stuck(self) -> list[str]:
        """The loops that are beyond their limit."""
        now = time.monotonic()
        with self._lock:
            return [name for name, (beat, limit) in self._beats.items() if now - beat > limit]

    def start(self) -> None:
        """Begin to watch, in a thread of its own."""
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Stop watching."""
        self._stopping.set()

    def _begin_anew(self) -> None:
        """The whole process stood still, this thread too: its loops get their time from now on."""
        now = time.monotonic()
        with self._lock:
            self._beats = {name: (now, limit) for name, (_, limit) in self._beats.items()}

    def _run(self) -> None:
        looked = time.monotonic()
        while not self._stopping.wait(1.0):
            if time.monotonic() - looked > _ASLEEP_SECONDS:
                self._begin_anew()
            looked = time.monotonic()
            stuck = self.stuck()
            if stuck:
                log.get().critical("watchdog.ends_process", stuck=stuck)
                self._end()
                return
