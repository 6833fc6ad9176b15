"""The jobs of training: preparing a base model, and a training. Staging happens here, the work in a child
process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sartor_datasets.manifests import (
    BaseModelManifest,
    CuratedManifest,
    ManifestFile,
    ModelVersionManifest,
    ObjectReference,
)
from sartor_models import references
from sartor_models.errors import ModelError
from sartor_platform import fault_points, log
from sartor_platform.errors import FailedPrecondition, NotReady, SartorError, Unavailable
from sartor_platform.jobs import job_of
from sartor_platform.runtime import Runtime
from sartor_platform.transaction import Transaction
from sartor_platform.worker import JobContext, JobKind
from sqlalchemy import Connection

from sartor_training import resources, staging
from sartor_training.model_card import model_card
from sartor_training.resources import (
    PREPARE,
    QUOTE,
    TRAIN,
    Curation,
    ModelVersion,
    ReadyBaseModel,
    TrainingJob,
)
from sartor_training.store import base_models, quotes, steps, training_jobs
from sartor_training.usecases import base_models as base_model_cases
from sartor_training.usecases import quotes as quote_cases
from sartor_training.usecases import training_jobs as job_cases

Accept = Callable[[Transaction], None]

_ASK_AGAIN_SECONDS = 2.0
_LAST_FIGURES = (
    ("loss", "training_loss"),
    ("validation_loss", "validation_loss"),
    ("tokens_per_second", "tokens_per_second"),
    ("tokens", "tokens"),
    ("step", "steps"),
    ("steps", "planned_steps"),
)


def job_kinds(_runtime: Runtime) -> Sequence[JobKind]:
    """What a worker of training does."""
    return [
        JobKind(
            name=PREPARE,
            entry="sartor_training.child:prepare_base_model",
            stage_in=stage_preparation,
            stage_out=finish_preparation,
            failed=base_model_cases.base_model_failed,
        ),
        JobKind(
            name=TRAIN,
            entry="sartor_training.child:train",
            stage_in=stage_training,
            stage_out=finish_training,
            failed=job_cases.training_failed,
            on_message=heard,
        ),
        JobKind(
            name=QUOTE,
            entry="sartor_training.child:quote",
            stage_in=stage_quote,
            stage_out=finish_quote,
            failed=quote_cases.failed,
            max_attempts=1,
        ),
    ]


def stage_preparation(context: JobContext) -> dict[str, Any]:
    """Find the model, and download it where it lies on the hub."""
    context.report(0.0, stage="locating")
    reference = str(context.job.payload["reference"])
    packages = context.runtime.settings.packages_dir
    try:
        source = references.locate(references.parse(reference), context.folder / "download", packages)
    except ModelError as error:
        kind = (
            Unavailable
            if error.reason == "HUB_UNREACHABLE" and context.job.attempt < 2
            else FailedPrecondition
        )
        raise kind(str(error), reason=error.reason, metadata=error.metadata) from error
    return {"source": str(source), "output": str(context.folder / "prepared"), "isolate": True}


def finish_preparation(context: JobContext, result: dict[str, Any]) -> Accept:
    """Upload the files under the model's digest, and its manifest."""
    context.report(1.0, stage="uploading")
    job, objects, digest = context.job, context.runtime.objects, result["digest"]
    files = tuple(
        ManifestFile(
            file["path"],
            objects.put_file(
                f"base-models/{digest}/{file['path']}", context.folder / "prepared" / file["path"]
            ),
        )
        for file in result["files"]
    )
    manifest = BaseModelManifest(
        name=job.resource,
        reference=str(job.payload["reference"]),
        digest=digest,
        files=files,
        architecture=result["architecture"],
        context_length=result["context_length"],
        vocabulary_size=result["vocabulary_size"],
        license=result["license"],
        chat_template=result["chat_template"],
    )
    ready = ReadyBaseModel(
        name=job.resource,
        revision=job.revision,
        digest=digest,
        manifest=context.put_bytes(manifest.to_json(), "manifest.json"),
        architecture=result["architecture"],
        parameter_count=result["parameters"],
        context_length=result["context_length"],
        license=result["license"],
    )
    return lambda tx: base_model_cases.base_model_prepared(tx, job, ready)


def stage_training(context: JobContext) -> dict[str, Any]:
    """Fetch base model, data and the last checkpoint."""
    context.report(0.0, stage="staging")
    _drop_old_checkpoints(context.runtime)
    name = context.job.resource
    with context.runtime.database.read() as connection:
        job, curation = _job(connection, name), _curation(connection, name)
        checkpoint = training_jobs.latest_checkpoint(connection, name)
    digest, manifest = _base_model(context, job)
    task = staging.task(context, digest, manifest, curation, job.recipe)
    if checkpoint is not None:
        task["checkpoint"] = str(staging.fetch_checkpoint(context, checkpoint))
    return task


def stage_quote(context: JobContext) -> dict[str, Any]:
    """Fetch what the training would be given."""
    with context.runtime.database.read() as connection:
        wanted = quotes.find(connection, context.job.resource)
        curation = wanted and base_models.find_curation(connection, wanted.curation)
        ready = wanted and base_models.find_ready(connection, [wanted.base_model]).get(wanted.base_model)
    if not (wanted and curation and ready):
        raise FailedPrecondition("what this quote is about is gone", reason="QUOTE_NOT_FOUND")
    task = staging.task(context, ready.digest, ready.manifest, curation, wanted.recipe)
    return {**task, "trial_seconds": context.job.payload.get("trial_seconds", 0.0)}


def finish_quote(context: JobContext, result: dict[str, Any]) -> Accept:
    """Write down what was measured."""
    return lambda tx: quote_cases.measured(tx, context.job.resource, result)


def heard(context: JobContext, message: dict[str, Any]) -> None:
    """What the child tells beside its progress: the figures of steps, and checkpoints."""
    kind = message.get("type")
    if kind == "steps":
        with context.runtime.database.transaction() as tx:
            steps.put_steps(tx, context.job.resource, message["steps"])
    elif kind == "checkpoint":
        keep_checkpoint(context, message)
    else:
        raise FailedPrecondition(
            "the child sent a message that is not understood", reason="BAD_CHILD_MESSAGE"
        )


def keep_checkpoint(context: JobContext, message: dict[str, Any]) -> None:
    """Upload a checkpoint while the training goes on; only the newest stay. Each carries the best weights so
    far
    beside the last."""
    path, step = Path(message["path"]).resolve(), int(message["step"])
    if not path.is_relative_to(context.folder.resolve()):
        raise FailedPrecondition("the child named a file outside its folder", reason="BAD_CHILD_MESSAGE")
    reference = context.put(path, f"checkpoints/{step}.safetensors")
    fault_points.at("after_checkpoint_upload_before_row", attempt=context.job.attempt)
    path.unlink()
    with context.runtime.database.transaction() as tx:
        kept = context.runtime.settings.checkpoints_kept
        old = training_jobs.add_checkpoint(tx, context.job.resource, step, reference, kept)
    _remove(context.runtime, old)


def finish_training(context: JobContext, result: dict[str, Any]) -> Accept:
    """Upload the version's files, its manifest and its card."""
    context.report(
        0.99,
        stage="uploading",
        **{name: result["metrics"][key] for name, key in _LAST_FIGURES if key in result["metrics"]},
    )
    name = context.job.resource
    with context.runtime.database.read() as connection:
        job, curation = _job(connection, name), _curation(connection, name)
    digest, base_reference = _base_model(context, job)
    base = BaseModelManifest.from_json(context.fetch(base_reference).read_bytes())
    data = CuratedManifest.from_json(context.fetch(curation.manifest).read_bytes())
    output = context.folder / "output"
    manifest = ModelVersionManifest(
        name=job.version_name,
        training_job=job.name,
        method=str(job.recipe["method"]),
        base_model=job.base_model,
        base_model_digest=digest,
        curation=job.curation,
        snapshot=curation.snapshot,
        recipe=result["recipe"],
        files=tuple(
            ManifestFile(path, context.put(output / path, f"version/{path}")) for path in result["files"]
        ),
        metrics=result["metrics"],
        library_versions=result["library_versions"],
        seed=int(job.recipe["seed"]),
        create_time=datetime.now(UTC),
    )
    card = context.put_bytes(model_card(manifest, base, data).encode(), "version/README.md")
    manifest = replace(manifest, files=(*manifest.files, ManifestFile("README.md", card)))
    version = ModelVersion(
        name=manifest.name,
        training_job=job.name,
        manifest=context.put_bytes(manifest.to_json(), "version/manifest.json"),
        model_card=card,
        base_model=job.base_model,
        base_model_digest=digest,
        curation=job.curation,
        metrics=manifest.metrics,
        run=job.run,
        create_time=manifest.create_time,
    )
    return lambda tx: job_cases.training_succeeded(tx, job, version, base_reference)


def _base_model(context: JobContext, job: TrainingJob) -> tuple[str, ObjectReference]:
    """Digest and manifest of the job's base model, pinned at its first attempt.

    Raises:
        NotReady: it is still being prepared.
        FailedPrecondition: BASE_MODEL_FAILED, its preparation failed; BASE_MODEL_NOT_FOUND.
    """
    with context.runtime.database.transaction() as tx:
        pinned = training_jobs.pinned_base_model(tx.connection, job.name)
        if pinned is not None:
            return pinned
        ready = base_models.find_ready(tx.connection, [job.base_model]).get(job.base_model)
        preparation = job_of(tx.connection, job.base_model)
        if ready is not None and (preparation is None or ready.revision >= preparation.revision):
            training_jobs.pin_base_model(tx, job.name, ready.digest, ready.manifest)
            return ready.digest, ready.manifest
        if preparation is None:
            known = base_models.known(tx.connection, resources.project_of(job.name))
            missing = resources.base_model_unknown(job.base_model, known)
            raise FailedPrecondition(missing.message, reason=missing.reason, metadata=missing.metadata)
    if not preparation.finished:
        raise NotReady(_ASK_AGAIN_SECONDS, f"{job.base_model} is being prepared")
    raise FailedPrecondition(
        f"{job.base_model} could not be prepared: {preparation.error_message or preparation.state};"
        " apply it again once this is mended",
        reason="BASE_MODEL_FAILED",
        metadata={"base_model": job.base_model, "reason": preparation.error_reason},
    )


def _drop_old_checkpoints(runtime: Runtime) -> None:
    with runtime.database.transaction() as tx:
        old = training_jobs.drop_checkpoints_of_finished(tx)
    _remove(runtime, old)


def _remove(runtime: Runtime, uris: Sequence[str]) -> None:
    for uri in uris:
        try:
            runtime.objects.remove(uri)
        except SartorError as error:  # an object too many harms nobody
            log.get().warning("training.checkpoint_not_removed", uri=uri, error=error.message)


def _job(connection: Connection, name: str) -> TrainingJob:
    found = training_jobs.find(connection, name)
    if found is None:
        raise FailedPrecondition(
            "the training of this job does not exist any more", reason="TRAINING_JOB_NOT_FOUND"
        )
    return found


def _curation(connection: Connection, job: str) -> Curation:
    found = base_models.find_curation(connection, _job(connection, job).curation)
    if found is None:
        raise FailedPrecondition(
            "the curation of this job does not exist any more", reason="CURATION_NOT_FOUND"
        )
    return found
