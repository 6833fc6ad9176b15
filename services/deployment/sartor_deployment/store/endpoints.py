"""Endpoints as they stand now; what is ordered of them is in the platform's orders."""

from __future__ import annotations

from typing import Any

from sartor_platform.errors import NotFound
from sartor_platform.transaction import Transaction
from sqlalchemy import Connection, text

from sartor_deployment.resources import Endpoint
from sartor_deployment.store.rows import update


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
    update(tx, "endpoints", name, values)


def live_revisions(connection: Connection) -> dict[str, str]:
    """The live revision of every endpoint, "" where there is none yet."""
    rows = connection.execute(text("SELECT name, live_revision FROM endpoints ORDER BY name"))
    return {row.name: row.live_revision for row in rows}


def sample_shares(connection: Connection) -> dict[str, float]:
    """endpoint → share of requests of which the text is kept, where there is one."""
    rows = connection.execute(
        text(
            "SELECT name, (spec->'watching'->>'sample_share')::float AS share"
            " FROM orders JOIN order_revisions USING (name, revision)"
            " WHERE name IN (SELECT name FROM endpoints)"
        )
    )
    return {row.name: row.share for row in rows if row.share}
