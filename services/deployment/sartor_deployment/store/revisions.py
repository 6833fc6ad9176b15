"""Revisions: their rows, lists, and which of them need an engine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
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
    func,
    or_,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from sartor_deployment.resources import ENGINE_WANTED, IN_ROLLOUT, EndpointSpec, Parity, Revision, State
from sartor_deployment.store.rows import dump, reference_of, update

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
    Column("canary_step", Integer),
    Column("canary_weight", Integer),
    Column("step_time", _TIME),
    Column("approved_by", Text),
    Column("warm_until", _TIME),
    Column("variants", JSONB),
    Column("base_weights", JSONB),
)


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
            "references": dump(revision.references),
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
    if lock:  # always the endpoint first: two who lock both never wait for each other
        connection.execute(
            text("SELECT 1 FROM endpoints WHERE name = :name FOR UPDATE"),
            {"name": name.partition("/revisions/")[0]},
        )
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
    update(tx, "revisions", name, values)


def engine_wanted(connection: Connection) -> list[Revision]:
    """The revisions that should have engines now, oldest first."""
    states = [state.value for state in ENGINE_WANTED]
    query = (
        select(REVISIONS)
        .where(or_(REVISIONS.c.state.in_(states), REVISIONS.c.warm_until > func.now()))
        .order_by(REVISIONS.c.create_time)
    )
    return [_revision(row) for row in connection.execute(query)]


def mapped_weights(connection: Connection) -> list[ObjectReference]:
    """The files that engines map now or should, each once."""
    wanted = engine_wanted(connection)
    files = [each.base_weights or each.weights for each in wanted]
    return list({file.sha256: file for file in files if file is not None}.values())


@dataclass(frozen=True, slots=True)
class Served:
    """What a gateway must know of a revision with engines."""

    name: str
    endpoint: str
    state: State
    slots: int
    queue: int
    canary_weight: int
    shadow_share: float


def served(connection: Connection) -> list[Served]:
    """The revisions that have engines or should have."""
    return [
        Served(
            each.name,
            each.endpoint,
            each.state,
            each.spec.engine.slots,
            each.spec.engine.queue,
            each.canary_weight,
            each.spec.rollout.shadow.share,
        )
        for each in engine_wanted(connection)
    ]


def on_their_way(connection: Connection) -> list[str]:
    """Canaries, and revisions that went live while the one before them is still warm."""
    rows = connection.execute(
        text(
            "SELECT name FROM revisions WHERE state IN ('SHADOW', 'CANARY') UNION ALL"
            " SELECT e.live_revision FROM endpoints e JOIN revisions r ON r.name = e.previous_revision"
            " WHERE r.warm_until > now() AND e.live_revision <> '' ORDER BY 1"
        )
    )
    return list(rows.scalars())


def candidates(connection: Connection, endpoint: str) -> list[str]:
    """Revisions of an endpoint that are on their way to users, the newest first."""
    query = text(
        "SELECT name FROM revisions WHERE endpoint = :endpoint AND live_time IS NULL AND state IN"
        " ('BUILDING', 'STARTING', 'CHECKING', 'SHADOW', 'CANARY', 'AWAITING_APPROVAL') ORDER BY number DESC"
    )
    return list(connection.execute(query, {"endpoint": endpoint}).scalars())


def revision_of_version(connection: Connection, endpoint: str, version: str) -> str:
    """An endpoint's newest revision of a model version, or ""."""
    query = text(
        "SELECT name FROM revisions WHERE endpoint = :endpoint AND model_version = :version"
        " ORDER BY number DESC LIMIT 1"
    )
    found = connection.execute(query, {"endpoint": endpoint, "version": version}).one_or_none()
    return str(found.name) if found is not None else ""


def canary_of(connection: Connection, endpoint: str) -> Revision | None:
    """The revision in the shadow, in a canary, or that waits for a person; locked."""
    query = (
        select(REVISIONS)
        .where(
            REVISIONS.c.endpoint == endpoint,
            REVISIONS.c.state.in_([each.value for each in IN_ROLLOUT]),
        )
        .order_by(REVISIONS.c.number.desc())
        .limit(1)
        .with_for_update()
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else _revision(row)


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
        weights=reference_of(row.weights),
        parity=None if row.parity is None else Parity(**row.parity),
        error_reason=row.error_reason,
        error_message=row.error_message,
        run=row.run,
        generation=row.generation,
        created_by=row.created_by,
        create_time=row.create_time,
        live_time=row.live_time,
        canary_step=row.canary_step,
        canary_weight=row.canary_weight,
        step_time=row.step_time,
        approved_by=row.approved_by,
        warm_until=row.warm_until,
        variants=tuple(row.variants),
        base_weights=reference_of(row.base_weights),
    )
