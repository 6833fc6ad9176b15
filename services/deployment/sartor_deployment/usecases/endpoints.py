"""Endpoints: applied as standing orders, and rolled back."""

from __future__ import annotations

from sartor_platform import orders
from sartor_platform.errors import FailedPrecondition
from sartor_platform.transaction import Transaction

from sartor_deployment import store
from sartor_deployment.resources import ENDPOINT, Endpoint, EndpointSpec, State, check_spec
from sartor_deployment.usecases import revisions


def apply_endpoint(tx: Transaction, name: str, spec: EndpointSpec, generation: int, etag: str) -> Endpoint:
    """Order an endpoint. A new one serves the model's version that was approved last, if there is one.

    Raises:
        InvalidArgument: BAD_RESOURCE_NAME, BAD_ENDPOINT.
        Aborted: ETAG_MISMATCH, GENERATION_SUPERSEDED.
    """
    check_spec(name, spec)
    orders.apply(tx, name, spec.to_json(), generation, etag=etag)
    store.put_endpoint(tx, name, ENDPOINT.parse(name)["project"], spec.model)
    latest = store.latest_approved(tx.connection, spec.model)
    if latest is not None and latest.references is not None:
        revisions.deploy(tx, name, latest.name, latest.references, latest.run, latest.generation)
    return store.endpoint(tx.connection, name)


def rollback_endpoint(tx: Transaction, name: str) -> Endpoint:
    """Start the engine of the revision before the live one; traffic switches when it answers.

    Raises:
        NotFound: ENDPOINT_NOT_FOUND.
        FailedPrecondition: NOTHING_TO_ROLL_BACK_TO.
    """
    ENDPOINT.parse(name)
    endpoint = store.endpoint(tx.connection, name, lock=True)
    if endpoint.rollback_to:
        return endpoint  # it is on its way
    if not endpoint.live_revision or not endpoint.previous_revision:
        raise FailedPrecondition(
            f"{name} has no earlier revision that was live; deploy another version with CreateRevision",
            reason="NOTHING_TO_ROLL_BACK_TO",
            metadata={"name": name},
        )
    earlier = store.revision(tx.connection, endpoint.previous_revision, lock=True)
    earlier.check_move(State.STARTING)
    store.update_revision(tx, earlier.name, state=State.STARTING, error_reason="", error_message="")
    store.update_endpoint(tx, name, rollback_to=earlier.name)
    tx.notify(revisions.AGENTS)
    return store.endpoint(tx.connection, name)
