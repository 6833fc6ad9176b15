"""Proof that the harness can fail: with each guard taken away its drill finds harm, with it in place nothing.

Run by `make faults-slice`, not by `make test`: it starts a whole stack of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sartor_platform.fault_points import DIGEST_CHECK, GUARDS, INBOX, LEASE_FENCE, RELAY_ORDER

from tests.faults.drills import drill
from tests.faults.rounds import Harness
from tests.faults.world import World, WorldOptions

HARM = {INBOX: "WENT BACK", LEASE_FENCE: "TWICE", RELAY_ORDER: "ORDER", DIGEST_CHECK: "ALTERED"}


@pytest.fixture(scope="module")
def harness() -> Iterator[Harness]:
    """A running system without evaluation and deployment."""
    with World(WorldOptions(services=("ingestion", "curation", "training"))) as world:
        made = Harness(world)
        yield made
        made.close()


@pytest.mark.parametrize("guard", GUARDS)
def test_with_its_guard_the_fault_does_no_harm(harness: Harness, guard: str) -> None:
    """Otherwise the proof below would prove nothing."""
    assert drill(harness, guard, f"with-{guard.replace('_', '-')}") == []


@pytest.mark.parametrize("guard", GUARDS)
def test_without_its_guard_the_fault_is_noticed(harness: Harness, guard: str) -> None:
    """The same fault, the guard taken away: harm of the expected kind."""
    harness.world.points.switch_off(guard)
    try:
        found = drill(harness, guard, f"without-{guard.replace('_', '-')}")
    finally:
        harness.world.points.switch_on(guard)
    assert any(each.startswith(HARM[guard]) for each in found), found
