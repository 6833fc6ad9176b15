"""`make fuzz MINUTES=10`: tries every property of outside bytes for this long, and prints what it found.

A failure prints the example and stops with status 1. So does a single example that takes longer than
EXAMPLE_SECONDS (a hang), and a process that grows beyond MEMORY_BYTES.
"""

from __future__ import annotations

import random
import signal
import sys
import time
from types import FrameType

import psutil
from hypothesis import HealthCheck, Phase, seed, settings

from tests.fuzz.properties import PROPERTIES

ROUND_EXAMPLES = 300
ROUND_SECONDS = 120
EXAMPLE_SECONDS = 10
MEMORY_BYTES = 1_000_000_000


class Hung(BaseException):
    """A round took far longer than all of its examples may."""


def main(minutes: float, first_seed: int) -> int:
    """Rounds of every property in turn until the time is over; each has a seed of its own."""
    until = time.monotonic() + minutes * 60
    signal.signal(signal.SIGALRM, _hung)
    tried = dict.fromkeys(PROPERTIES, 0)
    slowest, peak, number = 0.0, 0, first_seed
    while time.monotonic() < until:
        for name, fresh in PROPERTIES.items():
            if time.monotonic() > until:
                break
            number += 1
            signal.alarm(ROUND_SECONDS)
            began = time.monotonic()
            round_ = settings(
                max_examples=ROUND_EXAMPLES, deadline=EXAMPLE_SECONDS * 1000, database=None,
                suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink],
                print_blob=False,
            )  # fmt: skip
            try:
                seed(number)(round_(fresh()))()
            except (Exception, Hung) as error:  # noqa: BLE001 - whatever it is, it is the finding
                signal.alarm(0)
                sys.stderr.write(f"{name} failed with seed {number}: {error!r}\n")
                sys.stderr.write(f"again: python -m tests.fuzz 0.1 {number - 1}\n")
                return 1
            signal.alarm(0)
            slowest = max(slowest, time.monotonic() - began)
            tried[name] += ROUND_EXAMPLES
            peak = max(peak, psutil.Process().memory_info().rss)
            if peak > MEMORY_BYTES:
                sys.stderr.write(f"{name} with seed {number}: {peak} bytes of memory\n")
                return 1
    for name, examples in tried.items():
        print(f"{name:<22} {examples:>8} examples")
    print(f"slowest round {slowest:.1f} s of {ROUND_EXAMPLES} examples, peak memory {peak / 1e6:.0f} MB")
    print(f"RESULT fuzz_minutes_without_fault ratio={minutes:g} goal=10 better=higher")
    return 0


def _hung(_number: int, _frame: FrameType | None) -> None:
    raise Hung(f"a round took more than {ROUND_SECONDS} s")


if __name__ == "__main__":
    given_seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(2**32)
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0, given_seed))
