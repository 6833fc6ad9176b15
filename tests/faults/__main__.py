"""`python -m tests.faults --seed N`: strikes a whole running system and prints what it survived."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from sartor_platform.fault_points import GUARDS, POINTS

from tests.faults.drills import drill
from tests.faults.outcome import Outcome
from tests.faults.plan import LOOP, LOST_LOG, RoundPlan, kind_of_round, plan_round
from tests.faults.rounds import Harness
from tests.faults.world import World, WorldOptions

_MEMORY = WorldOptions(services=("ingestion", "curation", "training"), kafka_log="memory")


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0 if every confirmed fault was survived, and as many were confirmed as were asked for."""
    given = _arguments(argv)
    without = tuple(given.without)
    outcome = Outcome()
    started = time.monotonic()
    if given.replay:
        _replay(given.replay, without, outcome, started)
    else:
        _all(given, without, outcome, started)
    for line in outcome.report(time.monotonic() - started):
        print(line, flush=True)
    return 0 if not outcome.violations and (given.replay or _enough(given, outcome)) else 1


def _all(given: argparse.Namespace, without: tuple[str, ...], outcome: Outcome, started: float) -> None:
    with World(WorldOptions(without=without)) as world:
        harness = Harness(world)
        try:
            _drills(harness, without, outcome)
            if not outcome.violations:
                _rounds(harness, given, outcome, started)
        finally:
            harness.close()
    if not outcome.violations:
        _lose_logs(given, without, outcome, started)


def _drills(harness: Harness, guards: Sequence[str], outcome: Outcome) -> None:
    """Without a guard the harness must fail at once: its drill comes first."""
    for guard in guards:
        found = drill(harness, guard, f"without-{guard.replace('_', '-')}")
        _show(found, f"python -m tests.faults --without {guard}")
        outcome.violations += found


def _rounds(harness: Harness, given: argparse.Namespace, outcome: Outcome, started: float) -> None:
    for plan in _plans(given, outcome, started):
        if not _round(harness, plan, outcome, started):
            return
    # Once more over everything: what a late round did to the datasets of an early one.
    found = harness.look_at_everything()
    if found:
        _show(found, f"python -m tests.faults --seed {given.seed}")
        outcome.violations += found
        outcome.survived = 0  # nobody knows which fault it was


def _show(violations: Sequence[str], command: str) -> None:
    for violation in violations[:20]:
        print(f"  VIOLATION {violation}", flush=True)
    if violations:
        print(f"  replay: {command}", flush=True)


def _plans(given: argparse.Namespace, outcome: Outcome, started: float) -> Iterator[RoundPlan]:
    number = 0
    while not _enough(given, outcome) and time.monotonic() - started < given.seconds:
        yield plan_round(given.seed, number, kind_of_round(number))
        number += 1
    for number in range(given.loops):
        yield plan_round(given.seed, number, LOOP)


def _enough(given: argparse.Namespace, outcome: Outcome) -> bool:
    return outcome.faults >= given.faults and all(
        outcome.points[point] >= given.at_each_point for point in POINTS
    )


def _replay(name: str, without: tuple[str, ...], outcome: Outcome, started: float) -> None:
    """One round alone, in a new world."""
    seed, number, kind = name.split(":")
    options = _MEMORY if kind == LOST_LOG else WorldOptions()
    with World(replace(options, without=without)) as world:
        harness = Harness(world)
        try:
            _round(harness, plan_round(int(seed), int(number), kind), outcome, started)
        finally:
            harness.close()


def _round(harness: Harness, plan: RoundPlan, outcome: Outcome, started: float) -> bool:
    began = time.monotonic()
    result = harness.run(plan, outcome)
    print(
        f"round {plan.name} {plan.kind}: {len(result.confirmed)} of {len(plan.faults)} faults confirmed,"
        f" {len(result.violations)} violations, {time.monotonic() - began:.0f} s"
        f" (in all {outcome.faults} faults, {time.monotonic() - started:.0f} s)",
        flush=True,
    )
    _show(result.violations, f"python -m tests.faults --replay {plan.name}")
    return not result.violations


def _lose_logs(given: argparse.Namespace, without: tuple[str, ...], outcome: Outcome, started: float) -> None:
    """The same with the broker's log in memory, where its death is the loss of everything in it."""
    with World(replace(_MEMORY, without=without)) as world:
        harness = Harness(world)
        try:
            for number in range(given.lost_logs):
                if not _round(harness, plan_round(given.seed, number, LOST_LOG), outcome, started):
                    return
        finally:
            harness.close()


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=300, help="how many must be confirmed")
    parser.add_argument("--at-each-point", type=int, default=10, help="how many of them at each point")
    parser.add_argument("--seconds", type=float, default=1400, help="no round begins after this time")
    parser.add_argument("--lost-logs", type=int, default=3, help="rounds in which the broker loses its log")
    parser.add_argument("--loops", type=int, default=2, help="rounds of the loop, each service away once")
    parser.add_argument("--replay", default="", metavar="SEED:ROUND:KIND", help="one round alone")
    parser.add_argument("--without", action="append", default=[], choices=GUARDS, help="take a guard away")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
