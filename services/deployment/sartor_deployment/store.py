"""Deployment's tables and queries, in one place."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sartor_datasets.manifests import ObjectReference
from sartor_platform import listing
from sartor_platform.errors import NotFound
from sartor_platform.transaction import Transaction
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    Integer,
    MetaData,
    Table,
    Text,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from sartor_deployment.resources import (
    ENGINE_WANTED,
    Endpoint,
    EndpointSpec,
    ModelVersion,
    Parity,
    Revision,
    State,
)

_TIME = DateTime(timezone=True)
REVISIONS = Table(
    "revisions",
    MetaData(),
    Column("name", Text),
    Column("endpoint", Text),
    Column("project", Text),
    Column("number", Integer),
    Column("model_version", Text),
    Column("state", Text),
    Column("order_revision", Integer),
    Column("spec", JSONB),
    Column("by_hand", Boolean),
    Column("reference_outputs", JSONB),
    Column("weights", JSONB),
    Column("parity", JSONB),
    Column("error_reason", Text),
    Column("error_message", Text),
    Column("run", Text),
    Column("generation", BigInteger),
    Column("created_by", Text),
    Column("create_time", _TIME),
    Column("live_time", _TIME),
)
ENGINE_FRESH_SECONDS = 15.0
"""An engine whose agent has not been heard of for longer is taken to be gone."""


@dataclass(frozen=True, slots=True)
class EngineRow:
    """An engine as its agent sees it."""

    revision: str
    agent: str
    state: str
    host: str
    port: int
    pid: int
    restarts: int
    message: str


# --- what other services said ---


def put_base_model(tx: Transaction, name: str, digest: str, manifest: ObjectReference) -> None:
    """Remember a prepared base model."""
    tx.connection.execute(
        text(
            "INSERT INTO base_models (name, digest, manifest)"
            " VALUES (:name, :digest, cast(:manifest AS jsonb))"
            " ON CONFLICT (name) DO UPDATE SET digest = excluded.digest, manifest = excluded.manifest,"
            " update_time = now()"
        ),
        {"name": name, "digest": digest, "manifest": _dump(manifest)},
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
        {"name": name, "model": model, "manifest": _dump(manifest), "base": _dump(base_model_manifest)},
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
            "references": _dump(references),
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


# --- endpoints ---


def put_endpoint(tx: Transaction, name: str, project: str, model: str) -> None:
    """Make the endpoint's row where it does not exist, and remember whose versions it serves."""
    tx.connection.execute(
        text(
            "INSERT INTO endpoints (name, project, model) VALUES (:name, :project, :model)"
            " ON CONFLICT (name) DO UPDATE SET model = excluded.model"
        ),
        {"name": name, "project": project, "model": model},
    )


def endpoints_of(connection: Connection, model: str) -> list[str]:
    """The endpoints that serve a model."""
    query = text("SELECT name FROM endpoints WHERE model = :model ORDER BY name")
    return list(connection.execute(query, {"model": model}).scalars())


def endpoint(connection: Connection, name: str, *, lock: bool = False) -> Endpoint:
    """The endpoint as it stands; locked until the end of the transaction where asked for.

    Raises:
        NotFound: ENDPOINT_NOT_FOUND.
    """
    query = (
        "SELECT name, live_revision, previous_revision, rollback_to, next_number FROM endpoints"
        " WHERE name = :name"
    )
    row = connection.execute(text(query + " FOR UPDATE" if lock else query), {"name": name}).one_or_none()
    if row is None:
        raise NotFound(
            f"{name} does not exist; make it with ApplyEndpoint",
            reason="ENDPOINT_NOT_FOUND",
            metadata={"name": name},
        )
    return Endpoint(*row)


def update_endpoint(tx: Transaction, name: str, **values: Any) -> None:
    """Set columns of an endpoint, and wake its watchers."""
    _update(tx, "endpoints", name, values)


# --- revisions ---


def insert_revision(tx: Transaction, revision: Revision) -> bool:
    """Add it; False where the standing order made one for this version already."""
    inserted = tx.connection.execute(
        text(
            "INSERT INTO revisions (name, endpoint, project, number, model_version, state, order_revision,"
            " spec, by_hand, reference_outputs, run, generation, created_by)"
            " VALUES (:name, :endpoint, :project, :number, :model_version, :state, :order_revision,"
            " cast(:spec AS jsonb), :by_hand, cast(:references AS jsonb), :run, :generation, :created_by)"
            " ON CONFLICT (endpoint, model_version) WHERE NOT by_hand DO NOTHING"
        ),
        {
            "name": revision.name,
            "endpoint": revision.endpoint,
            "project": revision.project,
            "number": revision.number,
            "model_version": revision.model_version,
            "state": revision.state.value,
            "order_revision": revision.order_revision,
            "spec": json.dumps(revision.spec.to_json()),
            "by_hand": revision.by_hand,
            "references": _dump(revision.references),
            "run": revision.run,
            "generation": revision.generation,
            "created_by": revision.created_by,
        },
    ).rowcount
    return bool(inserted)


def revision(connection: Connection, name: str, *, lock: bool = False) -> Revision:
    """The revision; locked until the end of the transaction where asked for.

    Raises:
        NotFound: REVISION_NOT_FOUND.
    """
    query = select(REVISIONS).where(REVISIONS.c.name == name)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise NotFound(f"{name} does not exist", reason="REVISION_NOT_FOUND", metadata={"name": name})
    return _revision(row)


def list_revisions(
    connection: Connection, where: Mapping[str, str], *, page_size: int, page_token: str
) -> tuple[list[Revision], str]:
    """Revisions with these column values, newest first."""
    query = select(REVISIONS)
    for column, value in where.items():
        query = query.where(REVISIONS.c[column] == value)
    rows, token = listing.page(
        connection,
        query,
        order=[REVISIONS.c.create_time, REVISIONS.c.name],
        page_size=page_size,
        page_token=page_token,
        descending=True,
    )
    return [_revision(row) for row in rows], token


def proven_before(connection: Connection, endpoint: str, number: int) -> str:
    """The newest earlier revision that was live and gave way to a later one, or ""."""
    return str(
        connection.execute(
            text(
                "SELECT name FROM revisions WHERE endpoint = :endpoint AND number < :number"
                " AND state = 'SUPERSEDED' ORDER BY number DESC LIMIT 1"
            ),
            {"endpoint": endpoint, "number": number},
        ).scalar_one_or_none()
        or ""
    )


def update_revision(tx: Transaction, name: str, **values: Any) -> None:
    """Set columns of a revision, and wake its watchers."""
    _update(tx, "revisions", name, values)


def engine_wanted(connection: Connection) -> list[Revision]:
    """The revisions that should have an engine now, oldest first."""
    states = [state.value for state in ENGINE_WANTED]
    query = select(REVISIONS).where(REVISIONS.c.state.in_(states)).order_by(REVISIONS.c.create_time)
    return [_revision(row) for row in connection.execute(query)]


# --- engines ---


def put_engine(tx: Transaction, row: EngineRow) -> None:
    """Write what an agent sees of one of its engines; `since_time` moves when the state does."""
    tx.connection.execute(
        text(
            "INSERT INTO engines (revision, agent, state, host, port, pid, restarts, message)"
            " VALUES (:revision, :agent, :state, :host, :port, :pid, :restarts, :message)"
            " ON CONFLICT (revision, agent) DO UPDATE SET state = excluded.state, host = excluded.host,"
            " port = excluded.port, pid = excluded.pid, restarts = excluded.restarts,"
            " message = excluded.message, since_time = CASE WHEN engines.state = excluded.state"
            " AND engines.pid = excluded.pid THEN engines.since_time ELSE now() END, heartbeat_time = now()"
        ),
        asdict(row),
    )
    tx.notify(row.revision)


def heartbeat(tx: Transaction, agent: str) -> None:
    """Say that an agent's engines are still looked after."""
    tx.connection.execute(
        text("UPDATE engines SET heartbeat_time = now() WHERE agent = :agent"), {"agent": agent}
    )


def remove_engines(tx: Transaction, agent: str, revision: str | None = None, pid: int | None = None) -> None:
    """Forget an agent's engine of a revision (where it still is this process), or all of its engines."""
    removed = tx.connection.execute(
        text(
            "DELETE FROM engines WHERE agent = :agent AND revision = coalesce(:revision, revision)"
            " AND pid = coalesce(cast(:pid AS integer), pid) RETURNING revision"
        ),
        {"agent": agent, "revision": revision, "pid": pid},
    ).scalars()
    for name in removed.all():
        tx.notify(name)


def ready_engines(connection: Connection, revisions: Sequence[str] | None = None) -> list[EngineRow]:
    """The engines that answer now, of these revisions or of all."""
    rows = connection.execute(
        text(
            "SELECT revision, agent, state, host, port, pid, restarts, message FROM engines"
            " WHERE state = 'READY' AND heartbeat_time > now() - make_interval(secs => :fresh)"
            " AND (cast(:revisions AS text[]) IS NULL OR revision = ANY(:revisions)) ORDER BY revision, agent"
        ),
        {"fresh": ENGINE_FRESH_SECONDS, "revisions": None if revisions is None else list(revisions)},
    )
    return [EngineRow(*row) for row in rows]


def live_revisions(connection: Connection) -> dict[str, str]:
    """The live revision of every endpoint, "" where there is none yet."""
    rows = connection.execute(text("SELECT name, live_revision FROM endpoints ORDER BY name"))
    return {row.name: row.live_revision for row in rows}


# --- rows to values ---


def _update(tx: Transaction, table: str, name: str, values: Mapping[str, Any]) -> None:
    plain = {
        key: json.dumps(value)
        if isinstance(value, dict)
        else value.value
        if isinstance(value, State)
        else value
        for key, value in values.items()
    }
    sets = ", ".join(
        f"{key} = cast(:{key} AS jsonb)" if isinstance(values[key], dict) else f"{key} = :{key}"
        for key in plain
    )
    # The table and the columns are written in this package, never taken from outside.
    tx.connection.execute(text(f"UPDATE {table} SET {sets} WHERE name = :name"), {**plain, "name": name})  # noqa: S608
    tx.notify(name)


def _dump(reference: ObjectReference) -> str:
    return json.dumps(asdict(reference))


def _reference(value: Mapping[str, Any] | None) -> ObjectReference | None:
    return None if value is None else ObjectReference(**value)


def _model_version(row: Any) -> ModelVersion:
    return ModelVersion(
        row.name,
        _reference(row.manifest),
        _reference(row.base_model_manifest),
        _reference(row.reference_outputs),
        row.run,
        row.generation,
    )


def _revision(row: Any) -> Revision:
    return Revision(
        name=row.name,
        endpoint=row.endpoint,
        project=row.project,
        number=row.number,
        model_version=row.model_version,
        state=State(row.state),
        order_revision=row.order_revision,
        spec=EndpointSpec.from_json(row.spec),
        by_hand=row.by_hand,
        references=ObjectReference(**row.reference_outputs),
        weights=_reference(row.weights),
        parity=None if row.parity is None else Parity(**row.parity),
        error_reason=row.error_reason,
        error_message=row.error_message,
        run=row.run,
        generation=row.generation,
        created_by=row.created_by,
        create_time=row.create_time,
        live_time=row.live_time,
    )
