"""Peak memory of this process."""

from __future__ import annotations

from pathlib import Path


def peak_mib() -> float:
    """The most it held at once, in MiB. `ru_maxrss` would also count what its parent held when it began."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
