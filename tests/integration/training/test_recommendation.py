"""Base models are tried on the data by a real worker, and ranked."""

from __future__ import annotations

from pathlib import Path

import pytest
from sartor.training.v1 import training_plan_pb2
from sartor.training.v1 import training_service_pb2 as messages
from sartor_platform.errors import InvalidArgument, NotFound
from sartor_platform.grpc_client import call_errors

from tests.integration.training.conftest import Training
from tests.tiny_model import make_tiny_model


def test_candidates_are_tried_and_one_that_cannot_be_is_last_with_its_reason(
    training: Training, unique_name: str, tmp_path: Path
) -> None:
    mute = make_tiny_model(tmp_path / "mute", seed=3)
    (mute / "chat_template.jinja").unlink()
    training.apply_base_model(unique_name)
    training.apply_base_model(unique_name, f"file:{mute}", "mute")
    for name in ("tiny", "mute"):
        training.finished(f"projects/{unique_name}/baseModels/{name}")
    event = training.curate(unique_name, tmp_path, standing=False)
    training.handle(event)
    request = messages.RecommendBaseModelsRequest(
        parent=f"projects/{unique_name}",
        curation=event.message.curation,
        recipe=training_plan_pb2.Recipe(rank=4, tokens_per_batch=128),
        trial_seconds=1,
    )
    answer = training.api.RecommendBaseModels(request, timeout=90)
    first, second = answer.recommendations
    assert (first.base_model, first.rank) == (f"projects/{unique_name}/baseModels/tiny", 1)
    assert 0 < first.trial_loss < first.initial_loss
    assert first.trial_tokens > 0
    assert first.serving_operations > 0
    assert first.quote.steps > 0
    assert "chat template" in second.failure
    assert "rows are few" in answer.advice
    assert training.jobs(unique_name) == []


def test_what_cannot_be_recommended_is_told(training: Training, unique_name: str) -> None:
    request = messages.RecommendBaseModelsRequest(
        parent=f"projects/{unique_name}",
        curation=f"projects/{unique_name}/curations/none",
        base_models=["projects/other/baseModels/x"],
    )
    with pytest.raises(InvalidArgument), call_errors():
        training.api.RecommendBaseModels(request)
    request.ClearField("base_models")
    with pytest.raises(NotFound), call_errors():
        training.api.RecommendBaseModels(request)
