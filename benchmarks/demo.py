"""`make demo` with everything installed: seconds from start to end (demo_seconds)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time

from benchmarks.results import report


def main() -> int:
    """Runs the demo in a fresh data folder; returns its exit status."""
    with tempfile.TemporaryDirectory(prefix="sartor-bench-") as folder:
        start = time.monotonic()
        status = subprocess.run([sys.executable, "-m", "sartor_cli", "demo", "--data-dir", folder]).returncode
        seconds = time.monotonic() - start
    if status != 0:
        print(f"The demo ended with status {status} after {seconds:.0f} s; no figure.", file=sys.stderr)
        return status
    report("demo_seconds", seconds, 360, "lower")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
