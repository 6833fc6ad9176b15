"""Every decision of a rollout: written down, announced, logged, with the numbers it was made by."""

from __future__ import annotations

from collections.abc import Mapping

from sartor_platform import log
from sartor_platform.transaction import Transaction

from sartor_deployment import announcements, store
from sartor_deployment.resources import Parity, Revision
from sartor_deployment.rollout import DecisionKind
from sartor_deployment.store import Decision


def decide(
    tx: Transaction,
    revision: Revision,
    kind: DecisionKind,
    message: str,
    *,
    reason: str = "",
    figures: Mapping[str, float] | None = None,
    by: str = "",
) -> None:
    """Write it down.

    Args:
        by: a person; the endpoint's order if empty.
    """
    decide_about(
        tx,
        revision.endpoint,
        kind,
        message,
        revision=revision.name,
        reason=reason,
        figures=figures,
        by=by,
        run=revision.run,
        generation=revision.generation,
    )


def decide_about(
    tx: Transaction,
    endpoint: str,
    kind: DecisionKind,
    message: str,
    *,
    revision: str = "",
    reason: str = "",
    figures: Mapping[str, float] | None = None,
    by: str = "",
    run: str = "",
    generation: int = 0,
) -> None:
    """The same for a decision about an endpoint, which need not be about one of its revisions."""
    decision = Decision(endpoint, revision, kind, reason, message, by or endpoint, tx.now, figures or {})
    store.insert_decision(tx, decision)
    announcements.rollout_decided(tx, decision, run, generation)
    log.get().info(
        "deployment.decided",
        endpoint=endpoint,
        revision=revision,
        kind=kind.value,
        reason=reason,
        message=message,
        **(figures or {}),
    )


def parity_figures(parity: Parity | None) -> dict[str, float]:
    """The numbers of a parity check."""
    if parity is None:
        return {}
    return {
        "reference_loss": parity.reference_loss,
        "served_loss": parity.served_loss,
        "top1_agreement": parity.top1_agreement,
        "tokens": float(parity.tokens),
        "items": float(parity.items),
        "tokens_per_second": parity.tokens_per_second,
    }
