"""Models and their versions."""

from __future__ import annotations

import json
from typing import Any

from sartor_platform import listing
from sartor_platform.transaction import Transaction
from sqlalchemy import Connection, Row, select, text

from sartor_training.resources import Model, ModelVersion
from sartor_training.store.tables import MODEL_VERSIONS, MODELS, from_column, to_column

_VERSION_COLUMNS = [column for column in MODEL_VERSIONS.c if column.name not in ("project", "model")]


def add_version(tx: Transaction, version: ModelVersion, *, model: str, project: str) -> None:
    """Write a version down as its model's newest, and as what its job made."""
    tx.connection.execute(
        text(
            "INSERT INTO model_versions (name, project, model, training_job, manifest, model_card, "
            "base_model,"
            " base_model_digest, curation, metrics, run) VALUES (:name, :project, :model, :training_job,"
            " cast(:manifest AS jsonb), cast(:model_card AS jsonb), :base_model, :base_model_digest, "
            ":curation,"
            " cast(:metrics AS jsonb), :run)"
        ),
        {
            "name": version.name,
            "project": project,
            "model": model,
            "training_job": version.training_job,
            "manifest": to_column(version.manifest),
            "model_card": to_column(version.model_card),
            "base_model": version.base_model,
            "base_model_digest": version.base_model_digest,
            "curation": version.curation,
            "metrics": json.dumps(dict(version.metrics)),
            "run": version.run,
        },
    )
    values = {"model": model, "version": version.name, "job": version.training_job}
    tx.connection.execute(text("UPDATE models SET latest_version = :version WHERE name = :model"), values)
    tx.connection.execute(text("UPDATE training_jobs SET model_version = :version WHERE name = :job"), values)


def find_version(connection: Connection, name: str) -> ModelVersion | None:
    """The version of this name."""
    row = connection.execute(select(*_VERSION_COLUMNS).where(MODEL_VERSIONS.c.name == name)).one_or_none()
    return None if row is None else _version(row)


def latest_version(connection: Connection, model: str) -> str:
    """The name of a model's newest version; empty where it has none."""
    query = select(MODELS.c.latest_version).where(MODELS.c.name == model)
    return str(connection.execute(query).scalar_one_or_none() or "")


def list_versions(
    connection: Connection, *, project: str, model: str, run: str, page_size: int, page_token: str
) -> tuple[list[ModelVersion], str]:
    """The versions of a model (or of the project's every model), newest first."""
    query = select(*_VERSION_COLUMNS).where(MODEL_VERSIONS.c.project == project)
    if model:
        query = query.where(MODEL_VERSIONS.c.model == model)
    if run:
        query = query.where(MODEL_VERSIONS.c.run == run)
    rows, token = listing.page(
        connection,
        query,
        order=[MODEL_VERSIONS.c.create_time, MODEL_VERSIONS.c.name],
        page_size=page_size,
        page_token=page_token,
        descending=True,
    )
    return [_version(row) for row in rows], token


def list_models(
    connection: Connection, project: str, *, page_size: int, page_token: str
) -> tuple[list[Model], str]:
    """The project's models by name."""
    rows, token = listing.page(
        connection,
        select(MODELS.c.name, MODELS.c.latest_version, MODELS.c.create_time).where(
            MODELS.c.project == project
        ),
        order=[MODELS.c.name],
        page_size=page_size,
        page_token=page_token,
    )
    return [Model(**row._mapping) for row in rows], token


def _version(row: Row[Any]) -> ModelVersion:
    values = dict(row._mapping)
    return ModelVersion(
        **{**values, "manifest": from_column(row.manifest), "model_card": from_column(row.model_card)}
    )
