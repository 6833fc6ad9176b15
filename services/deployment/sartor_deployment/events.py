"""Which event leads to which use case, and proto → domain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sartor.common.v1 import object_reference_pb2
from sartor.curation.v1 import curation_events_pb2
from sartor.evaluation.v1 import evaluation_events_pb2, evaluation_pb2
from sartor.ingestion.v1 import ingestion_events_pb2
from sartor.training.v1 import training_events_pb2
from sartor_datasets.manifests import ObjectReference
from sartor_datasets.strict_json import ManifestInvalid
from sartor_platform.errors import InvalidArgument
from sartor_platform.events import Event
from sartor_platform.inbox import Handler
from sartor_platform.transaction import Transaction

from sartor_deployment.usecases import adaptations, loop, projections, reevaluation, revisions

TOPICS = ("sartor.ingestion.v1", "sartor.training.v1", "sartor.evaluation.v1", "sartor.curation.v1")


def _base_model_ready(tx: Transaction, event: Event) -> None:
    message: training_events_pb2.BaseModelReady = event.message
    projections.remember_base_model(tx, message.base_model, message.digest, reference(message.manifest))


def _model_version_created(tx: Transaction, event: Event) -> None:
    message: training_events_pb2.ModelVersionCreated = event.message
    projections.remember_model_version(
        tx,
        message.model_version,
        message.model,
        reference(message.manifest),
        reference(message.base_model_manifest),
        message.curation,
    )
    adaptations.version_created(tx, event.run, message.model_version)


def _curation_succeeded(tx: Transaction, event: Event) -> None:
    message: curation_events_pb2.CurationSucceeded = event.message
    loop.curation_succeeded(
        tx,
        message.curation,
        message.policy,
        message.standing_order,
        message.kept_by_split["train"],
        event.run,
        message.snapshot,
    )


def _snapshot_unchanged(tx: Transaction, event: Event) -> None:
    message: ingestion_events_pb2.SnapshotUnchanged = event.message
    loop.snapshot_unchanged(tx, message.snapshot, event.run)


def _stage_failed(tx: Transaction, event: Event) -> None:
    """CurationFailed, TrainingJobFailed, EvaluationFailed."""
    adaptations.stage_failed(tx, event.run, event.message.reason, event.message.message)


def _evaluation_failed(tx: Transaction, event: Event) -> None:
    _stage_failed(tx, event)
    reevaluation.failed(tx, event.run, event.message.reason, event.message.message)


def _model_version_rejected(tx: Transaction, event: Event) -> None:
    message: evaluation_events_pb2.ModelVersionRejected = event.message
    failed = [rule for rule in message.verdict.rules if not rule.passed]
    text = "; ".join(rule.explanation for rule in failed[:3]) or "the gate stopped it"
    adaptations.gate_rejected(tx, event.run, text, _figures(failed))


def _model_version_reevaluated(tx: Transaction, event: Event) -> None:
    message: evaluation_events_pb2.ModelVersionReevaluated = event.message
    rules = message.verdict.rules
    decisive = [rule for rule in rules if rule.passed == message.verdict.passed]
    text = "; ".join(rule.explanation for rule in decisive[:3])
    passed = message.verdict.passed
    reevaluation.judged(tx, event.run, message.evaluation, passed, text, _figures(decisive))


def _figures(rules: Sequence[evaluation_pb2.RuleResult]) -> dict[str, float]:
    return {
        f"{rule.rule.metric}.{rule.rule.suite}": rule.observed
        for rule in rules
        if math.isfinite(rule.observed)
    }


def _model_version_approved(tx: Transaction, event: Event) -> None:
    message: evaluation_events_pb2.ModelVersionApproved = event.message
    revisions.deploy_approved(
        tx,
        message.model_version,
        message.model,
        reference(message.reference_outputs),
        event.run,
        event.generation,
    )


HANDLERS: Mapping[str, Handler] = {
    "sartor.ingestion.v1.SnapshotUnchanged": _snapshot_unchanged,
    "sartor.training.v1.BaseModelReady": _base_model_ready,
    "sartor.training.v1.ModelVersionCreated": _model_version_created,
    "sartor.evaluation.v1.ModelVersionApproved": _model_version_approved,
    "sartor.evaluation.v1.ModelVersionRejected": _model_version_rejected,
    "sartor.evaluation.v1.ModelVersionReevaluated": _model_version_reevaluated,
    "sartor.evaluation.v1.EvaluationFailed": _evaluation_failed,
    "sartor.training.v1.TrainingJobFailed": _stage_failed,
    "sartor.curation.v1.CurationSucceeded": _curation_succeeded,
    "sartor.curation.v1.CurationFailed": _stage_failed,
}


def reference(message: object_reference_pb2.ObjectReference) -> ObjectReference:
    """An object's reference as the domain has it.

    Raises:
        InvalidArgument: BAD_OBJECT_REFERENCE.
    """
    try:
        return ObjectReference(message.uri, message.sha256, message.size_bytes)
    except ManifestInvalid as error:
        raise InvalidArgument(
            f"the event refers to an object it does not name: {error}", reason="BAD_OBJECT_REFERENCE"
        ) from error
