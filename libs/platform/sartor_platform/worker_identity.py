"""Who holds a lease, so that a worker that starts knows which holders of its own machine are dead.

A holder is named by boot, process namespace, process id and start time: the four together are never used
twice. Only within one boot and namespace is another process seen to be gone; elsewhere the lease runs out.
"""

from __future__ import annotations

import os
from pathlib import Path

_PROC = Path("/proc")


def own_identity() -> str:
    """The identity of this process; on systems without /proc one that nobody can judge."""
    place = _place()
    return f"{place}:{os.getpid()}:{_start_time(os.getpid())}" if place else f"elsewhere:{os.getpid()}:"


def surely_dead(identity: str) -> bool:
    """Whether the holder lived here and does not any more."""
    place, _, process = identity.partition(":")
    pid, _, start_time = process.partition(":")
    if not place or place != _place() or not pid.isdigit():
        return False
    return _start_time(int(pid)) != start_time


def _place() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{(_PROC / 'self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def _start_time(pid: int) -> str:
    """Clock ticks after boot at which the process started; "" if there is none, or only its remains."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") else fields[19]
