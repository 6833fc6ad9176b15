"""Standing orders: named specifications with immutable revisions; a job pins the one it ran under."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, column, select, table, text

from sartor_platform import listing, principal
from sartor_platform.errors import Aborted, NotFound
from sartor_platform.transaction import Transaction

if TYPE_CHECKING:
    from sartor.common.v1.standing_order_pb2 import OrderRevision


@dataclass(frozen=True, slots=True)
class Order:
    """One revision of a standing order. `generation` is that of the project file that applied it last."""

    name: str
    revision: int
    generation: int
    spec: Mapping[str, Any]
    etag: str
    create_time: datetime
    update_time: datetime
    created_by: str
    paused: bool


_HEAD = (
    "SELECT o.name, r.revision, o.generation, r.spec, o.create_time, o.update_time, o.created_by, o.paused,"
    " o.version FROM orders o JOIN order_revisions r ON r.name = o.name"
)
_INSERT_REVISION = text(
    "INSERT INTO order_revisions (name, revision, spec, digest, created_by)"
    " VALUES (:name, :revision, cast(:spec AS jsonb), :digest, :principal)"
)


def apply(
    tx: Transaction, name: str, spec: Mapping[str, Any], generation: int = 0, *, etag: str = ""
) -> Order:
    """Write the specification as the order's newest revision; an unchanged one keeps its number.

    Args:
        spec: JSON-able.
        generation: of the project file; 0 keeps the one the order has.
        etag: where given, the order must still have it.
    Raises:
        Aborted: ETAG_MISMATCH, or GENERATION_SUPERSEDED: a later project file was applied already.
    """
    digest = hashlib.sha256(_canonical(spec)).hexdigest()
    tx.connection.execute(
        text(
            "INSERT INTO orders (name, revision, generation, created_by) VALUES (:name, 0, 0, :principal)"
            " ON CONFLICT (name) DO NOTHING"
        ),
        {"name": name, "principal": principal.current()},
    )
    head = tx.connection.execute(
        text(
            "SELECT o.revision, o.generation, o.version, coalesce(r.digest, '') AS digest FROM orders o"
            " LEFT JOIN order_revisions r ON r.name = o.name AND r.revision = o.revision"
            " WHERE o.name = :name FOR UPDATE OF o"
        ),
        {"name": name},
    ).one()
    if etag and (head.revision == 0 or etag != _etag(name, head.version)):
        raise Aborted(
            f"{name} was changed since you read it; read it again and repeat",
            reason="ETAG_MISMATCH",
            metadata={"name": name},
        )
    if generation and generation < head.generation:
        raise Aborted(
            f"{name} already follows generation {head.generation}; apply the current project file",
            reason="GENERATION_SUPERSEDED",
            metadata={"name": name, "generation": str(head.generation)},
        )
    revision = head.revision
    if head.digest != digest:
        revision += 1
        values = {"name": name, "revision": revision, "spec": json.dumps(spec), "digest": digest}
        tx.connection.execute(_INSERT_REVISION, {**values, "principal": principal.current()})
    tx.connection.execute(
        text(
            "UPDATE orders SET revision = :revision, generation = :generation, created_by = :principal,"
            " version = version + 1, update_time = now() WHERE name = :name"
        ),
        {
            "name": name,
            "revision": revision,
            "generation": generation or head.generation,
            "principal": principal.current(),
        },
    )
    tx.notify(name)
    return get(tx.connection, name)


def get(connection: Connection, name: str, revision: int | None = None) -> Order:
    """The order's newest revision, or the one with this number.

    Raises:
        NotFound: ORDER_NOT_FOUND.
    """
    order = find(connection, name, revision)
    if order is None:
        which = name if revision is None else f"revision {revision} of {name}"
        raise NotFound(f"{which} does not exist", reason="ORDER_NOT_FOUND", metadata={"name": name})
    return order


def find(connection: Connection, name: str, revision: int | None = None) -> Order | None:
    """As `get`, but None where there is no such order."""
    where = " WHERE o.name = :name AND r.revision = coalesce(cast(:revision AS integer), o.revision)"
    row = connection.execute(text(_HEAD + where), {"name": name, "revision": revision}).one_or_none()
    return None if row is None else _order(row)


def list_orders(
    connection: Connection, prefix: str, *, page_size: int = 0, page_token: str = ""
) -> tuple[list[Order], str]:
    """The newest revisions of the orders whose names start with `prefix`, and the next page's token."""
    orders = table("orders", column("name"), column("revision"))
    rows, token = listing.page(
        connection,
        select(orders.c.name).where(orders.c.name.startswith(prefix, autoescape=True), orders.c.revision > 0),
        order=[orders.c.name],
        page_size=page_size,
        page_token=page_token,
    )
    return _orders(connection, [row.name for row in rows]), token


def all_orders(connection: Connection, prefix: str) -> list[Order]:
    """As `list_orders`, but all of them at once: for handlers that must see every order."""
    where = " WHERE r.revision = o.revision AND starts_with(o.name, :prefix) ORDER BY o.name"
    return [_order(row) for row in connection.execute(text(_HEAD + where), {"prefix": prefix})]


def set_paused(tx: Transaction, name: str, paused: bool) -> Order:
    """Stop or resume following the order; a paused one stays readable."""
    tx.connection.execute(
        text(
            "UPDATE orders SET paused = :paused, version = version + 1, update_time = now()"
            " WHERE name = :name"
        ),
        {"name": name, "paused": paused},
    )
    tx.notify(name)
    return get(tx.connection, name)


def order_revision(order: Order) -> OrderRevision:
    """The revision as the public API shows it."""
    from sartor.common.v1.standing_order_pb2 import OrderRevision

    shown = OrderRevision(
        revision=order.revision, generation=order.generation, etag=order.etag, created_by=order.created_by
    )
    shown.create_time.FromDatetime(order.create_time)
    shown.update_time.FromDatetime(order.update_time)
    return shown


def _orders(connection: Connection, names: Sequence[str]) -> list[Order]:
    where = " WHERE r.revision = o.revision AND o.name = ANY(:names) ORDER BY o.name"
    return [_order(row) for row in connection.execute(text(_HEAD + where), {"names": list(names)})]


def _order(row: Any) -> Order:
    return Order(
        name=row.name,
        revision=row.revision,
        generation=row.generation,
        spec=row.spec,
        etag=_etag(row.name, row.version),
        create_time=row.create_time,
        update_time=row.update_time,
        created_by=row.created_by,
        paused=row.paused,
    )


def _etag(name: str, version: int) -> str:
    return hashlib.sha256(f"{name}\0{version}".encode()).hexdigest()[:16]


def _canonical(spec: Mapping[str, Any]) -> bytes:
    return json.dumps(spec, sort_keys=True, separators=(",", ":")).encode()
