"""Training plans: standing orders that make a model of each curation that fits."""

from __future__ import annotations

from sartor_platform import orders
from sartor_platform.orders import Order
from sartor_platform.transaction import Transaction
from sqlalchemy import Connection

from sartor_training import resources
from sartor_training.resources import BASE_MODEL, CURATION_POLICY, MODEL, TRAINING_PLAN, PlanSpec
from sartor_training.store import base_models


def check_plan(name: str, spec: PlanSpec) -> None:
    """All names have their form and are of one project.

    Raises:
        InvalidArgument: BAD_TRAINING_PLAN, with every fault.
    """
    project = TRAINING_PLAN.parse(name, field="training_plan.name")["project"]
    named = [
        ("training_plan.curation_policy", CURATION_POLICY, spec.curation_policy),
        ("training_plan.model", MODEL, spec.model),
        ("training_plan.base_model", BASE_MODEL, spec.base_model),
        *resources.names_in_recipe(spec.recipe, "training_plan.recipe"),
    ]
    resources.checked_names(project, named, "BAD_TRAINING_PLAN")


def apply_plan(tx: Transaction, name: str, spec: PlanSpec, *, generation: int, etag: str) -> Order:
    """Make or change a plan.

    Raises:
        InvalidArgument: BAD_TRAINING_PLAN.
        NotFound: BASE_MODEL_NOT_FOUND, with the known ones.
        Aborted: ETAG_MISMATCH, GENERATION_SUPERSEDED.
    """
    check_plan(name, spec)
    require_base_model(tx.connection, spec.base_model)
    return orders.apply(tx, name, spec.to_json(), generation, etag=etag)


def require_base_model(connection: Connection, name: str) -> None:
    """Raises NotFound BASE_MODEL_NOT_FOUND where nobody registered it."""
    if orders.find(connection, name) is None:
        raise resources.base_model_unknown(name, base_models.known(connection, resources.project_of(name)))


def plans_of_policy(connection: Connection, policy: str) -> list[Order]:
    """The plans that train on this policy's curations and are not paused."""
    found = orders.all_orders(connection, f"projects/{resources.project_of(policy)}/trainingPlans/")
    return [order for order in found if order.spec["curation_policy"] == policy and not order.paused]
