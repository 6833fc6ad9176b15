"""Runs every benchmark, each in a process of its own: `make bench`, or `python -m benchmarks.run NAME…`."""

from __future__ import annotations

import subprocess
import sys

ALL = ("up", "idle_memory", "event_to_claim", "ingest", "training", "serving", "demo")


def main(names: list[str]) -> int:
    """Runs the named benchmarks, or all; returns the number that failed to run."""
    unknown = [name for name in names if name not in ALL]
    if unknown:
        print(f"No benchmark is called {', '.join(unknown)}; there are {', '.join(ALL)}.", file=sys.stderr)
        return 2
    failed = [
        name
        for name in names or ALL
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"]).returncode
    ]
    if failed:
        print(f"Did not run to their end: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
