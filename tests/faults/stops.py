"""Processes that stopped themselves at a point sleep for longer than a lease, and are woken then."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from dataclasses import dataclass

from tests.faults.injectors import is_stopped
from tests.faults.plan import Fault
from tests.faults.world import LEASE_SECONDS, World

_SECONDS = LEASE_SECONDS + 2


@dataclass(slots=True)
class PointFault:
    """A fault that waits for a process to come to its point."""

    fault: Fault
    order: str
    slept: bool = False


class Stops:
    """Wakes processes that stopped themselves at a point, once they slept for longer than a lease."""

    def __init__(self, world: World, points: list[PointFault]) -> None:
        self._world = world
        self._waiting = [each for each in points if each.fault.kind == "stop"]
        self._asleep: dict[int, float] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def done(self) -> bool:
        """Whether nobody sleeps."""
        return not self._asleep

    def end(self) -> None:
        """Wake whoever sleeps."""
        self._end.set()
        self._thread.join(5)
        for pid in self._asleep:
            wake(pid)

    def _run(self) -> None:
        beyond: dict[int, PointFault] = {}
        while not self._end.wait(0.1):
            for each in list(self._waiting):
                confirmation = self._world.points.confirmation(each.order)
                if confirmation is not None:
                    self._waiting.remove(each)
                    self._asleep[confirmation.pid] = time.monotonic()
                    beyond[confirmation.pid] = each
            for pid, since in list(self._asleep.items()):
                if time.monotonic() - since > _SECONDS:
                    beyond[pid].slept = is_stopped(pid)
                    wake(pid)
                    del self._asleep[pid]


def wake(pid: int) -> None:
    """SIGCONT, if it still is."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
