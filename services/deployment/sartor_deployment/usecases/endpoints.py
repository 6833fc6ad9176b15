"""Endpoints: applied as standing orders, and rolled back."""

from __future__ import annotations

from collections.abc import Mapping

from sartor_platform import log, orders, principal
from sartor_platform.errors import FailedPrecondition
from sartor_platform.transaction import Transaction

from sartor_deployment import announcements, store
from sartor_deployment.resources import ENDPOINT, Endpoint, EndpointSpec, Revision, State, check_spec
from sartor_deployment.rollout import DecisionKind
from sartor_deployment.usecases import revisions
from sartor_deployment.usecases.decisions import decide


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
    if not endpoint.rollback_to:
        person = principal.current()
        roll_back(tx, endpoint, reason="BY_HAND", message=f"{person} rolled it back", by=person)
    return store.endpoint(tx.connection, name)


def roll_back(
    tx: Transaction,
    endpoint: Endpoint,
    *,
    reason: str,
    message: str,
    figures: Mapping[str, float] | None = None,
    by: str = "",
) -> None:
    """Back to the revision before: in this transaction where its engine is still warm, else when it answers.

    Raises:
        FailedPrecondition: NOTHING_TO_ROLL_BACK_TO.
    """
    name = endpoint.name
    if not endpoint.live_revision or not endpoint.previous_revision:
        raise FailedPrecondition(
            f"{name} has no earlier revision that was live, so there is nothing to go back to. Another"
            " version takes over when it passes its gate: bring in better data (`sartor ingest`), or tune it"
            f" again (`sartor loop start {name.rpartition('/')[2]}`), and follow it with `sartor runs watch`",
            reason="NOTHING_TO_ROLL_BACK_TO",
            metadata={"name": name},
        )
    live = store.revision(tx.connection, endpoint.live_revision, lock=True)
    decide(tx, live, DecisionKind.ROLLED_BACK, message, reason=reason, figures=figures, by=by)
    earlier = store.revision(tx.connection, endpoint.previous_revision, lock=True)
    earlier.check_move(State.STARTING)
    store.update_revision(
        tx, earlier.name, state=State.STARTING, error_reason="", error_message="", warm_until=None
    )
    store.update_endpoint(tx, name, rollback_to=earlier.name)
    if store.ready_engines(tx.connection, [earlier.name]):
        give_back(tx, store.revision(tx.connection, earlier.name, lock=True))
    tx.notify(revisions.AGENTS)


def give_back(tx: Transaction, revision: Revision) -> None:
    """The earlier revision's engine answers: traffic goes back to it, in this one transaction."""
    endpoint = store.endpoint(tx.connection, revision.endpoint, lock=True)
    if endpoint.rollback_to != revision.name:
        store.update_revision(tx, revision.name, state=State.SUPERSEDED)
        return
    if endpoint.live_revision:
        store.revision(tx.connection, endpoint.live_revision, lock=True).check_move(State.ROLLED_BACK)
        store.update_revision(tx, endpoint.live_revision, state=State.ROLLED_BACK)
    store.update_revision(
        tx, revision.name, state=State.LIVE, live_time=tx.now, error_reason="", error_message=""
    )
    store.update_endpoint(
        tx,
        endpoint.name,
        live_revision=revision.name,
        previous_revision=store.proven_before(tx.connection, endpoint.name, revision.number),
        rollback_to="",
    )
    announcements.endpoint_rolled_back(tx, revision, endpoint.live_revision)
    log.get().info("deployment.rolled_back", endpoint=endpoint.name, to=revision.name)
