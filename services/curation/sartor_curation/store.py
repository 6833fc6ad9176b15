"""The tables of curation and every query on them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from sartor_datasets.manifests import ObjectReference
from sartor_platform import listing
from sartor_platform.transaction import Transaction
from sqlalchemy import (
    BigInteger,
    Connection,
    DateTime,
    Integer,
    Select,
    String,
    column,
    exists,
    select,
    table,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from sartor_curation.resources import BaseModel, Curation, DroppedRecord, Result, Snapshot

_CURATIONS = table(
    "curations",
    column("name", String),
    column("project", String),
    column("policy", String),
    column("policy_revision", Integer),
    column("standing_order", String),
    column("snapshot", String),
    column("run", String),
    column("generation", BigInteger),
    column("create_time", DateTime(timezone=True)),
    column("created_by", String),
    column("result", JSONB),
)
_JOBS = table("jobs", column("resource", String), column("state", String))
_DROPPED = table(
    "dropped_records",
    column("curation", String),
    column("number", Integer),
    *(column(name, String) for name in DroppedRecord.__dataclass_fields__),
)
_ROWS_AT_ONCE = 5000


def keep_snapshot(tx: Transaction, snapshot: Snapshot) -> None:
    """Remember a snapshot that ingestion told of."""
    tx.connection.execute(
        text(
            "INSERT INTO snapshots (name, dataset, sequence, manifest, record_count)"
            " VALUES (:name, :dataset, :sequence, cast(:manifest AS jsonb), :record_count)"
            " ON CONFLICT (name) DO NOTHING"
        ),
        {**asdict(snapshot), "manifest": _json(snapshot.manifest)},
    )


def find_snapshot(connection: Connection, name: str) -> Snapshot | None:
    """The snapshot of this name, if curation heard of it."""
    row = connection.execute(text(f"{_SNAPSHOT} WHERE name = :name"), {"name": name}).one_or_none()
    return None if row is None else _snapshot(row)


def newest_snapshot(connection: Connection, dataset: str) -> Snapshot | None:
    """The snapshot of a dataset with the greatest sequence."""
    query = f"{_SNAPSHOT} WHERE dataset = :dataset ORDER BY sequence DESC LIMIT 1"
    row = connection.execute(text(query), {"dataset": dataset}).one_or_none()
    return None if row is None else _snapshot(row)


def keep_base_model(tx: Transaction, model: BaseModel) -> None:
    """Remember a base model that training made ready; a newer one of the name replaces it."""
    tx.connection.execute(
        text(
            "INSERT INTO base_models (name, digest, manifest)"
            " VALUES (:name, :digest, cast(:manifest AS jsonb))"
            " ON CONFLICT (name) DO UPDATE SET digest = excluded.digest, manifest = excluded.manifest"
        ),
        {"name": model.name, "digest": model.digest, "manifest": _json(model.manifest)},
    )


def keep_suite(tx: Transaction, name: str, objects: Sequence[ObjectReference]) -> None:
    """Remember where a suite's items are; a newer revision of it replaces them."""
    tx.connection.execute(
        text(
            "INSERT INTO suites (name, objects) VALUES (:name, cast(:objects AS jsonb))"
            " ON CONFLICT (name) DO UPDATE SET objects = excluded.objects"
        ),
        {"name": name, "objects": json.dumps([asdict(one) for one in objects])},
    )


def suites_of(connection: Connection, project: str) -> dict[str, list[ObjectReference]]:
    """The suites of a project, with where their items are."""
    query = text("SELECT name, objects FROM suites WHERE starts_with(name, :prefix) ORDER BY name")
    rows = connection.execute(query, {"prefix": f"projects/{project}/suites/"})
    return {row.name: [ObjectReference(**one) for one in row.objects] for row in rows}


def find_base_model(connection: Connection, name: str) -> BaseModel | None:
    """The base model of this name, if it is ready."""
    query = text("SELECT name, digest, manifest FROM base_models WHERE name = :name")
    row = connection.execute(query, {"name": name}).one_or_none()
    if row is None:
        return None
    return BaseModel(name=row.name, digest=row.digest, manifest=ObjectReference(**row.manifest))


def add_curation(tx: Transaction, curation: Curation, project: str) -> bool:
    """Write a new curation; False where this revision's order has curated the snapshot already."""
    added = tx.connection.execute(
        text(
            "INSERT INTO curations (name, project, policy, policy_revision, standing_order, snapshot, run,"
            " generation, create_time, created_by) VALUES (:name, :project, :policy, :policy_revision,"
            " :standing_order, :snapshot, :run, :generation, :create_time, :created_by)"
            " ON CONFLICT (policy, policy_revision, snapshot) WHERE standing_order <> '' DO NOTHING"
        ),
        {**asdict(curation), "project": project},
    )
    return bool(added.rowcount)


def find_curation(connection: Connection, name: str) -> Curation | None:
    """The curation of this name."""
    row = connection.execute(select(_CURATIONS).where(_CURATIONS.c.name == name)).one_or_none()
    return None if row is None else _curation(row)


def list_curations(
    connection: Connection, project: str, *, run: str, state: str, page_size: int, page_token: str
) -> tuple[list[Curation], str]:
    """The curations of a project, newest first; an empty run or state is any."""
    query: Select[Any] = select(_CURATIONS).where(_CURATIONS.c.project == project)
    if run:
        query = query.where(_CURATIONS.c.run == run)
    if state:
        query = query.where(exists().where(_JOBS.c.resource == _CURATIONS.c.name, _JOBS.c.state == state))
    order = [_CURATIONS.c.create_time, _CURATIONS.c.name]
    rows, token = listing.page(
        connection, query, order=order, page_size=page_size, page_token=page_token, descending=True
    )
    return [_curation(row) for row in rows], token


def finish_curation(tx: Transaction, name: str, result: Result) -> None:
    """Write what a curation has to show."""
    tx.connection.execute(
        text("UPDATE curations SET result = cast(:result AS jsonb) WHERE name = :name"),
        {"name": name, "result": json.dumps(asdict(result))},
    )


def add_dropped(tx: Transaction, curation: str, dropped: Iterator[DroppedRecord]) -> None:
    """Write the list of dropped records, in its order."""
    names = list(DroppedRecord.__dataclass_fields__)
    arrays = ", ".join(f"cast(:{name} AS text[])" for name in names)
    insert = text(
        f"INSERT INTO dropped_records (curation, number, {', '.join(names)})"  # noqa: S608 - our own names
        f" SELECT :curation, :start + n, {', '.join(names)}"
        f" FROM unnest({arrays}) WITH ORDINALITY AS rows ({', '.join(names)}, n)"
    )
    start = 0
    for chunk in _chunks(dropped):
        columns = {name: [_plain(getattr(one, name)) for one in chunk] for name in names}
        tx.connection.execute(insert, {**columns, "curation": curation, "start": start})
        start += len(chunk)


def list_dropped(
    connection: Connection, curation: str, *, reason: str, page_size: int, page_token: str
) -> tuple[list[DroppedRecord], str]:
    """The dropped records of a curation in the snapshot's order; an empty reason is any."""
    query: Select[Any] = select(_DROPPED).where(_DROPPED.c.curation == curation)
    if reason:
        query = query.where(_DROPPED.c.reason == reason)
    rows, token = listing.page(
        connection, query, order=[_DROPPED.c.number], page_size=page_size, page_token=page_token
    )
    names = DroppedRecord.__dataclass_fields__
    return [DroppedRecord(**{name: getattr(row, name) for name in names}) for row in rows], token


def read_splits(connection: Connection, dataset: str) -> Iterator[tuple[str, str, str]]:
    """(record key, cluster, split) of every record of a dataset that ever got a split."""
    query = text("SELECT record_key, cluster, split FROM splits WHERE dataset = :dataset")
    rows = connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(query, {"dataset": dataset})
    for row in rows:
        yield row.record_key, row.cluster, row.split


def remember_splits(
    tx: Transaction, dataset: str, curation: str, decided: Iterator[tuple[str, str, str, str]]
) -> bool:
    """Write (record key, cluster, split, split before or ""); False where another curation did otherwise."""
    for chunk in _chunks(decided):
        keys, clusters, splits, before = ([one[i] for one in chunk] for i in range(4))
        values = {"dataset": dataset, "curation": curation}
        columns = {"keys": keys, "clusters": clusters, "splits": splits, "before": before}
        tx.connection.execute(_REMEMBER, {**values, **columns})
        if tx.connection.execute(_DIFFERENT, {**values, "keys": keys, "splits": splits}).scalar_one():
            return False
    return True


def add_finished_shard(tx: Transaction, curation: str, number: int, shard: ObjectReference) -> None:
    """Remember a shard that was uploaded, while the curation has not ended."""
    tx.connection.execute(
        text(
            "INSERT INTO finished_shards (curation, number, object)"
            " SELECT :curation, :number, cast(:object AS jsonb) FROM jobs"
            " WHERE resource = :curation AND end_time IS NULL"
            " ON CONFLICT (curation, number) DO UPDATE SET object = excluded.object"
        ),
        {"curation": curation, "number": number, "object": _json(shard)},
    )


def finished_shards(connection: Connection, curation: str) -> dict[int, ObjectReference]:
    """The shards that earlier attempts at a curation have finished, by their numbers."""
    query = text("SELECT number, object FROM finished_shards WHERE curation = :curation ORDER BY number")
    rows = connection.execute(query, {"curation": curation})
    return {row.number: ObjectReference(**row.object) for row in rows}


def forget_finished_shards(tx: Transaction, curation: str) -> None:
    """The curation has ended: nobody goes on from them, and the sweep may take the objects."""
    tx.connection.execute(
        text("DELETE FROM finished_shards WHERE curation = :curation"), {"curation": curation}
    )


_SNAPSHOT = "SELECT name, dataset, sequence, manifest, record_count FROM snapshots"
_REMEMBER = text(
    "WITH decided AS (SELECT * FROM unnest(cast(:keys AS text[]), cast(:clusters AS text[]),"
    " cast(:splits AS text[]), cast(:before AS text[])) AS rows (record_key, cluster, split, before)),"
    " moved AS (UPDATE splits SET split = d.split, cluster = d.cluster, curation = :curation FROM decided d"
    " WHERE splits.dataset = :dataset AND splits.record_key = d.record_key AND splits.split = d.before)"
    " INSERT INTO splits (dataset, record_key, cluster, split, curation)"
    " SELECT :dataset, record_key, cluster, split, :curation FROM decided WHERE before = ''"
    " ORDER BY record_key ON CONFLICT (dataset, record_key) DO NOTHING"
)
_DIFFERENT = text(
    "SELECT count(*) FROM unnest(cast(:keys AS text[]), cast(:splits AS text[])) AS d (record_key, split)"
    " JOIN splits s ON s.dataset = :dataset AND s.record_key = d.record_key WHERE s.split <> d.split"
)


def _chunks(rows: Iterator[Any]) -> Iterator[list[Any]]:
    chunk: list[Any] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _ROWS_AT_ONCE:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _plain(value: str) -> str:
    return value.replace("\0", "")  # PostgreSQL's text has no NUL


def _json(reference: ObjectReference) -> str:
    return json.dumps(asdict(reference))


def _snapshot(row: Any) -> Snapshot:
    return Snapshot(
        name=row.name,
        dataset=row.dataset,
        sequence=row.sequence,
        manifest=ObjectReference(**row.manifest),
        record_count=row.record_count,
    )


def _curation(row: Any) -> Curation:
    fields: Sequence[str] = [name for name in Curation.__dataclass_fields__ if name != "result"]
    return Curation(**{name: getattr(row, name) for name in fields}, result=_result(row.result))


def _result(stored: dict[str, Any] | None) -> Result | None:
    if stored is None:
        return None
    objects = {
        name: ObjectReference(**stored[name]) for name in ("manifest", "report", "report_page", "dropped")
    }
    if stored.get("card"):
        objects["card"] = ObjectReference(**stored["card"])
    return Result(**{**stored, **objects})
