"""How the threads of a training wait for each other: by what else runs on this machine. To be chosen before
torch is loaded."""

from __future__ import annotations

import os
import time

_SPINS = "3000"  # about 50 microseconds
_MOSTLY_IDLE = 0.75
_LOOK_SECONDS = 0.2


def let_threads_wait() -> None:
    """Choose how torch's threads wait for each other; it reads that when it is loaded.

    A training is ten thousand short operations a step: threads that sleep as soon as they wait cost a sixth
    of the speed. On cores that others use too, threads that spin cost as much, and far more where they spin
    for long.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", _SPINS if _idle_share() > _MOSTLY_IDLE else "0")


def _idle_share() -> float:
    """How much of all processors' time nobody uses just now; 0 where the system does not tell."""
    try:
        idle, total = _processor_times()
        time.sleep(_LOOK_SECONDS)
        idle_then, total_then = _processor_times()
    except OSError:
        return 0.0
    # Linux does not read the two at once, and its count of what waits for disks may fall.
    return min(max((idle_then - idle) / max(total_then - total, 1), 0.0), 1.0)


def _processor_times() -> tuple[int, int]:
    """Ticks that all processors together were idle, and in all."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(value) for value in file.readline().split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)
