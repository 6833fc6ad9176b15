"""What gates said of model versions, and which cards do not show it yet."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sartor_datasets.manifests import ObjectReference
from sartor_platform.transaction import Transaction
from sqlalchemy import Connection, text

from sartor_training.resources import RuleOutcome, Verdict
from sartor_training.store.tables import to_column


def keep(tx: Transaction, version: str, verdict: Verdict) -> bool:
    """Keep what a gate said last; False where the version is not known here."""
    rules = [{"passed": rule.passed, "words": rule.words} for rule in verdict.rules]
    done = tx.connection.execute(
        text(
            "INSERT INTO model_version_verdicts (model_version, gate, evaluation, passed, rules)"
            " SELECT name, :gate, :evaluation, :passed, cast(:rules AS jsonb) FROM model_versions"
            " WHERE name = :version ON CONFLICT (model_version, gate) DO UPDATE SET"
            " evaluation = excluded.evaluation, passed = excluded.passed, rules = excluded.rules,"
            " in_card = false, update_time = now()"
        ),
        {
            "version": version,
            "gate": verdict.gate,
            "evaluation": verdict.evaluation,
            "passed": verdict.passed,
            "rules": json.dumps(rules),
        },
    )
    return bool(done.rowcount)


def not_in_card(connection: Connection, most: int) -> list[str]:
    """Versions whose card lacks a verdict, the longest waiting first."""
    query = text(
        "SELECT model_version FROM model_version_verdicts WHERE NOT in_card GROUP BY model_version"
        " ORDER BY min(update_time) LIMIT :most"
    )
    return list(connection.execute(query, {"most": most}).scalars())


def of_version(connection: Connection, version: str) -> list[Verdict]:
    """What each gate said, by gate."""
    rows = connection.execute(
        text(
            "SELECT gate, evaluation, passed, rules FROM model_version_verdicts"
            " WHERE model_version = :version ORDER BY gate"
        ),
        {"version": version},
    )
    return [
        Verdict(
            row.gate,
            row.evaluation,
            row.passed,
            tuple(RuleOutcome(rule["passed"], rule["words"]) for rule in row.rules),
        )
        for row in rows
    ]


def put_in_card(tx: Transaction, version: str, card: ObjectReference, shown: Sequence[Verdict]) -> None:
    """The version has a new card that shows these verdicts; what came meanwhile is not in it."""
    tx.connection.execute(
        text("UPDATE model_versions SET model_card = cast(:card AS jsonb) WHERE name = :version"),
        {"card": to_column(card), "version": version},
    )
    for verdict in shown:
        tx.connection.execute(
            text(
                "UPDATE model_version_verdicts SET in_card = true"
                " WHERE model_version = :version AND gate = :gate AND evaluation = :evaluation"
            ),
            {"version": version, "gate": verdict.gate, "evaluation": verdict.evaluation},
        )
