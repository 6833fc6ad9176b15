"""The figures of a training's steps, as they came in."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from sartor_platform import listing
from sartor_platform.transaction import Transaction
from sqlalchemy import Connection, select, text

from sartor_training.store.tables import TRAINING_STEPS


def put_steps(tx: Transaction, name: str, steps: Sequence[Mapping[str, float]]) -> None:
    """Write steps down; one that was done before an interruption is overwritten by its repetition."""
    rows = [{"name": name, "step": int(step["step"]), "figures": json.dumps(_finite(step))} for step in steps]
    if rows:
        tx.connection.execute(
            text(
                "INSERT INTO training_steps (training_job, step, figures)"
                " VALUES (:name, :step, cast(:figures AS jsonb))"
                " ON CONFLICT (training_job, step) DO UPDATE SET figures = excluded.figures"
            ),
            rows,
        )


def list_steps(
    connection: Connection, name: str, *, page_size: int, page_token: str
) -> tuple[list[tuple[int, dict[str, float]]], str]:
    """(step, figures), oldest first."""
    rows, token = listing.page(
        connection,
        select(TRAINING_STEPS.c.step, TRAINING_STEPS.c.figures).where(TRAINING_STEPS.c.training_job == name),
        order=[TRAINING_STEPS.c.step],
        page_size=page_size,
        page_token=page_token,
    )
    return [(row.step, row.figures) for row in rows], token


def _finite(step: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in step.items() if name != "step" and math.isfinite(value)}
