"""Base models: registered once, prepared by a job, and announced."""

from __future__ import annotations

from sartor.common.v1 import object_reference_pb2
from sartor.training.v1.training_events_pb2 import BaseModelReady
from sartor_datasets.manifests import ObjectReference
from sartor_models import references
from sartor_models.errors import ModelError
from sartor_platform import orders
from sartor_platform.errors import FieldViolation, InvalidArgument
from sartor_platform.jobs import Job, job_of
from sartor_platform.orders import Order
from sartor_platform.transaction import Transaction

from sartor_training.resources import BASE_MODEL, PREPARE, ReadyBaseModel, project_of
from sartor_training.store import base_models


def check_base_model(name: str, reference: str) -> None:
    """Name and reference have their form.

    Raises:
        InvalidArgument: BAD_RESOURCE_NAME, BAD_REFERENCE.
    """
    BASE_MODEL.parse(name, field="base_model.name")
    try:
        references.parse(reference)
    except ModelError as error:
        raise InvalidArgument(
            str(error), reason=error.reason, violations=[FieldViolation("base_model.reference", str(error))]
        ) from error


def apply_base_model(tx: Transaction, name: str, reference: str, *, generation: int, etag: str) -> Order:
    """Register a base model; it is prepared unless that was done, or is being done, for this very reference.

    Raises:
        InvalidArgument: BAD_RESOURCE_NAME, BAD_REFERENCE.
        Aborted: ETAG_MISMATCH, GENERATION_SUPERSEDED.
    """
    check_base_model(name, reference)
    order = orders.apply(tx, name, {"reference": reference}, generation, etag=etag)
    ready = base_models.find_ready(tx.connection, [name]).get(name)
    if ready is not None and ready.revision == order.revision:
        return order
    job = job_of(tx.connection, name)
    if job is not None and not job.finished and job.revision == order.revision:
        return order
    if job is not None and not job.finished:
        tx.cancel_job(name)
    tx.enqueue(
        PREPARE,
        resource=name,
        project=project_of(name),
        generation=order.generation,
        revision=order.revision,
        payload={"reference": reference},
    )
    return order


def base_model_prepared(tx: Transaction, job: Job, ready: ReadyBaseModel) -> None:
    """A preparation ended well: tell those who need the model."""
    base_models.put_ready(tx, ready)
    tx.publish(
        BaseModelReady(base_model=ready.name, digest=ready.digest, manifest=_message(ready.manifest)),
        subject=ready.name,
        run=job.run,
        generation=job.generation,
    )
    tx.notify(ready.name)


def base_model_failed(tx: Transaction, job: Job, reason: str, message: str) -> None:
    """A preparation ended badly: the base model shows the job's error."""
    tx.notify(job.resource)


def _message(reference: ObjectReference) -> object_reference_pb2.ObjectReference:
    return object_reference_pb2.ObjectReference(
        uri=reference.uri, sha256=reference.sha256, size_bytes=reference.size_bytes
    )
