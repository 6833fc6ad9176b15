"""Training jobs: begun by a curation or by a request, ended by a model version or a reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sartor.common.v1 import object_reference_pb2
from sartor.training.v1.training_events_pb2 import ModelVersionCreated, TrainingJobFailed
from sartor_datasets.manifests import ObjectReference
from sartor_platform import job_pauses, orders, principal
from sartor_platform.errors import IllegalTransition, NotReady
from sartor_platform.jobs import Job
from sartor_platform.names import new_id, new_run_id
from sartor_platform.transaction import Transaction
from sqlalchemy import Connection

from sartor_training import resources
from sartor_training.recipe_faults import LATEST, LIVE
from sartor_training.resources import (
    BASE_MODEL,
    CURATION,
    MODEL,
    TRAIN,
    TRAINING_JOB,
    Curation,
    ModelVersion,
    PlanSpec,
    TrainingJob,
)
from sartor_training.store import base_models, models, training_jobs
from sartor_training.usecases.training_plans import plans_of_policy, require_base_model

_FACTS_COME_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedJob:
    """What a client asks for. The recipe is complete."""

    project: str
    curation: str
    model: str
    base_model: str
    recipe: dict[str, Any]


def curation_succeeded(tx: Transaction, curation: Curation, *, run: str, generation: int) -> None:
    """Remember the curation; where a standing order made it, each plan that fits trains on it, once a
    revision."""
    base_models.put_curation(tx, curation)
    if not curation.standing_order:
        return
    for order in plans_of_policy(tx.connection, curation.policy):
        spec = PlanSpec(**order.spec)
        if spec.trigger == "loop" and models.latest_version(tx.connection, spec.model):
            continue  # from its second version on the loop of an endpoint asks
        _train_by_plan(tx, order, curation.name, run=run, generation=generation)


def retraining_requested(
    tx: Transaction, plan: str, curation: str, live_version: str, *, run: str, generation: int
) -> None:
    """RetrainingRequested: train by the plan, on that curation, from what is live where the recipe says so.

    Where this revision of the plan made a version of that curation already, another one would be the same:
    that is told as a failure, so that the loop need not wait for it.

    Raises:
        NotReady: the curation's own event, of another topic, has not come yet.
    """
    order = orders.find(tx.connection, plan)
    if order is None:
        _refuse(tx, plan, f"there is no {plan}; apply it first", "LOOP_NAMES_UNKNOWN", run, generation)
    elif base_models.find_curation(tx.connection, curation) is None:
        raise NotReady(_FACTS_COME_SECONDS, f"waits for {curation}")
    elif order.paused:
        _refuse(tx, plan, f"{plan} is paused; resume it first", "PLAN_PAUSED", run, generation)
    elif not _train_by_plan(tx, order, curation, run=run, generation=generation, live=live_version):
        text = f"{plan} has made a version of {curation} already; new data or another recipe would change it"
        _refuse(tx, plan, text, "NOTHING_NEW", run, generation)


def _refuse(tx: Transaction, plan: str, message: str, reason: str, run: str, generation: int) -> None:
    failed = TrainingJobFailed(training_job="", reason=reason, message=message)
    tx.publish(failed, subject=plan, run=run, generation=generation)


def _train_by_plan(
    tx: Transaction, order: orders.Order, curation: str, *, run: str, generation: int, live: str = ""
) -> bool:
    spec = PlanSpec(**order.spec)
    name = TRAINING_JOB.format(project=resources.project_of(order.name), training_job=new_id())
    added = training_jobs.add(
        tx,
        name=name,
        project=resources.project_of(order.name),
        plan=order.name,
        plan_revision=order.revision,
        curation=curation,
        model=spec.model,
        base_model=spec.base_model,
        recipe=resolved_recipe(tx.connection, spec.recipe, spec.model, live),
        run=run,
        generation=generation or order.generation,
        created_by=order.name,
    )
    if added:
        _enqueue(tx, name, run=run, generation=generation or order.generation, revision=order.revision)
    return added


def check_job(wanted: WantedJob) -> None:
    """All names have their form and are of one project.

    Raises:
        InvalidArgument: BAD_TRAINING_JOB, with every fault.
    """
    named = [
        ("training_job.curation", CURATION, wanted.curation),
        ("training_job.model", MODEL, wanted.model),
        ("training_job.base_model", BASE_MODEL, wanted.base_model),
        *resources.names_in_recipe(wanted.recipe, "training_job.recipe"),
    ]
    resources.checked_names(wanted.project, named, "BAD_TRAINING_JOB")


def create_job(tx: Transaction, wanted: WantedJob) -> TrainingJob:
    """Train now, because somebody asked. The version it makes goes to no next stage.

    Raises:
        InvalidArgument: BAD_TRAINING_JOB.
        NotFound: CURATION_NOT_FOUND, BASE_MODEL_NOT_FOUND.
    """
    check_job(wanted)
    if base_models.find_curation(tx.connection, wanted.curation) is None:
        raise resources.curation_unknown(wanted.curation)
    require_base_model(tx.connection, wanted.base_model)
    name = TRAINING_JOB.format(project=wanted.project, training_job=new_id())
    run = new_run_id()
    training_jobs.add(
        tx,
        name=name,
        project=wanted.project,
        plan="",
        plan_revision=0,
        curation=wanted.curation,
        model=wanted.model,
        base_model=wanted.base_model,
        recipe=resolved_recipe(tx.connection, wanted.recipe, wanted.model),
        run=run,
        generation=0,
        created_by=principal.current(),
    )
    _enqueue(tx, name, run=run, generation=0, revision=0)
    job = training_jobs.find(tx.connection, name)
    assert job is not None
    return job


def resolved_recipe(
    connection: Connection, recipe: Mapping[str, Any], model: str, live: str = ""
) -> dict[str, Any]:
    """The recipe with "latest" replaced by the model's newest version, and "live" by what a loop said is.

    The first version begins anew.
    """
    if recipe.get("start_from") == LIVE:
        return {**recipe, "start_from": live}
    if recipe.get("start_from") != LATEST:
        return dict(recipe)
    return {**recipe, "start_from": models.latest_version(connection, model)}


def pause_job(tx: Transaction, name: str) -> None:
    """Stop a job until it is resumed.

    Raises:
        NotFound: TRAINING_JOB_NOT_FOUND.
        IllegalTransition: JOB_NOT_RUNNING.
    """
    _require(tx, name)
    if not job_pauses.pause(tx, name):
        raise _not(name, "waits or runs", "JOB_NOT_RUNNING")


def resume_job(tx: Transaction, name: str) -> None:
    """Let a paused job go on.

    Raises:
        NotFound: TRAINING_JOB_NOT_FOUND.
        IllegalTransition: JOB_NOT_PAUSED.
    """
    _require(tx, name)
    if not job_pauses.resume(tx, name):
        raise _not(name, "is paused", "JOB_NOT_PAUSED")


def _require(tx: Transaction, name: str) -> None:
    if training_jobs.find(tx.connection, name) is None:
        raise resources.not_found("training job", name)


def _not(name: str, what: str, reason: str) -> IllegalTransition:
    job = f"{name} is not a job that {what}"
    return IllegalTransition(job, reason=reason, metadata={"name": name})


def cancel_job(tx: Transaction, name: str) -> None:
    """Ask a job to stop.

    Raises:
        NotFound: TRAINING_JOB_NOT_FOUND.
        IllegalTransition: it has ended already.
    """
    if training_jobs.find(tx.connection, name) is None:
        raise resources.not_found("training job", name)
    if not tx.cancel_job(name):
        raise IllegalTransition(
            f"{name} has ended or is being cancelled already",
            reason="JOB_NOT_RUNNING",
            metadata={"name": name},
        )


def training_succeeded(
    tx: Transaction, job: TrainingJob, version: ModelVersion, base_model_manifest: ObjectReference
) -> None:
    """A training ended well: its version exists from now on, and everybody may know."""
    project = resources.project_of(job.name)
    curation = base_models.find_curation(tx.connection, job.curation)
    assert curation is not None
    models.add_version(tx, version, model=job.model, project=project)
    tx.publish(
        ModelVersionCreated(
            model_version=version.name,
            model=job.model,
            training_job=job.name,
            standing_order=job.plan,
            manifest=_message(version.manifest),
            base_model=job.base_model,
            base_model_digest=version.base_model_digest,
            base_model_manifest=_message(base_model_manifest),
            curation=job.curation,
            curated_manifest=_message(curation.manifest),
        ),
        subject=version.name,
        run=job.run,
        generation=job.generation,
    )
    tx.notify(job.name)


def training_failed(tx: Transaction, job: Job, reason: str, message: str) -> None:
    """A training ended badly, or was cancelled: tell it, with the reason."""
    tx.publish(
        TrainingJobFailed(training_job=job.resource, reason=reason, message=message),
        subject=job.resource,
        run=job.run,
        generation=job.generation,
    )
    tx.notify(job.resource)


def _enqueue(tx: Transaction, name: str, *, run: str, generation: int, revision: int) -> None:
    tx.enqueue(
        TRAIN,
        resource=name,
        project=resources.project_of(name),
        run=run,
        generation=generation,
        revision=revision,
    )


def _message(reference: ObjectReference) -> object_reference_pb2.ObjectReference:
    return object_reference_pb2.ObjectReference(
        uri=reference.uri, sha256=reference.sha256, size_bytes=reference.size_bytes
    )
