"""A plan that waits for a loop: after its first version it trains only when an endpoint asks."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from sartor.deployment.v1.deployment_events_pb2 import RetrainingRequested
from sartor.training.v1 import training_plan_pb2
from sartor.training.v1 import training_service_pb2 as messages
from sartor.training.v1.training_events_pb2 import TrainingJobFailed
from sartor_platform.errors import InvalidArgument, NotReady
from sartor_platform.events import Event
from sartor_platform.grpc_client import call_errors

from tests.integration.training.conftest import Training


def request(training: Training, project: str, told: Event, *, live: str, run: str) -> None:
    """RetrainingRequested on the curation that this event told of."""
    wanted = RetrainingRequested(
        adaptation=f"projects/{project}/endpoints/e/adaptations/a",
        training_plan=f"projects/{project}/trainingPlans/support",
        curation=told.subject,
        live_version=live,
    )
    kind = wanted.DESCRIPTOR.full_name
    training.handle(replace(told, id=uuid.uuid4().hex, type=kind, run=run, data=b"", message=wanted))


def test_it_trains_when_the_loop_asks_and_from_what_is_live(
    training: Training, unique_name: str, tmp_path: Path
) -> None:
    """The first curation makes the first version; the second one nothing, until the loop wants it."""
    project = unique_name
    plan = training_plan_pb2.TrainingPlan(
        name=f"projects/{project}/trainingPlans/support",
        curation_policy=f"projects/{project}/curationPolicies/support",
        model=f"projects/{project}/models/assistant",
        base_model=f"projects/{project}/baseModels/tiny",
        recipe=training_plan_pb2.Recipe(tokens_per_batch=128, rank=4, epochs=1, start_from="live"),
        trigger=training_plan_pb2.PLAN_TRIGGER_LOOP,
    )
    training.apply_base_model(project)
    applied = training.api.ApplyTrainingPlan(messages.ApplyTrainingPlanRequest(training_plan=plan))
    assert applied.trigger == training_plan_pb2.PLAN_TRIGGER_LOOP
    training.handle(training.curate(project, tmp_path))
    (first,) = training.jobs(project)
    assert first.recipe.start_from == ""
    assert training.finished(first.name).state == "SUCCEEDED"
    live = f"projects/{project}/models/assistant/versions/1"

    told = training.curate(project, tmp_path)
    with pytest.raises(NotReady):  # training was away: the loop's word came before that of curation
        request(training, project, told, live=live, run="run-early")
    training.handle(told)
    assert len(training.jobs(project)) == 1
    request(training, project, told, live=live, run="run-loop")
    second = training.jobs(project)[0]
    assert (second.recipe.start_from, second.run, second.curation) == (live, "run-loop", told.subject)
    assert training.finished(second.name).state == "SUCCEEDED"

    request(training, project, told, live=live, run="run-again")
    assert len(training.jobs(project)) == 2
    (refused,) = training.published(TrainingJobFailed, plan.name)
    assert refused.reason == "NOTHING_NEW"


def test_live_is_a_word_of_loops_only(training: Training, unique_name: str) -> None:
    """Something else than latest, live or a version is refused, with what may be said."""
    training.apply_base_model(unique_name)
    with pytest.raises(InvalidArgument, match="must be latest, live or have the form"), call_errors():
        training.apply_plan(unique_name, start_from="newest")
