"""What other services said: base models, model versions and their approval."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sartor_datasets.manifests import ObjectReference
from sartor_platform.transaction import Transaction
from sqlalchemy import Connection, text

from sartor_deployment.resources import ModelVersion
from sartor_deployment.store.rows import dump, reference_of

_CURATIONS = "SELECT name, policy, training_records, run, create_time, snapshot FROM curations"


def put_base_model(tx: Transaction, name: str, digest: str, manifest: ObjectReference) -> None:
    """Remember a prepared base model."""
    tx.connection.execute(
        text(
            "INSERT INTO base_models (name, digest, manifest)"
            " VALUES (:name, :digest, cast(:manifest AS jsonb))"
            " ON CONFLICT (name) DO UPDATE SET digest = excluded.digest, manifest = excluded.manifest,"
            " update_time = now()"
        ),
        {"name": name, "digest": digest, "manifest": dump(manifest)},
    )


@dataclass(frozen=True, slots=True)
class Curation:
    """A curation that a standing order made."""

    name: str
    policy: str
    training_records: int
    run: str
    create_time: datetime
    snapshot: str
    """"" where it was curated before this was remembered."""


def put_curation(
    tx: Transaction, name: str, policy: str, training_records: int, run: str, snapshot: str
) -> None:
    """Remember a curation."""
    tx.connection.execute(
        text(
            "INSERT INTO curations (name, policy, training_records, run, snapshot)"
            " VALUES (:name, :policy, :training_records, :run, :snapshot) ON CONFLICT (name) DO NOTHING"
        ),
        {
            "name": name,
            "policy": policy,
            "training_records": training_records,
            "run": run,
            "snapshot": snapshot,
        },
    )


def curation(connection: Connection, name: str) -> Curation | None:
    """What is known of a curation."""
    query = text(f"{_CURATIONS} WHERE name = :name")
    row = connection.execute(query, {"name": name}).one_or_none()
    return None if row is None else Curation(*row)


def curations_of_policy(connection: Connection, policy: str, since: datetime | None = None) -> list[Curation]:
    """A policy's curations since a time, or its newest one, newest first."""
    query = text(
        f"{_CURATIONS} WHERE policy = :policy"
        " AND create_time >= coalesce(cast(:since AS timestamptz), '-infinity')"
        " ORDER BY create_time DESC, name DESC LIMIT :most"
    )
    found = {"policy": policy, "since": since, "most": 1 if since is None else 100}
    return [Curation(*row) for row in connection.execute(query, found)]


def put_model_version(
    tx: Transaction,
    name: str,
    model: str,
    manifest: ObjectReference,
    base_model_manifest: ObjectReference,
    curation: str = "",
) -> None:
    """Remember a model version's files; its approval may be known already."""
    tx.connection.execute(
        text(
            "INSERT INTO model_versions (name, model, manifest, base_model_manifest, curation)"
            " VALUES (:name, :model, cast(:manifest AS jsonb), cast(:base AS jsonb), :curation)"
            " ON CONFLICT (name) DO UPDATE SET manifest = excluded.manifest,"
            " base_model_manifest = excluded.base_model_manifest, curation = excluded.curation"
        ),
        {
            "name": name,
            "model": model,
            "manifest": dump(manifest),
            "base": dump(base_model_manifest),
            "curation": curation,
        },
    )


def put_approval(
    tx: Transaction, name: str, model: str, references: ObjectReference, run: str, generation: int
) -> None:
    """Remember that a gate let a model version pass; its files may not be known yet."""
    tx.connection.execute(
        text(
            "INSERT INTO model_versions (name, model, reference_outputs, run, generation, approve_time)"
            " VALUES (:name, :model, cast(:references AS jsonb), :run, :generation, now())"
            " ON CONFLICT (name) DO UPDATE SET reference_outputs = excluded.reference_outputs,"
            " run = excluded.run,"
            " generation = excluded.generation, approve_time = coalesce(model_versions.approve_time, now())"
        ),
        {
            "name": name,
            "model": model,
            "references": dump(references),
            "run": run,
            "generation": generation,
        },
    )


def model_version(connection: Connection, name: str) -> ModelVersion | None:
    """What is known of a model version."""
    row = connection.execute(
        text(
            "SELECT name, manifest, base_model_manifest, reference_outputs, run, generation, curation"
            " FROM model_versions WHERE name = :name"
        ),
        {"name": name},
    ).one_or_none()
    return None if row is None else _model_version(row)


def latest_approved(connection: Connection, model: str) -> ModelVersion | None:
    """The version of a model that was approved last."""
    row = connection.execute(
        text(
            "SELECT name, manifest, base_model_manifest, reference_outputs, run, generation, curation"
            " FROM model_versions WHERE model = :model AND approve_time IS NOT NULL"
            " ORDER BY approve_time DESC, name DESC LIMIT 1"
        ),
        {"model": model},
    ).one_or_none()
    return None if row is None else _model_version(row)


def _model_version(row: Any) -> ModelVersion:
    return ModelVersion(
        row.name,
        reference_of(row.manifest),
        reference_of(row.base_model_manifest),
        reference_of(row.reference_outputs),
        row.run,
        row.generation,
        row.curation,
    )
