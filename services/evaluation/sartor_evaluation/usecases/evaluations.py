"""An evaluation's life: asked for, cancelled, ended."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sartor_datasets.manifests import ObjectReference
from sartor_platform import principal
from sartor_platform.errors import IllegalTransition, NotFound
from sartor_platform.jobs import Job, job_of
from sartor_platform.names import new_id, new_run_id
from sartor_platform.transaction import Transaction
from sqlalchemy import Connection

from sartor_evaluation import announcements, store
from sartor_evaluation.names import EVALUATION, JOB, project_of
from sartor_evaluation.resources import Evaluation
from sartor_evaluation.specs import EvaluationSpec
from sartor_evaluation.usecases.inputs import inputs_of

_WATCHED = timedelta(days=1)


def create_evaluation(
    tx: Transaction,
    parent: str,
    spec: EvaluationSpec,
    *,
    allowed_urls: Collection[str] = (),
    priority: int = 0,
    deadline: datetime | None = None,
) -> str:
    """Evaluate because a client asked; returns the evaluation's name. Nothing follows from it.

    Raises:
        InvalidArgument: BAD_EVALUATION, with every fault.
        NotFound: a model or a curation that is not known, and which are.
    """
    inputs = inputs_of(tx.connection, parent, spec, allowed_urls)
    project = project_of(parent)
    evaluation = Evaluation(
        name=EVALUATION.format(project=project, evaluation=new_id()),
        project=project,
        gate="",
        gate_revision=0,
        model_version="",
        spec=spec,
        inputs=inputs,
        run=new_run_id(),
        generation=0,
        create_time=tx.now,
        created_by=principal.current(),
    )
    add(tx, evaluation, priority, deadline)
    return evaluation.name


def add(tx: Transaction, evaluation: Evaluation, priority: int = 0, deadline: datetime | None = None) -> None:
    """Keep it and queue its job."""
    store.add_evaluation(tx.connection, evaluation)
    store.forget_finished(tx.connection, tx.now - _WATCHED)
    tx.enqueue(
        JOB,
        resource=evaluation.name,
        project=evaluation.project,
        run=evaluation.run,
        generation=evaluation.generation,
        revision=evaluation.gate_revision,
        priority=1 if evaluation.gate else priority,
        parent=evaluation.gate,
        deadline=deadline,
    )


def cancel_evaluation(tx: Transaction, name: str) -> None:
    """Ask an evaluation to stop.

    Raises:
        NotFound: EVALUATION_NOT_FOUND.
        IllegalTransition: it has ended already.
    """
    get_evaluation(tx.connection, name)
    if not tx.cancel_job(name):
        job = job_of(tx.connection, name)
        state = job.state if job else "unknown"
        if state != "CANCELLING":
            raise IllegalTransition(
                f"{name} is {state} and cannot be cancelled", metadata={"name": name, "state": state}
            )


def get_evaluation(connection: Connection, name: str) -> Evaluation:
    """Raises NotFound: EVALUATION_NOT_FOUND."""
    EVALUATION.parse(name)
    evaluation = store.find_evaluation(connection, name)
    if evaluation is None:
        raise NotFound(
            f"there is no evaluation {name}; ListEvaluations names those there are",
            reason="EVALUATION_NOT_FOUND",
            metadata={"name": name},
        )
    return evaluation


def evaluation_succeeded(
    tx: Transaction,
    name: str,
    findings: Mapping[str, Any],
    objects: Mapping[str, ObjectReference],
    item_results: Iterable[tuple[str, str, str, str]],
) -> None:
    """The job's result: keep it, tell of it, and where a gate asked, what it says of the version."""
    evaluation = get_evaluation(tx.connection, name)
    store.finish_evaluation(tx.connection, name, findings, objects, item_results)
    tx.notify(name)
    causes = {"run": evaluation.run, "generation": evaluation.generation}
    succeeded = announcements.evaluation_succeeded(evaluation, objects["report"])
    tx.publish(succeeded, subject=name, **causes)  # type: ignore[arg-type]
    if evaluation.gate and evaluation.spec.live_at:
        again = announcements.judged_again(evaluation, findings["verdict"])
        tx.publish(again, subject=evaluation.model_version, **causes)  # type: ignore[arg-type]
    elif evaluation.gate:
        outcome = announcements.gate_outcome(evaluation, findings["verdict"], objects["reference_outputs"])
        tx.publish(outcome, subject=evaluation.model_version, **causes)  # type: ignore[arg-type]


def evaluation_failed(tx: Transaction, job: Job, reason: str, message: str) -> None:
    """The job failed for good or was cancelled. A failed one is told of; a version nobody judged is neither
    approved nor rejected."""
    tx.notify(job.resource)
    if reason != "CANCELLED":
        failed = announcements.evaluation_failed(job.resource, reason, message)
        tx.publish(failed, subject=job.resource, run=job.run, generation=job.generation)
