"""The decisions of rollouts, with the numbers they were made by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sartor_platform import listing
from sartor_platform.transaction import Transaction
from sqlalchemy import BigInteger, Column, Connection, DateTime, MetaData, Table, Text, select, text
from sqlalchemy.dialects.postgresql import JSONB

from sartor_deployment.rollout import DecisionKind

DECISIONS = Table(
    "decisions",
    MetaData(),
    Column("id", BigInteger),
    Column("endpoint", Text),
    Column("revision", Text),
    Column("kind", Text),
    Column("reason", Text),
    Column("message", Text),
    Column("figures", JSONB),
    Column("decided_by", Text),
    Column("create_time", DateTime(timezone=True)),
)


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision of a rollout."""

    endpoint: str
    revision: str
    kind: DecisionKind
    reason: str
    message: str
    decided_by: str
    create_time: datetime
    figures: Mapping[str, float] = field(default_factory=dict)


def insert_decision(tx: Transaction, decision: Decision) -> None:
    """Add it."""
    tx.connection.execute(
        text(
            "INSERT INTO decisions (endpoint, revision, kind, reason, message, figures, decided_by)"
            " VALUES (:endpoint, :revision, :kind, :reason, :message, cast(:figures AS jsonb), :decided_by)"
        ),
        {
            "endpoint": decision.endpoint,
            "revision": decision.revision,
            "kind": decision.kind.value,
            "reason": decision.reason,
            "message": decision.message,
            "figures": json.dumps(dict(decision.figures)),
            "decided_by": decision.decided_by,
        },
    )


def list_decisions(
    connection: Connection, endpoint: str, *, page_size: int, page_token: str
) -> tuple[list[Decision], str]:
    """An endpoint's decisions, newest first."""
    rows, token = listing.page(
        connection,
        select(DECISIONS).where(DECISIONS.c.endpoint == endpoint),
        order=[DECISIONS.c.id],
        page_size=page_size,
        page_token=page_token,
        descending=True,
    )
    return [
        Decision(
            row.endpoint, row.revision, DecisionKind(row.kind), row.reason, row.message, row.decided_by,
            row.create_time, row.figures,
        )
        for row in rows
    ], token  # fmt: skip
