"""A base model is registered, prepared by the worker and announced; one that cannot be had says why."""

from __future__ import annotations

from pathlib import Path

import pytest
from sartor.training.v1 import training_service_pb2 as messages
from sartor.training.v1.training_events_pb2 import BaseModelReady
from sartor_datasets.manifests import BaseModelManifest, ObjectReference
from sartor_platform.errors import InvalidArgument, NotFound

from tests.integration.training.conftest import Training


def test_a_base_model_is_prepared_and_announced(training: Training, unique_name: str, tmp_path: Path) -> None:
    applied = training.apply_base_model(unique_name)
    assert training.finished(applied.name).state == "SUCCEEDED"
    shown = training.api.GetBaseModel(messages.GetBaseModelRequest(name=applied.name))
    assert shown.architecture == "LlamaForCausalLM"
    assert shown.parameter_count > 0
    (told,) = training.published(BaseModelReady, applied.name)
    assert told.digest == shown.digest
    reference = ObjectReference(told.manifest.uri, told.manifest.sha256, told.manifest.size_bytes)
    manifest = BaseModelManifest.from_json(training.runtime.objects.get_bytes(reference))
    assert manifest.digest == told.digest
    for file in manifest.files:
        assert f"/base-models/{manifest.digest}/" in file.object.uri
        training.runtime.objects.get_file(file.object, tmp_path / file.path)
    assert (tmp_path / "tokenizer.json").exists()
    assert (tmp_path / "model.safetensors").exists()


def test_applying_it_again_does_not_prepare_it_again(training: Training, unique_name: str) -> None:
    name = training.apply_base_model(unique_name).name
    training.finished(name)
    training.apply_base_model(unique_name)
    (count,) = training.rows("SELECT count(*) FROM jobs WHERE resource = :name", name=name)[0]
    assert count == 1


@pytest.mark.parametrize(
    ("reference", "reason", "told"),
    [
        ("package:no_such_model_anywhere", "PACKAGE_NOT_INSTALLED", "pip install"),
        ("file:/no/such/folder", "FILE_NOT_FOUND", "/no/such/folder"),
    ],
)
def test_a_base_model_that_is_not_there_fails_and_says_what_to_do(
    training: Training, unique_name: str, reference: str, reason: str, told: str
) -> None:
    name = training.apply_base_model(unique_name, reference).name
    assert training.finished(name).attempt == 1
    shown = training.api.GetBaseModel(messages.GetBaseModelRequest(name=name))
    assert shown.job.error.reason == reason
    assert told in shown.job.error.message
    assert "Traceback" not in shown.job.error.message


def test_a_failed_base_model_is_tried_again_when_it_is_applied_again(
    training: Training, unique_name: str, tmp_path: Path
) -> None:
    missing = tmp_path / "model"
    name = training.apply_base_model(unique_name, f"file:{missing}").name
    assert training.finished(name).state == "FAILED"
    missing.symlink_to(training.tiny)
    training.apply_base_model(unique_name, f"file:{missing}")
    assert training.finished(name).state == "SUCCEEDED"


def test_a_reference_of_no_known_form_is_refused_at_once(training: Training, unique_name: str) -> None:
    with pytest.raises(InvalidArgument, match="package:NAME") as caught:
        training.apply_base_model(unique_name, "smollm2")
    assert caught.value.reason == "BAD_REFERENCE"


def test_asking_for_an_unknown_base_model_lists_the_known(training: Training, unique_name: str) -> None:
    training.apply_base_model(unique_name)
    with pytest.raises(NotFound, match=f"known: projects/{unique_name}/baseModels/tiny") as caught:
        training.apply_plan(unique_name, base_model="other")
    assert caught.value.reason == "BASE_MODEL_NOT_FOUND"
