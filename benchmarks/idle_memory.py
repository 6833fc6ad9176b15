"""Memory of all servers, relays, consumers and idle workers together (idle_pss_mb), without the base servers.

PSS counts a page shared by n processes as 1/n in each, so the sum is what they really take together. Children
count too; the supervisor and the base servers are stated beside it.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import psutil
from sartor_local import control
from sartor_local.state import StackState
from sartor_local.supervisor import StackOptions

from benchmarks.results import report

GOAL_MB = 900
SETTLE_SECONDS = 10.0
BASE = ("postgres", "seaweed", "tansu")


def main() -> int:
    """Starts the stack, lets it idle and adds up."""
    with tempfile.TemporaryDirectory(prefix="sartor-idle-") as folder:
        options = StackOptions(Path(folder), die_with_parent=True)
        state = control.up(options)
        try:
            time.sleep(SETTLE_SECONDS)  # what start-up allocated and returned is not idle memory
            measured = memory_mb(state)
        finally:
            control.down(options.data_dir)
    ours = {name: mb for name, mb in measured.items() if name not in (*BASE, "supervisor")}
    for name, mb in sorted(measured.items(), key=lambda item: -item[1]):
        print(f"  {name:<22}{mb:>8.1f} MB{'' if name in ours else '  (not counted)'}")
    report("idle_pss_mb", sum(ours.values()), GOAL_MB, "lower", processes=measured)
    return 0


def memory_mb(state: StackState) -> dict[str, float]:
    """PSS of every process of the stack with its children, in MB."""
    roots = {each.name: each.identity.pid for each in state.processes if each.identity is not None}
    found = {name: sum(_pss_mb(pid) for pid in _family(pid)) for name, pid in roots.items()}
    if state.supervisor is not None:
        found["supervisor"] = _pss_mb(state.supervisor.pid)
    return found


def _family(pid: int) -> list[int]:
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def _pss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    raise SystemExit(main())
