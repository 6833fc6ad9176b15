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
    decision = Decision(
        revision.endpoint,
        revision.name,
        kind,
        reason,
        message,
        by or revision.endpoint,
        tx.now,
        figures or {},
    )
    store.insert_decision(tx, decision)
    announcements.rollout_decided(tx, decision, revision)
    log.get().info(
        "deployment.decided",
        revision=revision.name,
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
    }
