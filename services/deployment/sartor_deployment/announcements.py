"""The events deployment publishes: domain → proto."""

from __future__ import annotations

from sartor.deployment.v1 import deployment_events_pb2 as events
from sartor.deployment.v1 import endpoint_pb2
from sartor_platform.transaction import Transaction

from sartor_deployment.resources import Parity, Revision
from sartor_deployment.store import Decision


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
    message = events.EndpointRolledBack(endpoint=to.endpoint, from_revision=taken_back, to_revision=to.name)
    _publish(tx, message, to)


def rollout_decided(tx: Transaction, decision: Decision, revision: Revision) -> None:
    """Tell what a rollout decided, and by which numbers."""
    _publish(tx, events.RolloutDecided(decision=decision_message(decision)), revision)


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
    message: events.RevisionPromoted
    | events.RevisionRejected
    | events.EndpointRolledBack
    | events.RolloutDecided,
    revision: Revision,
) -> None:
    tx.publish(message, subject=revision.endpoint, run=revision.run, generation=revision.generation)
