"""Plans train on each curation once; a job becomes a model version, and goes on after its child died."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Any

import psutil
import pytest
from sartor.common.v1 import job_status_pb2
from sartor.evaluation.v1.evaluation_events_pb2 import ModelVersionApproved, ModelVersionRejected
from sartor.evaluation.v1.evaluation_pb2 import RuleResult, Verdict
from sartor.training.v1 import training_job_pb2, training_plan_pb2
from sartor.training.v1 import training_service_pb2 as messages
from sartor.training.v1.training_events_pb2 import ModelVersionCreated, TrainingJobFailed
from sartor_datasets.manifests import ModelVersionManifest, ObjectReference
from sartor_platform.errors import FailedPrecondition, InvalidArgument, NotFound
from sartor_platform.grpc_client import call_errors
from sartor_training.usecases import model_cards

from tests.integration.training.conftest import Training, event_of, until


def _train(training: Training, project: str, folder: Path, **recipe: Any) -> training_job_pb2.TrainingJob:
    """Base model, plan and curation, up to the job they make."""
    training.apply_base_model(project)
    training.apply_plan(project, **recipe)
    training.handle(training.curate(project, folder))
    (job,) = training.jobs(project)
    return job


def _manifest(training: Training, message: Any) -> ModelVersionManifest:
    reference = ObjectReference(message.uri, message.sha256, message.size_bytes)
    return ModelVersionManifest.from_json(training.runtime.objects.get_bytes(reference))


def test_a_curation_becomes_a_model_version(training: Training, unique_name: str, tmp_path: Path) -> None:
    job = _train(training, unique_name, tmp_path, epochs=3)
    assert job.run == f"run-{unique_name}"
    assert training.finished(job.name).state == "SUCCEEDED"
    done = training.api.GetTrainingJob(messages.GetTrainingJobRequest(name=job.name))
    version = training.api.GetModelVersion(messages.GetModelVersionRequest(name=done.model_version))
    assert version.name == f"projects/{unique_name}/models/assistant/versions/1"
    assert 0 < version.metrics["validation_loss"] < version.metrics["initial_validation_loss"]
    manifest = _manifest(training, version.manifest)
    assert {file.path for file in manifest.files} == {
        "adapter_model.safetensors",
        "adapter_config.json",
        "training_log.json",
        "events.out.tfevents.training",
        "README.md",
    }
    assert manifest.recipe["learning_rate"] == 4e-4
    assert manifest.library_versions["torch"]
    card = training.runtime.objects.get_bytes(next(f.object for f in manifest.files if f.path == "README.md"))
    assert manifest.base_model_digest in card.decode()
    (told,) = training.published(ModelVersionCreated, version.name)
    assert told.standing_order == job.plan
    assert told.curation == job.curation
    assert told.base_model_manifest.uri
    assert told.curated_manifest.uri
    assert done.job.progress.figures["tokens_per_second"] > 0
    _check_card_after_gates(training, version.name)


def _check_card_after_gates(training: Training, version: str) -> None:
    """The card lists each rule with its numbers; a gate's later word replaces its earlier one."""
    project = version.split("/")[1]

    def judged(told: type[ModelVersionApproved | ModelVersionRejected], words: str) -> str:
        verdict = Verdict(
            passed=told is ModelVersionApproved,
            rules=[RuleResult(passed=told is ModelVersionApproved, explanation=words)],
        )
        evaluation = f"projects/{project}/evaluations/{told.__name__.lower()}"
        message = told(
            model_version=version,
            gate=f"projects/{project}/gates/support",
            evaluation=evaluation,
            verdict=verdict,
        )
        training.handle(event_of(message, subject=version, project=project))
        model_cards.rewrite(training.runtime)
        found = training.api.GetModelVersion(messages.GetModelVersionRequest(name=version)).model_card
        reference = ObjectReference(found.uri, found.sha256, found.size_bytes)
        return training.runtime.objects.get_bytes(reference).decode()

    stopped = judged(ModelVersionRejected, "token F1 fell by 0.2")
    assert "- failed: token F1 fell by 0.2" in stopped
    passed = judged(ModelVersionApproved, "token F1 rose by 0.3")
    assert f"Passed by `projects/{project}/gates/support`" in passed
    assert "- passed: token F1 rose by 0.3" in passed
    assert "fell by" not in passed
    assert passed.count("## Gates") == 1
    assert passed.startswith(stopped.partition("## Gates")[0])


def test_the_adapter_of_a_version_loads_on_its_base_model(
    training: Training, unique_name: str, tmp_path: Path
) -> None:
    import torch
    from sartor_models.base import prepare
    from sartor_models.load import load_model

    job = _train(training, unique_name, tmp_path)
    training.finished(job.name)
    version = training.api.ListModelVersions(
        messages.ListModelVersionsRequest(parent=f"projects/{unique_name}/models/-")
    ).model_versions[0]
    adapter = tmp_path / "adapter"
    for file in _manifest(training, version.manifest).files:
        training.runtime.objects.get_file(file.object, adapter / file.path)
    prepare(training.tiny, tmp_path / "base")
    plain, tuned = load_model(tmp_path / "base"), load_model(tmp_path / "base", adapter=adapter)
    row = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        assert not torch.equal(plain(row).logits, tuned(row).logits)


def test_full_training_makes_a_model_that_stands_alone(
    training: Training, unique_name: str, tmp_path: Path
) -> None:
    from sartor_models.load import load_model, load_tokenizer

    job = _train(training, unique_name, tmp_path, adapter=2, epochs=1)
    assert training.finished(job.name).state == "SUCCEEDED"
    (version,) = training.api.ListModelVersions(
        messages.ListModelVersionsRequest(parent=f"projects/{unique_name}/models/assistant")
    ).model_versions
    for file in _manifest(training, version.manifest).files:
        training.runtime.objects.get_file(file.object, tmp_path / "full" / file.path)
    assert load_model(tmp_path / "full").config.vocab_size > 0
    assert load_tokenizer(tmp_path / "full").eos_ids == (2,)


def test_an_event_seen_twice_trains_once(training: Training, unique_name: str, tmp_path: Path) -> None:
    training.apply_base_model(unique_name)
    training.apply_plan(unique_name)
    event = training.curate(unique_name, tmp_path)
    training.handle(event)
    training.handle(event)
    from dataclasses import replace

    training.handle(replace(event, id="told-again"))
    assert len(training.jobs(unique_name)) == 1
    training.apply_plan(unique_name, seed=1)
    training.handle(replace(event, id="told-after-the-plan-changed"))
    assert sorted(job.plan_revision for job in training.jobs(unique_name)) == [1, 2]


def test_a_curation_somebody_asked_for_triggers_nothing_but_can_be_trained_on(
    training: Training, unique_name: str, tmp_path: Path
) -> None:
    training.apply_base_model(unique_name)
    training.apply_plan(unique_name)
    event = training.curate(unique_name, tmp_path, standing=False)
    training.handle(event)
    assert training.jobs(unique_name) == []
    request = messages.CreateTrainingJobRequest(
        parent=f"projects/{unique_name}",
        training_job=training_job_pb2.TrainingJob(
            curation=event.message.curation,
            model=f"projects/{unique_name}/models/trial",
            base_model=f"projects/{unique_name}/baseModels/tiny",
        ),
        request_id="8f9d4c1e-5f63-4a3b-9a3e-0d7b7c0f1a11",
    )
    created, again = training.api.CreateTrainingJob(request), training.api.CreateTrainingJob(request)
    assert created == again
    assert training.finished(created.name).state == "SUCCEEDED"
    version = training.api.GetTrainingJob(messages.GetTrainingJobRequest(name=created.name)).model_version
    (told,) = training.published(ModelVersionCreated, version)
    assert told.standing_order == ""


def test_a_killed_training_goes_on_from_its_last_checkpoint_to_the_same_weights(
    training: Training, unique_name: str, tmp_path: Path
) -> None:
    recipe = {"epochs": 120, "checkpoint_every_steps": 5, "early_stopping_patience": 0, "dropout": 0.1}
    event = training.curate(unique_name, tmp_path)
    training.apply_base_model(unique_name)
    training.apply_plan(unique_name, **recipe)
    training.handle(event)
    (killed,) = training.jobs(unique_name)
    count = "SELECT count(*) FROM checkpoints WHERE training_job = :job"
    until(lambda: training.rows(count, job=killed.name)[0][0])
    (child,) = _training_children()
    child.kill()
    assert training.finished(killed.name).attempt == 2
    training.apply_base_model(f"{unique_name}b")
    undisturbed = _undisturbed(training, event, unique_name, recipe)
    assert training.finished(undisturbed.name).attempt == 1
    digests = []
    for job in (killed, undisturbed):
        done = training.api.GetTrainingJob(messages.GetTrainingJobRequest(name=job.name))
        version = training.api.GetModelVersion(messages.GetModelVersionRequest(name=done.model_version))
        manifest = _manifest(training, version.manifest)
        data = training.runtime.objects.get_bytes(manifest.files[1].object)
        assert manifest.files[1].path == "adapter_model.safetensors"
        digests.append(hashlib.sha256(data).hexdigest())
        resumed = version.metrics["resumed_at_step"]
        assert (resumed > 0) == (job is killed)
    assert digests[0] == digests[1]


def _training_children() -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # sessions of the database come and go
            if "sartor_training.child:train" in process.cmdline():
                found.append(process)
    return found


def _undisturbed(training: Training, event: Any, project: str, recipe: dict[str, Any]) -> Any:
    """The same training, asked for directly."""
    asked = training_job_pb2.TrainingJob(
        curation=event.message.curation,
        model=f"projects/{project}/models/undisturbed",
        base_model=f"projects/{project}/baseModels/tiny",
        recipe=training_plan_pb2.Recipe(**{"tokens_per_batch": 128, "rank": 4, **recipe}),
    )
    return training.api.CreateTrainingJob(
        messages.CreateTrainingJobRequest(parent=f"projects/{project}", training_job=asked)
    )


def test_a_paused_training_frees_its_worker_and_goes_on_to_the_same_weights(
    training: Training, unique_name: str, tmp_path: Path
) -> None:
    recipe = {"epochs": 60, "checkpoint_every_steps": 5, "early_stopping_patience": 0}
    job = _train(training, unique_name, tmp_path, **recipe)
    count = "SELECT count(*) FROM checkpoints WHERE training_job = :job"
    until(lambda: training.rows(count, job=job.name)[0][0])
    paused = training.api.PauseTrainingJob(messages.PauseTrainingJobRequest(name=job.name))
    assert paused.job.state == job_status_pb2.JOB_STATE_PAUSED
    with pytest.raises(FailedPrecondition), call_errors():
        training.api.PauseTrainingJob(messages.PauseTrainingJobRequest(name=job.name))
    event = training.curate(unique_name, tmp_path, standing=False)
    training.handle(event)
    other = _undisturbed(training, event, unique_name, {"epochs": 1})
    assert training.finished(other.name).state == "SUCCEEDED"  # the only worker was free for it
    still = training.api.GetTrainingJob(messages.GetTrainingJobRequest(name=job.name))
    assert still.job.state == job_status_pb2.JOB_STATE_PAUSED
    training.api.ResumeTrainingJob(messages.ResumeTrainingJobRequest(name=job.name))
    ended = training.finished(job.name)
    assert (ended.state, ended.attempt) == ("SUCCEEDED", 1)
    done = training.api.GetTrainingJob(messages.GetTrainingJobRequest(name=job.name))
    version = training.api.GetModelVersion(messages.GetModelVersionRequest(name=done.model_version))
    assert version.metrics["resumed_at_step"] >= 5
    steps = _steps(training, job.name)
    assert [step.step for step in steps] == list(range(1, int(version.metrics["steps"]) + 1))
    assert {"loss", "gradient_norm", "learning_rate", "memory_bytes"} <= set(steps[0].figures)
    with pytest.raises(FailedPrecondition), call_errors():
        training.api.ResumeTrainingJob(messages.ResumeTrainingJobRequest(name=job.name))


def _steps(training: Training, job: str) -> list[Any]:
    found: list[Any] = []
    token = ""
    while True:
        request = messages.ListTrainingStepsRequest(parent=job, page_size=100, page_token=token)
        answer = training.api.ListTrainingSteps(request)
        found += answer.training_steps
        token = answer.next_page_token
        if not token:
            return found


def test_a_dry_run_tells_what_the_training_takes_and_teaches(
    training: Training, unique_name: str, tmp_path: Path
) -> None:
    training.apply_base_model(unique_name)
    training.finished(f"projects/{unique_name}/baseModels/tiny")
    event = training.curate(unique_name, tmp_path, standing=False)
    training.handle(event)
    asked = training_job_pb2.TrainingJob(
        curation=event.message.curation,
        model=f"projects/{unique_name}/models/trial",
        base_model=f"projects/{unique_name}/baseModels/tiny",
        recipe=training_plan_pb2.Recipe(rank=4, preset=training_plan_pb2.PRESET_QUICK),
    )
    request = messages.CreateTrainingJobRequest(
        parent=f"projects/{unique_name}", training_job=asked, validate_only=True
    )
    quote = training.api.CreateTrainingJob(request, timeout=60).quote
    assert training.jobs(unique_name) == []
    created = training.api.CreateTrainingJob(
        messages.CreateTrainingJobRequest(parent=f"projects/{unique_name}", training_job=asked)
    )
    assert training.finished(created.name).state == "SUCCEEDED"
    done = training.api.GetTrainingJob(messages.GetTrainingJobRequest(name=created.name))
    version = training.api.GetModelVersion(messages.GetModelVersionRequest(name=done.model_version))
    assert (quote.steps, quote.tokens) == (version.metrics["planned_steps"], version.metrics["tokens"])
    assert quote.recipe.epochs == 1
    assert quote.duration.ToMilliseconds() > 0
    assert quote.peak_memory_bytes > 100_000_000
    assert quote.disk_bytes > 0
    assert quote.audit.rows == version.metrics["training_rows"]
    assert len(quote.audit.samples) == 3
    assert "Open the settings page." in "".join(s.text for s in quote.audit.samples[0].spans if s.learned)


def test_teaching_on_from_the_latest_version(training: Training, unique_name: str, tmp_path: Path) -> None:
    first = _train(training, unique_name, tmp_path, start_from="latest")
    assert first.recipe.start_from == ""  # there was none
    assert training.finished(first.name).state == "SUCCEEDED"
    training.handle(training.curate(unique_name, tmp_path))
    second = training.jobs(unique_name)[0]
    assert second.recipe.start_from == f"projects/{unique_name}/models/assistant/versions/1"
    assert training.finished(second.name).state == "SUCCEEDED"
    one, two = (
        training.api.GetModelVersion(
            messages.GetModelVersionRequest(name=f"projects/{unique_name}/models/assistant/versions/{number}")
        )
        for number in (1, 2)
    )
    assert two.metrics["initial_validation_loss"] == pytest.approx(one.metrics["validation_loss"], rel=0.02)


def test_a_watcher_sees_figures_and_the_end(training: Training, unique_name: str, tmp_path: Path) -> None:
    job = _train(training, unique_name, tmp_path, epochs=40)
    seen = list(training.api.WatchTrainingJob(messages.WatchTrainingJobRequest(name=job.name), timeout=120))
    assert seen[-1].model_version
    figures = {name for shown in seen for name in shown.job.progress.figures}
    assert {"loss", "learning_rate", "gradient_norm", "tokens_per_second", "validation_loss"} <= figures


def test_a_cancelled_training_ends_and_says_so(training: Training, unique_name: str, tmp_path: Path) -> None:
    job = _train(training, unique_name, tmp_path, epochs=900, early_stopping_patience=0)
    started = messages.GetTrainingJobRequest(name=job.name)
    until(lambda: training.api.GetTrainingJob(started).job.progress.figures.get("step", 0) > 0, pause=0.5)
    training.api.CancelTrainingJob(messages.CancelTrainingJobRequest(name=job.name))
    assert training.finished(job.name).state == "CANCELLED"
    (told,) = training.published(TrainingJobFailed, job.name)
    assert told.reason == "CANCELLED"
    with pytest.raises(FailedPrecondition), call_errors():
        training.api.CancelTrainingJob(messages.CancelTrainingJobRequest(name=job.name))


def test_a_training_on_a_base_model_that_cannot_be_had_fails_with_its_reason(
    training: Training, unique_name: str, tmp_path: Path
) -> None:
    training.apply_base_model(unique_name, "file:/no/such/folder")
    training.apply_plan(unique_name)
    training.handle(training.curate(unique_name, tmp_path))
    (job,) = training.jobs(unique_name)
    ended = training.finished(job.name)
    assert ended.error_reason == "BASE_MODEL_FAILED"
    assert "/no/such/folder" in ended.error_message
    (told,) = training.published(TrainingJobFailed, job.name)
    assert told.reason == "BASE_MODEL_FAILED"


def test_every_fault_of_a_recipe_is_reported_at_once(training: Training, unique_name: str) -> None:
    training.apply_base_model(unique_name)
    with pytest.raises(InvalidArgument) as caught:
        training.apply_plan(unique_name, rank=0, learning_rate=-1.0, dropout=2.0)
    fields = {violation.field for violation in caught.value.violations}
    assert fields == {f"training_plan.recipe.{name}" for name in ("rank", "learning_rate", "dropout")}


def test_names_of_another_project_are_refused_with_their_fields(training: Training, unique_name: str) -> None:
    request = messages.CreateTrainingJobRequest(
        parent=f"projects/{unique_name}",
        training_job=training_job_pb2.TrainingJob(
            curation="projects/other/curations/c",
            model="models/m",
            base_model=f"projects/{unique_name}/baseModels/b",
        ),
    )
    with pytest.raises(InvalidArgument) as caught, call_errors():
        training.api.CreateTrainingJob(request)
    assert {violation.field for violation in caught.value.violations} == {
        "training_job.curation",
        "training_job.model",
    }


@pytest.mark.parametrize(
    ("call", "request_message"),
    [
        ("GetTrainingJob", messages.GetTrainingJobRequest(name="projects/p/trainingJobs/x")),
        ("GetModelVersion", messages.GetModelVersionRequest(name="projects/p/models/m/versions/1")),
        ("GetTrainingPlan", messages.GetTrainingPlanRequest(name="projects/p/trainingPlans/x")),
        ("GetBaseModel", messages.GetBaseModelRequest(name="projects/p/baseModels/x")),
    ],
)
def test_what_does_not_exist_is_not_found(training: Training, call: str, request_message: Any) -> None:
    with pytest.raises(NotFound), call_errors():
        getattr(training.api, call)(request_message)
