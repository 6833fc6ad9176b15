"""What an endpoint may ask for, and which moves a revision may make."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import pytest
from sartor_datasets.manifests import ObjectReference
from sartor_deployment.resources import (
    EndpointSpec,
    EngineSettings,
    Parity,
    ParityBounds,
    Revision,
    State,
    check_spec,
)
from sartor_platform.errors import IllegalTransition, InvalidArgument

ENDPOINT = "projects/p/endpoints/e"
MODEL = "projects/p/models/m"


def revision(state: State) -> Revision:
    """A revision in this state."""
    return Revision(
        name=f"{ENDPOINT}/revisions/r1",
        endpoint=ENDPOINT,
        project="p",
        number=1,
        model_version=f"{MODEL}/versions/v",
        state=state,
        order_revision=1,
        spec=EndpointSpec(MODEL),
        by_hand=False,
        references=ObjectReference("s3://b/k", "0" * 64, 1),
        weights=None,
        parity=None,
        error_reason="",
        error_message="",
        run="",
        generation=0,
        created_by="",
        create_time=datetime.now(UTC),
        live_time=None,
    )


def test_a_good_endpoint_passes_and_survives_json() -> None:
    """What the order keeps is what was asked for."""
    spec = EndpointSpec(MODEL, "F16", ParityBounds(0.1, 0.9), EngineSettings(1024, 2, 1))
    check_spec(ENDPOINT, spec)
    assert EndpointSpec.from_json(spec.to_json()) == spec


def test_all_faults_of_an_endpoint_are_told_at_once() -> None:
    """Four faults, four violations."""
    spec = EndpointSpec(
        "projects/other/models/m", "Q2", ParityBounds(top1_agreement=1.5), EngineSettings(context_length=1)
    )
    with pytest.raises(InvalidArgument) as caught:
        check_spec(ENDPOINT, spec)
    assert {violation.field for violation in caught.value.violations} == {
        "endpoint.model",
        "endpoint.quantization",
        "endpoint.parity.top1_agreement",
        "endpoint.engine.context_length",
    }


@pytest.mark.parametrize(
    ("state", "to"),
    [
        (State.BUILDING, State.LIVE),
        (State.REJECTED, State.STARTING),
        (State.ROLLED_BACK, State.LIVE),
        (State.SUPERSEDED, State.LIVE),
        (State.LIVE, State.REJECTED),
    ],
)
def test_illegal_moves_are_refused(state: State, to: State) -> None:
    """Nothing goes live unchecked, and what ended stays ended."""
    with pytest.raises(IllegalTransition):
        revision(state).check_move(to)


def test_only_a_passed_check_proves_a_revision() -> None:
    """A measurement outside the bounds does not."""
    failed = Parity(False, 1.0, 2.0, 0.5, 10, 1)
    one = revision(State.SUPERSEDED)
    assert not one.proven
    assert not dataclasses.replace(one, parity=failed).proven
    assert dataclasses.replace(one, parity=dataclasses.replace(failed, passed=True)).proven
