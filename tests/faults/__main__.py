"""`python -m tests.faults --seed N`: strikes a whole running system and prints what it survived."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence

from sartor_platform.fault_points import GUARDS

from tests.faults.outcome import Outcome
from tests.faults.plan import LOST_LOG, RoundPlan, kind_of_round, plan_round
from tests.faults.rounds import Harness
from tests.faults.world import World, WorldOptions


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0 if every confirmed fault was survived and as many were confirmed as asked for."""
    given = _arguments(argv)
    without = tuple(given.without)
    outcome = Outcome()
    started = time.monotonic()
    with World(WorldOptions(without=without)) as world:
        harness = Harness(world)
        try:
            for plan in _plans(given, outcome, started):
                if not _round(harness, plan, outcome, started):
                    break
            if not outcome.violations:
                outcome.violations += harness.rest(list(harness.ledger.datasets.values()), seconds=30)
        finally:
            harness.close()
    if not outcome.violations and not given.replay:
        _lose_logs(given, outcome, started, without)
    for line in outcome.report(time.monotonic() - started):
        print(line, flush=True)
    return 0 if not outcome.violations and outcome.faults >= given.faults else 1


def _plans(given: argparse.Namespace, outcome: Outcome, started: float) -> Iterator[RoundPlan]:
    if given.replay:
        seed, _, number = given.replay.partition(":")
        yield plan_round(int(seed), int(number), kind_of_round(int(number)))
        return
    number = 0
    while outcome.faults < given.faults and time.monotonic() - started < given.seconds:
        yield plan_round(given.seed, number, kind_of_round(number))
        number += 1


def _round(harness: Harness, plan: RoundPlan, outcome: Outcome, started: float) -> bool:
    began = time.monotonic()
    result = harness.run(plan, outcome)
    print(
        f"round {plan.name} {plan.kind}: {len(result.confirmed)} of {len(plan.faults)} faults confirmed,"
        f" {len(result.violations)} violations, {time.monotonic() - began:.0f} s"
        f" (in all {outcome.faults} faults, {time.monotonic() - started:.0f} s)",
        flush=True,
    )
    for violation in result.violations[:20]:
        print(f"  VIOLATION {violation}")
    if result.violations:
        print(f"  replay: python -m tests.faults --replay {plan.name}")
    return not result.violations


def _lose_logs(given: argparse.Namespace, outcome: Outcome, started: float, without: tuple[str, ...]) -> None:
    """The same with the broker's log in memory, where its death is the loss of everything in it."""
    options = WorldOptions(
        services=("ingestion", "curation", "training"), kafka_log="memory", without=without
    )
    with World(options) as world:
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
    parser.add_argument("--seconds", type=float, default=1300, help="no round begins after this time")
    parser.add_argument("--lost-logs", type=int, default=3, help="rounds in which the broker loses its log")
    parser.add_argument("--replay", default="", metavar="SEED:ROUND", help="one round alone")
    parser.add_argument("--without", action="append", default=[], choices=GUARDS, help="take a guard away")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
