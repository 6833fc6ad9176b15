"""The events deployment publishes: domain → proto."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sartor.deployment.v1 import deployment_events_pb2 as events
from sartor.deployment.v1 import endpoint_pb2
from sartor.ingestion.v1 import ingestion_events_pb2 as ingestion
from sartor_platform.transaction import Transaction

from sartor_deployment.loop import Adaptation
from sartor_deployment.resources import Parity, Revision
from sartor_deployment.store import Decision, Reevaluation

DATA_TOPIC = "sartor.data"
"""Where other systems' records go, and ours."""
_ROWS_AN_EVENT = 50


def revision_promoted(tx: Transaction, revision: Revision, previous: str) -> None:
    """Tell that a revision went live, with the numbers of its check."""
    message = events.RevisionPromoted(
        endpoint=revision.endpoint,
        revision=revision.name,
        model_version=revision.model_version,
        parity=parity_result(revision.parity),
        previous_revision=previous,
    )
    _publish(tx, message, revision)


def revision_rejected(tx: Transaction, revision: Revision) -> None:
    """Tell that a revision was refused and why; what was live stays live."""
    message = events.RevisionRejected(
        endpoint=revision.endpoint,
        revision=revision.name,
        model_version=revision.model_version,
        reason=revision.error_reason,
        message=revision.error_message,
        parity=parity_result(revision.parity),
    )
    _publish(tx, message, revision)


def endpoint_rolled_back(tx: Transaction, to: Revision, taken_back: str) -> None:
    """Tell that an endpoint went back to an earlier revision."""
    message = events.EndpointRolledBack(
        endpoint=to.endpoint,
        from_revision=taken_back,
        to_revision=to.name,
        model_version=to.model_version,
    )
    _publish(tx, message, to)


def rollout_decided(tx: Transaction, decision: Decision, run: str, generation: int) -> None:
    """Tell what a rollout, or a loop, decided, and by which numbers."""
    message = events.RolloutDecided(decision=decision_message(decision))
    tx.publish(message, subject=decision.endpoint, run=run, generation=generation)


def retraining_requested(tx: Transaction, adaptation: Adaptation, plan: str) -> None:
    """Ask training for a version, by its plan."""
    message = events.RetrainingRequested(
        adaptation=adaptation.name,
        training_plan=plan,
        curation=adaptation.curation,
        live_version=adaptation.live_version,
    )
    tx.publish(message, subject=plan, run=adaptation.run, generation=adaptation.generation)


def reevaluation_requested(tx: Transaction, asked: Reevaluation, generation: int) -> None:
    """Ask the gates for their word on what is live."""
    message = events.ReevaluationRequested(
        endpoint=asked.endpoint, model_version=asked.model_version, curation=asked.curation
    )
    tx.publish(message, subject=asked.endpoint, run=asked.run, generation=generation)


def corrections_published(
    tx: Transaction, adaptation: Adaptation, source: str, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Send corrected answers the way all data come in: as data events."""
    for start in range(0, len(rows), _ROWS_AN_EVENT):
        message = ingestion.RecordsPublished(source=source)
        for row in rows[start : start + _ROWS_AN_EVENT]:
            message.records.add().update(row)
        _publish_data(tx, message, adaptation)


def snapshot_requested(tx: Transaction, adaptation: Adaptation, dataset: str) -> None:
    """Ask ingestion to seal what is pending. Its key is that of the records, so it comes after them."""
    _publish_data(tx, ingestion.SnapshotRequested(dataset=dataset), adaptation)


def _publish_data(
    tx: Transaction, message: ingestion.RecordsPublished | ingestion.SnapshotRequested, of: Adaptation
) -> None:
    tx.publish(message, subject=of.endpoint, run=of.run, generation=of.generation, topic=DATA_TOPIC)


def decision_message(decision: Decision) -> endpoint_pb2.Decision:
    """A decision as the public API shows it."""
    message = endpoint_pb2.Decision(
        endpoint=decision.endpoint,
        revision=decision.revision,
        kind=endpoint_pb2.DecisionKind.Value(f"DECISION_KIND_{decision.kind}"),
        reason=decision.reason,
        message=decision.message,
        figures=dict(decision.figures),
        decided_by=decision.decided_by,
    )
    message.create_time.FromDatetime(decision.create_time)
    return message


def parity_result(parity: Parity | None) -> endpoint_pb2.ParityResult | None:
    """The measurement as the public API shows it."""
    return None if parity is None else endpoint_pb2.ParityResult(**parity.to_json())


def _publish(
    tx: Transaction,
    message: events.RevisionPromoted | events.RevisionRejected | events.EndpointRolledBack,
    revision: Revision,
) -> None:
    tx.publish(message, subject=revision.endpoint, run=revision.run, generation=revision.generation)
