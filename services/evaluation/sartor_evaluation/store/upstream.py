"""What other services told: base models, model versions, curations, and what is live."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sartor_datasets.manifests import ObjectReference
from sqlalchemy import Connection, Row, text

from sartor_evaluation.resources import BaseModel, Curation, ModelVersion
from sartor_evaluation.specs import object_json

_MOST_KNOWN = 10


def put_base_model(connection: Connection, model: BaseModel, now: datetime) -> None:
    """Remember a base model that is ready; a later one of the same name replaces it."""
    connection.execute(
        text(
            "INSERT INTO base_models (name, digest, manifest, update_time)"
            " VALUES (:name, :digest, cast(:manifest AS jsonb), :now) ON CONFLICT (name) DO UPDATE"
            " SET digest = excluded.digest, manifest = excluded.manifest, update_time = excluded.update_time"
        ),
        {"name": model.name, "digest": model.digest, "manifest": _dump(model.manifest), "now": now},
    )


def put_model_version(connection: Connection, version: ModelVersion, now: datetime) -> None:
    """Remember a model version; versions never change."""
    connection.execute(
        text(
            "INSERT INTO model_versions (name, model, manifest, base_model, base_model_manifest, curation,"
            " curated_manifest, create_time) VALUES (:name, :model, cast(:manifest AS jsonb), :base_model,"
            " cast(:base_model_manifest AS jsonb), :curation, cast(:curated_manifest AS jsonb), :now)"
            " ON CONFLICT (name) DO NOTHING"
        ),
        {
            "name": version.name,
            "model": version.model,
            "manifest": _dump(version.manifest),
            "base_model": version.base_model,
            "base_model_manifest": _dump(version.base_model_manifest),
            "curation": version.curation,
            "curated_manifest": _dump(version.curated_manifest),
            "now": now,
        },
    )


def put_curation(connection: Connection, curation: Curation, now: datetime) -> None:
    """Remember a curation that succeeded."""
    connection.execute(
        text(
            "INSERT INTO curations (name, snapshot, manifest, create_time)"
            " VALUES (:name, :snapshot, cast(:manifest AS jsonb), :now) ON CONFLICT (name) DO NOTHING"
        ),
        {
            "name": curation.name,
            "snapshot": curation.snapshot,
            "manifest": _dump(curation.manifest),
            "now": now,
        },
    )


def put_live_version(connection: Connection, endpoint: str, version: str, now: datetime) -> None:
    """Remember what an endpoint serves from now on."""
    connection.execute(
        text(
            "INSERT INTO live_versions (endpoint, model, version, update_time)"
            " VALUES (:endpoint, :model, :version, :now) ON CONFLICT (endpoint) DO UPDATE"
            " SET model = excluded.model, version = excluded.version, update_time = excluded.update_time"
        ),
        {
            "endpoint": endpoint,
            "model": version.partition("/versions/")[0],
            "version": version,
            "now": now,
        },
    )


def find_base_model(connection: Connection, name: str) -> BaseModel | None:
    """What is known of a base model."""
    row = _one(connection, "SELECT name, digest, manifest FROM base_models WHERE name = :name", name)
    if row is None:
        return None
    return BaseModel(name=row.name, digest=row.digest, manifest=ObjectReference(**row.manifest))


def find_model_version(connection: Connection, name: str) -> ModelVersion | None:
    """What is known of a model version."""
    row = _one(connection, "SELECT * FROM model_versions WHERE name = :name", name)
    if row is None:
        return None
    return ModelVersion(
        name=row.name,
        model=row.model,
        manifest=ObjectReference(**row.manifest),
        base_model=row.base_model,
        base_model_manifest=ObjectReference(**row.base_model_manifest),
        curation=row.curation,
        curated_manifest=ObjectReference(**row.curated_manifest),
    )


def find_live_version(connection: Connection, model: str) -> ModelVersion | None:
    """The version of a model that went live last, at any of its endpoints."""
    row = connection.execute(
        text("SELECT version FROM live_versions WHERE model = :model ORDER BY update_time DESC LIMIT 1"),
        {"model": model},
    ).one_or_none()
    return None if row is None else find_model_version(connection, row.version)


def find_curation(connection: Connection, name: str) -> Curation | None:
    """What is known of a curation: from its own event, or from that of a model version trained on it."""
    row = _one(
        connection,
        "SELECT name, snapshot, manifest FROM curations WHERE name = :name UNION ALL"
        " SELECT curation, '', curated_manifest FROM model_versions WHERE curation = :name LIMIT 1",
        name,
    )
    if row is None:
        return None
    return Curation(name=row.name, snapshot=row.snapshot, manifest=ObjectReference(**row.manifest))


def known(connection: Connection, kind: str, project: str) -> Sequence[str]:
    """The newest names of a project in one of base_models, model_versions and curations, for messages."""
    time = "update_time" if kind == "base_models" else "create_time"
    query = (
        f"SELECT name FROM {kind} WHERE starts_with(name, :prefix) ORDER BY {time} DESC LIMIT {_MOST_KNOWN}"  # noqa: S608 - our own names
    )
    return connection.execute(text(query), {"prefix": f"projects/{project}/"}).scalars().all()


def _one(connection: Connection, query: str, name: str) -> Row[Any] | None:
    return connection.execute(text(query), {"name": name}).one_or_none()


def _dump(reference: ObjectReference) -> str:
    return json.dumps(object_json(reference))
