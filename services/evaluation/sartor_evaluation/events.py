"""The visible table of events and the use case of each, and proto → domain."""

from __future__ import annotations

from collections.abc import Mapping

from sartor.common.v1 import object_reference_pb2
from sartor.curation.v1 import curation_events_pb2
from sartor.deployment.v1 import deployment_events_pb2
from sartor.training.v1 import training_events_pb2
from sartor_datasets.manifests import ObjectReference
from sartor_platform.events import Event
from sartor_platform.inbox import Handler
from sartor_platform.transaction import Transaction

from sartor_evaluation.resources import BaseModel, Curation, ModelVersion
from sartor_evaluation.usecases import gates

TOPICS = ("sartor.training.v1", "sartor.curation.v1", "sartor.deployment.v1")


def _base_model_ready(tx: Transaction, event: Event) -> None:
    message: training_events_pb2.BaseModelReady = event.message
    model = BaseModel(name=message.base_model, digest=message.digest, manifest=_reference(message.manifest))
    gates.remember_base_model(tx, model)


def _model_version_created(tx: Transaction, event: Event) -> None:
    message: training_events_pb2.ModelVersionCreated = event.message
    version = ModelVersion(
        name=message.model_version,
        model=message.model,
        manifest=_reference(message.manifest),
        base_model=message.base_model,
        base_model_manifest=_reference(message.base_model_manifest),
        curation=message.curation,
        curated_manifest=_reference(message.curated_manifest),
    )
    gates.model_version_created(
        tx, version, standing_order=message.standing_order, run=event.run, generation=event.generation
    )


def _curation_succeeded(tx: Transaction, event: Event) -> None:
    message: curation_events_pb2.CurationSucceeded = event.message
    curation = Curation(
        name=message.curation, snapshot=message.snapshot, manifest=_reference(message.manifest)
    )
    gates.remember_curation(tx, curation)


def _revision_promoted(tx: Transaction, event: Event) -> None:
    message: deployment_events_pb2.RevisionPromoted = event.message
    gates.remember_live_version(tx, message.endpoint, message.model_version)


def _endpoint_rolled_back(tx: Transaction, event: Event) -> None:
    message: deployment_events_pb2.EndpointRolledBack = event.message
    if message.model_version:  # older deployments did not say
        gates.remember_live_version(tx, message.endpoint, message.model_version)


def _reevaluation_requested(tx: Transaction, event: Event) -> None:
    message: deployment_events_pb2.ReevaluationRequested = event.message
    gates.reevaluation_requested(
        tx,
        message.endpoint,
        message.model_version,
        message.curation,
        run=event.run,
        generation=event.generation,
    )


HANDLERS: Mapping[str, Handler] = {
    "sartor.training.v1.BaseModelReady": _base_model_ready,
    "sartor.training.v1.ModelVersionCreated": _model_version_created,
    "sartor.curation.v1.CurationSucceeded": _curation_succeeded,
    "sartor.deployment.v1.RevisionPromoted": _revision_promoted,
    "sartor.deployment.v1.EndpointRolledBack": _endpoint_rolled_back,
    "sartor.deployment.v1.ReevaluationRequested": _reevaluation_requested,
}


def _reference(message: object_reference_pb2.ObjectReference) -> ObjectReference:
    return ObjectReference(message.uri, message.sha256, message.size_bytes)
