"""`sartor up` on an empty data folder: seconds until everything is ready (up_seconds), and once more."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from sartor_local import control
from sartor_local.supervisor import StackOptions

from benchmarks.results import report

GOAL_SECONDS = 25


def main() -> int:
    """Starts and stops the stack twice."""
    with tempfile.TemporaryDirectory(prefix="sartor-up-") as folder:
        options = StackOptions(Path(folder), die_with_parent=True)
        first = _seconds(options)
        again = _seconds(options)
    report("up_seconds", first, GOAL_SECONDS, "lower", again_seconds=round(again, 2))
    return 0


def _seconds(options: StackOptions) -> float:
    began = time.monotonic()
    control.up(options)
    seconds = time.monotonic() - began
    control.down(options.data_dir)
    return seconds


if __name__ == "__main__":
    raise SystemExit(main())
