"""Use cases of evaluation's standing orders: gates, suites and prompts."""

from __future__ import annotations

from sartor_datasets.manifests import ObjectReference
from sartor_platform import orders
from sartor_platform.orders import Order
from sartor_platform.transaction import Transaction
from sqlalchemy import Connection

from sartor_evaluation import announcements
from sartor_evaluation.checks import check_gate, check_suite
from sartor_evaluation.names import not_found, project_of
from sartor_evaluation.prompt_checks import check_prompt
from sartor_evaluation.specs import GateSpec, PromptSpec, SuiteSpec


def apply_gate(tx: Transaction, name: str, spec: GateSpec, *, generation: int, etag: str) -> Order:
    """Make or change a gate.

    Raises:
        InvalidArgument: BAD_GATE, with every fault.
        Aborted: ETAG_MISMATCH, GENERATION_SUPERSEDED.
    """
    check_gate(name, spec)
    return orders.apply(tx, name, spec.to_json(), generation, etag=etag)


def apply_suite(
    tx: Transaction,
    name: str,
    spec: SuiteSpec,
    *,
    generation: int,
    etag: str,
    inline_items: ObjectReference | None = None,
) -> Order:
    """Make or change a suite, and tell where its items are: nothing of them should be trained on.

    Args:
        inline_items: where the items of the specification itself were put.
    Raises:
        InvalidArgument: BAD_SUITE, with every fault.
        Aborted: ETAG_MISMATCH, GENERATION_SUPERSEDED.
    """
    check_suite(name, spec)
    order = orders.apply(tx, name, spec.to_json(), generation, etag=etag)
    objects = [one for one in (inline_items, spec.items.object, *spec.data.values()) if one is not None]
    message = announcements.suite_applied(name, order.revision, objects)
    tx.publish(message, subject=name, run="", generation=generation)
    return order


def apply_prompt(tx: Transaction, name: str, spec: PromptSpec, *, generation: int, etag: str) -> Order:
    """Make or change a prompt.

    Raises:
        InvalidArgument: BAD_PROMPT, with every fault.
        Aborted: ETAG_MISMATCH, GENERATION_SUPERSEDED.
    """
    check_prompt(name, spec)
    return orders.apply(tx, name, spec.to_json(), generation, etag=etag)


def get_prompt(connection: Connection, name: str) -> Order:
    """Raises NotFound: PROMPT_NOT_FOUND."""
    order = orders.find(connection, name)
    if order is None:
        known = [one.name for one in orders.all_orders(connection, f"projects/{project_of(name)}/prompts/")]
        raise not_found("prompt", name, known)
    return order


def get_suite(connection: Connection, name: str) -> Order:
    """Raises NotFound: SUITE_NOT_FOUND."""
    order = orders.find(connection, name)
    if order is None:
        known = [one.name for one in orders.all_orders(connection, f"projects/{project_of(name)}/suites/")]
        raise not_found("suite", name, known)
    return order


def get_gate(connection: Connection, name: str) -> Order:
    """Raises NotFound: GATE_NOT_FOUND."""
    order = orders.find(connection, name)
    if order is None:
        known = [gate.name for gate in orders.all_orders(connection, f"projects/{project_of(name)}/gates/")]
        raise not_found("gate", name, known)
    return order
