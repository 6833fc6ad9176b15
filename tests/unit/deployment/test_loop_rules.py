"""The loop's policy: what begins an adaptation, what holds it, and which orders cannot work."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sartor_deployment.loop import (
    Adaptation,
    AdaptationState,
    Budget,
    DriftSpec,
    Facts,
    LoopSpec,
    Trigger,
    cause,
    given_back,
    held,
)
from sartor_deployment.resources import EndpointSpec, WatchingSpec, check_spec
from sartor_deployment.store import Correction
from sartor_deployment.usecases.adaptations import record_row
from sartor_platform.errors import InvalidArgument

NOW = datetime(2026, 11, 23, tzinfo=UTC)
QUIET = Facts("", 0, 0, None, None, NOW - timedelta(hours=1), 0, 0.0)
LOOP = LoopSpec(
    training_plan="projects/p/trainingPlans/t",
    curation_policy="projects/p/curationPolicies/c",
    source="projects/p/sources/s",
    dataset="projects/p/datasets/d",
    on_drift=True,
    min_corrections=10,
    min_new_records=100,
    every_seconds=7200,
)


def test_nothing_begins_without_a_cause() -> None:
    """A quiet endpoint is left alone."""
    assert cause(LOOP, QUIET, NOW) is None


@pytest.mark.parametrize(
    ("facts", "trigger"),
    [
        (replace(QUIET, drift="drift in window 3"), Trigger.DRIFT),
        (replace(QUIET, corrections=10), Trigger.CORRECTIONS),
        (replace(QUIET, new_records=100), Trigger.NEW_RECORDS),
        (replace(QUIET, live_since=NOW - timedelta(hours=2)), Trigger.SCHEDULE),
    ],
)
def test_each_cause_begins_one(facts: Facts, trigger: Trigger) -> None:
    """And is named."""
    found = cause(LOOP, facts, NOW)
    assert found is not None
    assert found[0] is trigger


def test_what_is_not_ordered_begins_nothing() -> None:
    """Drift without on_drift, corrections without a number."""
    facts = replace(QUIET, drift="x", corrections=999, new_records=999, live_since=NOW - timedelta(days=99))
    bare = replace(LOOP, on_drift=False, min_corrections=0, min_new_records=0, every_seconds=0)
    assert cause(bare, facts, NOW) is None


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (replace(QUIET, runs_used=4), "BUDGET_RUNS"),
        (replace(QUIET, training_seconds_used=90000), "BUDGET_TRAINING_TIME"),
        (replace(QUIET, last_end=NOW - timedelta(minutes=10)), "COOL_DOWN"),
        (replace(QUIET, last_end=NOW - timedelta(minutes=61)), ""),
    ],
)
def test_budget_and_cool_down_hold(facts: Facts, reason: str) -> None:
    """With the numbers in the sentence."""
    assert held(LOOP, facts, NOW)[0] == reason


def ended(state: AdaptationState, corrections: int, reason: str = "") -> Adaptation:
    """An adaptation that took so many corrections."""
    return Adaptation(
        "n", "e", "p", state, Trigger.CORRECTIONS, "", "run", 1, corrections, "", "", "", "", reason, "",
        None, 0.0, NOW, NOW, NOW,
    )  # fmt: skip


def test_corrections_of_failed_adaptations_ask_again() -> None:
    """Until one comes to a verdict; not those that brought nothing new."""
    failed, rejected = AdaptationState.FAILED, AdaptationState.REJECTED
    assert given_back([ended(failed, 5), ended(rejected, 7), ended(failed, 3), ended(failed, 0)]) == 3
    assert given_back([ended(failed, 5, "NOTHING_NEW")]) == 0
    assert given_back([ended(failed, 5), ended(AdaptationState.TRAINING, 0)]) == 0


def check(loop: LoopSpec, drift: DriftSpec, share: float) -> list[str]:
    """The fields that cannot work."""
    spec = EndpointSpec(
        "projects/p/models/m", watching=WatchingSpec(sample_share=share, drift=drift), loop=loop
    )
    try:
        check_spec("projects/p/endpoints/e", spec)
    except InvalidArgument as error:
        return [fault.field.removeprefix("endpoint.") for fault in error.violations]
    return []


def test_an_order_that_works_is_taken() -> None:
    """And survives the way through the database."""
    assert check(LOOP, DriftSpec(window=50), 1.0) == []
    spec = EndpointSpec("m", watching=WatchingSpec(drift=DriftSpec(window=50)), loop=LOOP)
    assert EndpointSpec.from_json(spec.to_json()) == spec


def test_orders_of_before_are_read() -> None:
    """They know neither drift nor a loop."""
    old = EndpointSpec("m").to_json()
    del old["loop"], old["watching"]["drift"]
    assert EndpointSpec.from_json(old) == EndpointSpec("m")


def test_orders_that_cannot_work_are_refused_with_every_fault() -> None:
    """Drift without samples, another project's plan, a budget of nothing."""
    faults = check(LoopSpec(), DriftSpec(window=5), 0.0)
    assert faults == ["watching.drift.window", "watching.drift.reference", "watching.drift.window"]
    wrong = replace(LOOP, training_plan="projects/q/trainingPlans/t", source="tickets", budget=Budget(runs=0))
    assert check(wrong, DriftSpec(), 0.0) == [
        "loop.training_plan", "loop.source", "loop.budget.runs", "loop.on_drift", "loop.min_corrections",
    ]  # fmt: skip


def test_a_corrected_answer_becomes_a_chat_that_ends_with_it() -> None:
    """With the question as it was asked, parts joined."""
    question = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"text": "Hi"}, {"text": "you"}]},
    ]
    row = record_row(Correction("req-1", question, "Hello."))
    assert row == {
        "id": "correction-req-1",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi you"},
            {"role": "assistant", "content": "Hello."},
        ],
    }
