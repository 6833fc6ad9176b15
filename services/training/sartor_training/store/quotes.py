"""Quotes: what a training would take, asked for by a dry run and measured by a worker."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sartor_platform.transaction import Transaction
from sqlalchemy import Connection, text

from sartor_training.resources import WantedQuote


def add(tx: Transaction, wanted: WantedQuote) -> None:
    """Write down what is asked for."""
    tx.connection.execute(
        text(
            "INSERT INTO training_quotes (name, project, curation, base_model, recipe)"
            " VALUES (:name, :project, :curation, :base_model, cast(:recipe AS jsonb))"
        ),
        {
            "name": wanted.name,
            "project": wanted.project,
            "curation": wanted.curation,
            "base_model": wanted.base_model,
            "recipe": json.dumps(dict(wanted.recipe)),
        },
    )


def find(connection: Connection, name: str) -> WantedQuote | None:
    """What was asked for under this name."""
    row = connection.execute(
        text("SELECT name, project, curation, base_model, recipe FROM training_quotes WHERE name = :name"),
        {"name": name},
    ).one_or_none()
    return None if row is None else WantedQuote(**row._mapping)


def put_result(tx: Transaction, name: str, result: Mapping[str, Any]) -> None:
    """Write down what was measured."""
    tx.connection.execute(
        text("UPDATE training_quotes SET result = cast(:result AS jsonb) WHERE name = :name"),
        {"name": name, "result": json.dumps(dict(result))},
    )


def result(connection: Connection, name: str) -> Mapping[str, Any] | None:
    """What was measured, if it was."""
    found: Mapping[str, Any] | None = connection.execute(
        text("SELECT result FROM training_quotes WHERE name = :name"), {"name": name}
    ).scalar_one_or_none()
    return found
