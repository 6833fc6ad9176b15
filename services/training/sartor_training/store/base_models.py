"""Prepared base models, and the curations that training knows from events."""

from __future__ import annotations

from collections.abc import Sequence

from sartor_platform import orders
from sartor_platform.transaction import Transaction
from sqlalchemy import Connection, text

from sartor_training.resources import Curation, ReadyBaseModel
from sartor_training.store.tables import from_column, to_column

# Our own column names, in SQL that is put together of nothing else.
_COLUMNS = "name, revision, digest, manifest, architecture, parameter_count, context_length, license"


def put_ready(tx: Transaction, model: ReadyBaseModel) -> None:
    """Write what a preparation made; a later one replaces it."""
    tx.connection.execute(
        text(
            f"INSERT INTO base_models ({_COLUMNS})"  # noqa: S608
            " VALUES (:name, :revision, :digest, cast(:manifest AS "
            f"jsonb),"
            " :architecture, :parameter_count, :context_length, :license) ON CONFLICT (name) DO UPDATE SET"
            " revision = excluded.revision, digest = excluded.digest, manifest = excluded.manifest,"
            " architecture = excluded.architecture, parameter_count = excluded.parameter_count,"
            " context_length = excluded.context_length, license = excluded.license, ready_time = now()"
        ),
        {
            "name": model.name,
            "revision": model.revision,
            "digest": model.digest,
            "manifest": to_column(model.manifest),
            "architecture": model.architecture,
            "parameter_count": model.parameter_count,
            "context_length": model.context_length,
            "license": model.license,
        },
    )


def find_ready(connection: Connection, names: Sequence[str]) -> dict[str, ReadyBaseModel]:
    """Those of these base models that were prepared, by name."""
    rows = connection.execute(
        text(f"SELECT {_COLUMNS} FROM base_models WHERE name = ANY(:names)"),  # noqa: S608
        {"names": list(names)},
    )
    return {
        row.name: ReadyBaseModel(**{**dict(row._mapping), "manifest": from_column(row.manifest)})
        for row in rows
    }


def known(connection: Connection, project: str) -> list[str]:
    """The names of the project's base models, prepared or not."""
    return [order.name for order in orders.all_orders(connection, f"projects/{project}/baseModels/")]


def put_curation(tx: Transaction, curation: Curation) -> None:
    """Remember a curation; seen again it changes nothing."""
    tx.connection.execute(
        text(
            "INSERT INTO curations (name, policy, standing_order, snapshot, manifest, run) VALUES (:name, "
            ":policy,"
            " :standing_order, :snapshot, cast(:manifest AS jsonb), :run) ON CONFLICT (name) DO NOTHING"
        ),
        {
            "name": curation.name,
            "policy": curation.policy,
            "standing_order": curation.standing_order,
            "snapshot": curation.snapshot,
            "manifest": to_column(curation.manifest),
            "run": curation.run,
        },
    )


def find_curation(connection: Connection, name: str) -> Curation | None:
    """The curation, if it succeeded."""
    row = connection.execute(
        text(
            "SELECT name, policy, standing_order, snapshot, manifest, run FROM curations WHERE name = :name"
        ),
        {"name": name},
    ).one_or_none()
    return None if row is None else Curation(**{**dict(row._mapping), "manifest": from_column(row.manifest)})
