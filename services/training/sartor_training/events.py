"""The visible table of events and the use case of each, and proto ↔ domain for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sartor.curation.v1.curation_events_pb2 import CurationSucceeded
from sartor.deployment.v1.deployment_events_pb2 import RetrainingRequested
from sartor.evaluation.v1.evaluation_events_pb2 import ModelVersionApproved, ModelVersionRejected
from sartor_datasets.manifests import ObjectReference
from sartor_datasets.strict_json import ManifestInvalid
from sartor_platform.errors import InvalidArgument
from sartor_platform.events import Event
from sartor_platform.inbox import BatchHandler, Handler
from sartor_platform.runtime import Runtime
from sartor_platform.transaction import Transaction

from sartor_training.resources import (
    CURATION,
    CURATION_POLICY,
    MODEL_VERSION,
    TRAINING_PLAN,
    Curation,
    RuleOutcome,
    Verdict,
)
from sartor_training.usecases import model_cards, training_jobs

TOPICS = ("sartor.curation.v1", "sartor.deployment.v1", "sartor.evaluation.v1")


def topics(_runtime: Runtime) -> Sequence[str]:
    """What training listens to."""
    return TOPICS


def handlers(_runtime: Runtime) -> Mapping[str, Handler | BatchHandler]:
    """Event type → use case."""
    return {
        CurationSucceeded.DESCRIPTOR.full_name: curation_succeeded,
        RetrainingRequested.DESCRIPTOR.full_name: retraining_requested,
        ModelVersionApproved.DESCRIPTOR.full_name: version_judged,
        ModelVersionRejected.DESCRIPTOR.full_name: version_judged,
    }


def curation_succeeded(tx: Transaction, event: Event) -> None:
    """CurationSucceeded: train on it, where a plan says so."""
    told: CurationSucceeded = event.message
    CURATION.parse(told.curation, field="curation")
    CURATION_POLICY.parse(told.policy, field="policy")
    try:
        manifest = ObjectReference(told.manifest.uri, told.manifest.sha256, told.manifest.size_bytes)
    except ManifestInvalid as error:
        raise InvalidArgument(
            f"the curation's manifest is no object: {error}", reason="BAD_OBJECT_REFERENCE"
        ) from error
    curation = Curation(
        name=told.curation,
        policy=told.policy,
        standing_order=told.standing_order,
        snapshot=told.snapshot,
        manifest=manifest,
        run=event.run,
    )
    training_jobs.curation_succeeded(tx, curation, run=event.run, generation=event.generation)


def version_judged(tx: Transaction, event: Event) -> None:
    """ModelVersionApproved or ModelVersionRejected: the model card says so."""
    told: ModelVersionApproved | ModelVersionRejected = event.message
    rules = tuple(RuleOutcome(rule.passed, rule.explanation) for rule in told.verdict.rules)
    verdict = Verdict(told.gate, told.evaluation, told.verdict.passed, rules)
    model_cards.version_judged(tx, told.model_version, verdict)


def retraining_requested(tx: Transaction, event: Event) -> None:
    """RetrainingRequested: the loop of an endpoint wants its plan to make a version."""
    told: RetrainingRequested = event.message
    TRAINING_PLAN.parse(told.training_plan, field="training_plan")
    CURATION.parse(told.curation, field="curation")
    if told.live_version:
        MODEL_VERSION.parse(told.live_version, field="live_version")
    training_jobs.retraining_requested(
        tx,
        told.training_plan,
        told.curation,
        told.live_version,
        run=event.run,
        generation=event.generation,
    )
