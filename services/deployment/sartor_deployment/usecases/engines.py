"""What follows from what an agent sees of an engine."""

from __future__ import annotations

from sartor_platform import log
from sartor_platform.transaction import Transaction

from sartor_deployment import announcements, store
from sartor_deployment.resources import Revision, State
from sartor_deployment.store import EngineRow
from sartor_deployment.usecases import revisions


def seen(tx: Transaction, row: EngineRow) -> None:
    """Write what the agent sees; a first READY moves the revision on: to its check, or back to its users."""
    revision = store.revision(tx.connection, row.revision, lock=row.state == "READY")
    store.put_engine(tx, row)
    tx.notify(revisions.AGENTS)
    if row.state != "READY" or revision.state is not State.STARTING:
        return
    if revision.proven:
        _return(tx, revision)
    else:
        revisions.check(tx, revision)


def cannot_run(tx: Transaction, name: str, reason: str, message: str) -> None:
    """The engine does not come up: reject a new revision, call a rollback off, keep trying a live one."""
    revision = store.revision(tx.connection, name, lock=True)
    if revision.state is State.STARTING and revision.proven:
        store.update_revision(tx, name, state=State.SUPERSEDED, error_reason=reason, error_message=message)
        store.update_endpoint(tx, revision.endpoint, rollback_to="")
        tx.notify(revisions.AGENTS)
        log.get().warning("deployment.rollback_called_off", revision=name, reason=reason, message=message)
    elif revision.state in (State.STARTING, State.CHECKING):
        tx.cancel_job(name)
        revisions.reject(tx, revision, reason, message)


def _return(tx: Transaction, revision: Revision) -> None:
    """The earlier revision's engine answers again: traffic goes back to it, in this one transaction."""
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
