"""Training jobs and their checkpoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sartor_datasets.manifests import ObjectReference
from sartor_platform import listing
from sartor_platform.transaction import Transaction
from sqlalchemy import Connection, select, text

from sartor_training.resources import TrainingJob
from sartor_training.store.tables import JOBS, TRAINING_JOBS, from_column, to_column

_NOT_SHOWN = ("project",)


def add(
    tx: Transaction,
    *,
    name: str,
    project: str,
    plan: str,
    plan_revision: int,
    curation: str,
    model: str,
    base_model: str,
    recipe: Mapping[str, Any],
    run: str,
    generation: int,
    created_by: str,
) -> bool:
    """Write a job down and number the version it will make; False where this plan revision already has one
    for it."""
    known = tx.connection.execute(
        text(
            "SELECT 1 FROM training_jobs WHERE plan = :plan AND plan_revision = :plan_revision AND curation "
            "= :curation"
            " AND plan <> ''"
        ),
        {"plan": plan, "plan_revision": plan_revision, "curation": curation},
    ).one_or_none()
    if known:
        return False
    version = tx.connection.execute(
        text(
            "INSERT INTO models (name, project, versions) VALUES (:name, :project, 1)"
            " ON CONFLICT (name) DO UPDATE SET versions = models.versions + 1 RETURNING versions"
        ),
        {"name": model, "project": project},
    ).scalar_one()
    values = {
        "name": name,
        "project": project,
        "plan": plan,
        "plan_revision": plan_revision,
        "curation": curation,
        "model": model,
        "base_model": base_model,
        "recipe": json.dumps(dict(recipe)),
        "version": version,
        "run": run,
        "generation": generation,
        "created_by": created_by,
    }
    # Two servers may be at the same event: the index lets one through.
    added = tx.connection.execute(
        text(
            "INSERT INTO training_jobs (name, project, plan, plan_revision, curation, model, base_model, "
            "recipe,"
            " version, run, generation, created_by) VALUES (:name, :project, :plan, :plan_revision, "
            ":curation, :model,"
            " :base_model, cast(:recipe AS jsonb), :version, :run, :generation, :created_by)"
            " ON CONFLICT (plan, plan_revision, curation) WHERE plan <> '' DO NOTHING"
        ),
        values,
    )
    return added.rowcount == 1


def find(connection: Connection, name: str) -> TrainingJob | None:
    """The job of this name."""
    columns = [column for column in TRAINING_JOBS.c if column.name not in _NOT_SHOWN]
    row = connection.execute(select(*columns).where(TRAINING_JOBS.c.name == name)).one_or_none()
    return None if row is None else TrainingJob(**row._mapping)


def list_jobs(
    connection: Connection, project: str, *, run: str, state: str, page_size: int, page_token: str
) -> tuple[list[TrainingJob], str]:
    """The project's jobs, newest first; `run` and `state` narrow them where they are given."""
    columns = [column for column in TRAINING_JOBS.c if column.name not in _NOT_SHOWN]
    query = select(*columns).where(TRAINING_JOBS.c.project == project)
    if run:
        query = query.where(TRAINING_JOBS.c.run == run)
    if state:
        latest = (
            select(JOBS.c.state)
            .where(JOBS.c.resource == TRAINING_JOBS.c.name)
            .order_by(JOBS.c.create_time.desc())
            .limit(1)
            .scalar_subquery()
        )
        query = query.where(latest == state)
    rows, token = listing.page(
        connection,
        query,
        order=[TRAINING_JOBS.c.create_time, TRAINING_JOBS.c.name],
        page_size=page_size,
        page_token=page_token,
        descending=True,
    )
    return [TrainingJob(**row._mapping) for row in rows], token


def pinned_base_model(connection: Connection, name: str) -> tuple[str, ObjectReference] | None:
    """Digest and manifest of the base model that the job's first attempt began with."""
    row = connection.execute(
        text("SELECT base_model_digest, base_model_manifest FROM training_jobs WHERE name = :name"),
        {"name": name},
    ).one()
    return (row.base_model_digest, from_column(row.base_model_manifest)) if row.base_model_manifest else None


def pin_base_model(tx: Transaction, name: str, digest: str, manifest: ObjectReference) -> None:
    """Later attempts of this job use the same base model, even if another revision of it is applied
    meanwhile."""
    tx.connection.execute(
        text(
            "UPDATE training_jobs SET base_model_digest = :digest, base_model_manifest = cast(:manifest AS "
            "jsonb)"
            " WHERE name = :name"
        ),
        {"name": name, "digest": digest, "manifest": to_column(manifest)},
    )


def add_checkpoint(tx: Transaction, name: str, step: int, reference: ObjectReference, kept: int) -> list[str]:
    """Remember an uploaded checkpoint, forget all but the newest `kept`, and return the forgotten ones'
    addresses."""
    tx.connection.execute(
        text(
            "INSERT INTO checkpoints (training_job, step, object) VALUES (:name, :step, cast(:object AS "
            "jsonb))"
            " ON CONFLICT (training_job, step) DO UPDATE SET object = excluded.object, create_time = now()"
        ),
        {"name": name, "step": step, "object": to_column(reference)},
    )
    old = text(
        "DELETE FROM checkpoints WHERE training_job = :name AND step NOT IN"
        " (SELECT step FROM checkpoints WHERE training_job = :name ORDER BY step DESC LIMIT :kept)"
        " RETURNING object ->> 'uri'"
    )
    return list(tx.connection.execute(old, {"name": name, "kept": kept}).scalars())


def checkpoint_uris(connection: Connection, prefix: str) -> list[str]:
    """The addresses of remembered checkpoints under a prefix: no sweep may take them."""
    rows = connection.execute(
        text("SELECT object ->> 'uri' FROM checkpoints WHERE starts_with(object ->> 'uri', :prefix)"),
        {"prefix": prefix},
    )
    return [str(uri) for uri in rows.scalars()]


def latest_checkpoint(connection: Connection, name: str) -> ObjectReference | None:
    """The newest checkpoint that was uploaded."""
    row = connection.execute(
        text("SELECT object FROM checkpoints WHERE training_job = :name ORDER BY step DESC LIMIT 1"),
        {"name": name},
    ).one_or_none()
    return None if row is None else from_column(row.object)


def drop_checkpoints_of_finished(tx: Transaction) -> list[str]:
    """Forget the checkpoints that no attempt will need any more, and return their addresses."""
    unneeded = text(
        "DELETE FROM checkpoints c WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.resource = c.training_job"
        " AND j.state IN ('QUEUED', 'RUNNING', 'PAUSED', 'CANCELLING')) RETURNING object ->> 'uri'"
    )
    return list(tx.connection.execute(unneeded).scalars())
