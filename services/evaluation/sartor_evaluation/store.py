"""Tables and queries of evaluation: one place."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sartor_datasets.manifests import ObjectReference
from sartor_platform import listing
from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    Float,
    Integer,
    MetaData,
    Row,
    Table,
    Text,
    cast,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from sartor_evaluation.resources import BaseModel, Curation, Evaluation, Inputs, ModelVersion
from sartor_evaluation.specs import EvaluationSpec, object_json

_METADATA = MetaData()
_MOST_KNOWN = 10
_MOST_FINISHED = 500

EVALUATIONS = Table(
    "evaluations",
    _METADATA,
    Column("name", Text, primary_key=True),
    Column("project", Text),
    Column("gate", Text),
    Column("gate_revision", Integer),
    Column("model_version", Text),
    Column("spec", JSONB),
    Column("inputs", JSONB),
    Column("findings", JSONB),
    Column("objects", JSONB),
    Column("run", Text),
    Column("generation", Integer),
    Column("create_time", DateTime(timezone=True)),
    Column("created_by", Text),
)
ITEM_RESULTS = Table(
    "item_results",
    _METADATA,
    Column("evaluation", Text, primary_key=True),
    Column("rank", Integer, primary_key=True),
    Column("suite", Text),
    Column("candidate", Text),
    Column("item_id", Text),
    Column("document", JSONB),
)
FINISHED_ITEMS = Table(
    "finished_items",
    _METADATA,
    Column("number", Integer, primary_key=True),
    Column("evaluation", Text),
    Column("document", JSONB),
)
_JOBS = Table("jobs", _METADATA, Column("resource", Text), Column("state", Text))


def add_evaluation(connection: Connection, evaluation: Evaluation) -> None:
    """A new row; findings and objects come with `finish_evaluation`."""
    connection.execute(
        EVALUATIONS.insert(),
        {
            "name": evaluation.name,
            "project": evaluation.project,
            "gate": evaluation.gate,
            "gate_revision": evaluation.gate_revision,
            "model_version": evaluation.model_version,
            "spec": evaluation.spec.to_json(),
            "inputs": evaluation.inputs.to_json(),
            "findings": {},
            "objects": {},
            "run": evaluation.run,
            "generation": evaluation.generation,
            "create_time": evaluation.create_time,
            "created_by": evaluation.created_by,
        },
    )


def add_finished(connection: Connection, evaluation: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Items that finished, for those who watch."""
    if rows:
        connection.execute(
            FINISHED_ITEMS.insert(), [{"evaluation": evaluation, "document": dict(row)} for row in rows]
        )


def finished_after(connection: Connection, evaluation: str, number: int) -> list[tuple[int, dict[str, Any]]]:
    """Items that finished after the one with this number, in their order."""
    table = FINISHED_ITEMS.c
    wanted = (table.evaluation == evaluation) & (table.number > number)
    found = connection.execute(
        select(table.number, table.document).where(wanted).order_by(table.number).limit(_MOST_FINISHED)
    )
    return [(row[0], row[1]) for row in found]


def forget_finished(connection: Connection, before: datetime) -> None:
    """Of evaluations made before a time: nobody watches them any more, and their results have all items."""
    old = select(EVALUATIONS.c.name).where(EVALUATIONS.c.create_time < before)
    connection.execute(FINISHED_ITEMS.delete().where(FINISHED_ITEMS.c.evaluation.in_(old)))


def finish_evaluation(
    connection: Connection,
    name: str,
    findings: Mapping[str, Any],
    objects: Mapping[str, ObjectReference],
    item_results: Iterable[tuple[str, str, str, str]],
) -> None:
    """Write what was found.

    Args:
        item_results: (suite, candidate, item_id, JSON document), the worst first.
    """
    files = {key: object_json(reference) for key, reference in objects.items()}
    connection.execute(
        EVALUATIONS.update().where(EVALUATIONS.c.name == name).values(findings=dict(findings), objects=files)
    )
    rows = [
        {
            "evaluation": name,
            "rank": rank,
            "suite": suite,
            "candidate": candidate,
            "item_id": item_id,
            "document": document,
        }
        for rank, (suite, candidate, item_id, document) in enumerate(item_results)
    ]
    if rows:
        insert = text(
            "INSERT INTO item_results (evaluation, rank, suite, candidate, item_id, document)"
            " VALUES (:evaluation, :rank, :suite, :candidate, :item_id, cast(:document AS jsonb))"
        )
        connection.execute(insert, rows)


def find_evaluation(connection: Connection, name: str) -> Evaluation | None:
    """The evaluation of this name."""
    row = connection.execute(select(EVALUATIONS).where(EVALUATIONS.c.name == name)).one_or_none()
    return None if row is None else _evaluation(row)


def list_evaluations(
    connection: Connection, project: str, wanted: Mapping[str, str], page_size: int, page_token: str
) -> tuple[list[Evaluation], str]:
    """The evaluations of a project, newest first; `wanted` may have run, gate and state."""
    query = select(EVALUATIONS).where(EVALUATIONS.c.project == project)
    for field in ("run", "gate"):
        if field in wanted:
            query = query.where(EVALUATIONS.c[field] == wanted[field])
    if "state" in wanted:
        of_state = select(_JOBS.c.resource).where(_JOBS.c.state == wanted["state"])
        query = query.where(EVALUATIONS.c.name.in_(of_state))
    rows, token = listing.page(
        connection,
        query,
        order=[EVALUATIONS.c.create_time, EVALUATIONS.c.name],
        page_size=page_size,
        page_token=page_token,
        descending=True,
    )
    return [_evaluation(row) for row in rows], token


def list_item_results(
    connection: Connection,
    evaluation: str,
    wanted: Mapping[str, str],
    page_size: int,
    page_token: str,
    *,
    disagreement: bool = False,
) -> tuple[list[Mapping[str, Any]], str]:
    """The documents of an evaluation's item results: the worst first, or those where candidates differ most.

    Args:
        wanted: values of columns, and of slices as "slices.language".
    """
    score = cast(ITEM_RESULTS.c.document["score"].astext, Float)
    item = (ITEM_RESULTS.c.suite, ITEM_RESULTS.c.item_id)
    spread = func.min(score).over(partition_by=item) - func.max(score).over(partition_by=item)
    every = (
        select(ITEM_RESULTS, spread.label("spread")).where(ITEM_RESULTS.c.evaluation == evaluation).subquery()
    )
    query = select(every)
    for field, value in wanted.items():
        if field.startswith("slices."):
            query = query.where(every.c.document["slices"][field.removeprefix("slices.")].astext == value)
        else:
            query = query.where(every.c[field] == value)
    order = [every.c.spread, every.c.rank] if disagreement else [every.c.rank]
    rows, token = listing.page(connection, query, order=order, page_size=page_size, page_token=page_token)
    return [row.document for row in rows], token


def item_results_of(connection: Connection, evaluation: str, candidate: str) -> list[Mapping[str, Any]]:
    """All documents that are kept of one candidate."""
    query = select(ITEM_RESULTS.c.document).where(
        ITEM_RESULTS.c.evaluation == evaluation, ITEM_RESULTS.c.candidate == candidate
    )
    return list(connection.execute(query).scalars())


def newest_with_findings(connection: Connection, project: str, most: int) -> list[Evaluation]:
    """The newest evaluations of a project that found something."""
    query = (
        select(EVALUATIONS)
        .where(EVALUATIONS.c.project == project, EVALUATIONS.c.findings != {})
        .order_by(EVALUATIONS.c.create_time.desc(), EVALUATIONS.c.name.desc())
        .limit(most)
    )
    return [_evaluation(row) for row in connection.execute(query)]


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


def beat(connection: Connection, target: str, token: str) -> None:
    """A worker's runners listen at `target` now; those that were silent for long are forgotten."""
    connection.execute(
        text(
            "INSERT INTO runners VALUES (:target, :token, now())"
            " ON CONFLICT (target) DO UPDATE SET token = excluded.token, heartbeat = now()"
        ),
        {"target": target, "token": token},
    )
    connection.execute(text("DELETE FROM runners WHERE heartbeat < now() - interval '1 hour'"))


def living_runners(connection: Connection) -> list[tuple[str, str]]:
    """(target, token) of the workers heard of lately."""
    query = "SELECT target, token FROM runners WHERE heartbeat > now() - interval '30 seconds'"
    return [(row.target, row.token) for row in connection.execute(text(query))]


def _one(connection: Connection, query: str, name: str) -> Row[Any] | None:
    return connection.execute(text(query), {"name": name}).one_or_none()


def _evaluation(row: Row[Any]) -> Evaluation:
    return Evaluation(
        name=row.name,
        project=row.project,
        gate=row.gate,
        gate_revision=row.gate_revision,
        model_version=row.model_version,
        spec=EvaluationSpec.from_json(row.spec),
        inputs=Inputs.from_json(row.inputs),
        findings=row.findings,
        objects={key: ObjectReference(**value) for key, value in row.objects.items()},
        run=row.run,
        generation=row.generation,
        create_time=row.create_time,
        created_by=row.created_by,
    )


def _dump(reference: ObjectReference) -> str:
    return json.dumps(object_json(reference))
