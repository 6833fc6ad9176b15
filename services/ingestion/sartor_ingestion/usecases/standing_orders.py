"""Projects and sources: applied once, followed ever after."""

from __future__ import annotations

from sartor_platform import listing, orders
from sartor_platform.errors import NotFound
from sartor_platform.orders import Order
from sartor_platform.transaction import Transaction
from sqlalchemy import Connection, select, text

from sartor_ingestion import resources
from sartor_ingestion.resources import PROJECT, SourceSpec
from sartor_ingestion.store import sources
from sartor_ingestion.store.tables import PROJECTS


def apply_project(
    tx: Transaction, name: str, *, display_name: str, project_file: str, generation: int, etag: str
) -> Order:
    """Make or change a project. Generation 0 counts on from the one it has.

    Raises:
        InvalidArgument: BAD_PROJECT.
        Aborted: ETAG_MISMATCH, GENERATION_SUPERSEDED.
    """
    resources.check_project(name, display_name, project_file)
    sources.add_project(tx, name)
    if not generation:
        # The lock makes two people who apply at the same moment count one after the other.
        row = text("SELECT generation FROM orders WHERE name = :name FOR UPDATE")
        generation = int(tx.connection.execute(row, {"name": name}).scalar_one_or_none() or 0) + 1
    spec = {"display_name": display_name, "project_file": project_file}
    return orders.apply(tx, name, spec, generation, etag=etag)


def apply_source(tx: Transaction, name: str, spec: SourceSpec, *, generation: int, etag: str) -> Order:
    """Make or change a source, and its dataset where that is new.

    Raises:
        InvalidArgument: BAD_SOURCE, with every fault.
        NotFound: PROJECT_NOT_FOUND.
        Aborted: ETAG_MISMATCH, GENERATION_SUPERSEDED.
    """
    resources.check_source(name, spec)
    project = PROJECT.format(project=resources.project_of(name))
    if not sources.project_exists(tx.connection, project):
        raise resources.project_not_found(project)
    order = orders.apply(tx, name, spec.to_json(), generation, etag=etag)
    sources.put_source(tx, name, spec)
    return order


def get_project(connection: Connection, name: str) -> Order:
    """Raises NotFound: PROJECT_NOT_FOUND."""
    return _found(orders.find(connection, name), resources.project_not_found(name))


def list_projects(connection: Connection, page_size: int, page_token: str) -> tuple[list[Order], str]:
    """The projects by name."""
    rows, token = listing.page(
        connection,
        select(PROJECTS.c.name),
        order=[PROJECTS.c.name],
        page_size=page_size,
        page_token=page_token,
    )
    return [get_project(connection, row.name) for row in rows], token


def get_source(connection: Connection, name: str) -> Order:
    """Raises NotFound: SOURCE_NOT_FOUND."""
    return _found(orders.find(connection, name), resources.source_not_found(name))


def _found(order: Order | None, missing: NotFound) -> Order:
    if order is None:
        raise missing
    return order
