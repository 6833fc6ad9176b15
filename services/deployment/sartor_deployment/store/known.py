"""What other services said: base models, model versions and their approval."""

from __future__ import annotations

from typing import Any

from sartor_datasets.manifests import ObjectReference
from sartor_platform.transaction import Transaction
from sqlalchemy import Connection, text

from sartor_deployment.resources import ModelVersion
from sartor_deployment.store.rows import dump, reference_of


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


def put_model_version(
    tx: Transaction, name: str, model: str, manifest: ObjectReference, base_model_manifest: ObjectReference
) -> None:
    """Remember a model version's files; its approval may be known already."""
    tx.connection.execute(
        text(
            "INSERT INTO model_versions (name, model, manifest, base_model_manifest)"
            " VALUES (:name, :model, cast(:manifest AS jsonb), cast(:base AS jsonb))"
            " ON CONFLICT (name) DO UPDATE SET manifest = excluded.manifest,"
            " base_model_manifest = excluded.base_model_manifest"
        ),
        {"name": name, "model": model, "manifest": dump(manifest), "base": dump(base_model_manifest)},
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
            "SELECT name, manifest, base_model_manifest, reference_outputs, run, generation"
            " FROM model_versions WHERE name = :name"
        ),
        {"name": name},
    ).one_or_none()
    return None if row is None else _model_version(row)


def latest_approved(connection: Connection, model: str) -> ModelVersion | None:
    """The version of a model that was approved last."""
    row = connection.execute(
        text(
            "SELECT name, manifest, base_model_manifest, reference_outputs, run, generation"
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
    )
