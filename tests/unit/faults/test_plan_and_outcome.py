"""The plan of faults comes from the seed alone, and the outcome counts honestly."""

from __future__ import annotations

import pytest

from tests.faults.outcome import Outcome, upper_bound
from tests.faults.plan import DATA, LOST_LOG, MODEL, kind_of_round, plan_round


@pytest.mark.parametrize("kind", [DATA, MODEL, LOST_LOG])
def test_a_seed_and_a_round_name_one_plan(kind: str) -> None:
    """The replay of a failure strikes as the failure was struck."""
    plans = [plan_round(5, 3, kind) for _ in range(2)]
    assert plans[0] == plans[1]
    assert plans[0].rng("feed").random() == plans[1].rng("feed").random()
    assert plan_round(6, 3, kind) != plans[0] != plan_round(5, 4, kind)


def test_every_fifth_round_goes_to_a_live_revision() -> None:
    """The others are cheap."""
    assert [kind_of_round(number) for number in range(10)] == [DATA, DATA, DATA, MODEL, DATA] * 2


def test_the_bound_is_the_rule_of_three_where_nothing_failed() -> None:
    """Clopper and Pearson: about 3 / n without failures, more with some, and 1 where there is no evidence."""
    assert upper_bound(0, 300) == pytest.approx(3 / 300, rel=0.01)
    assert upper_bound(1, 300) > upper_bound(0, 300)
    assert upper_bound(0, 0) == upper_bound(7, 7) == 1.0


def test_a_round_that_broke_a_promise_survived_none_of_its_faults() -> None:
    """The ratio counts only faults of rounds in which every invariant held."""
    outcome = Outcome()
    outcome.confirmed["poison"] = 10
    outcome.survived = 4
    outcome.violations = ["LOST: a record", "TWICE: another"]

    lines = outcome.report(60.0)

    assert lines[-1].startswith("RESULT faults_survived ratio=0.4000 goal=1.0 better=higher")
    assert "losses 1, duplicates 1, other violations 0" in lines[-2]
