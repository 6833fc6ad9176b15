"""What follows from what an agent sees of an engine."""

from __future__ import annotations

from sartor_platform import log
from sartor_platform.transaction import Transaction

from sartor_deployment import store
from sartor_deployment.resources import MOVES, State
from sartor_deployment.store import EngineRow
from sartor_deployment.usecases import endpoints, revisions


def seen(tx: Transaction, row: EngineRow) -> None:
    """Write what the agent sees; a first READY moves the revision on: to its check, or back to its users."""
    revision = store.revision(tx.connection, row.revision, lock=row.state == "READY")
    store.put_engine(tx, row)
    tx.notify(revisions.AGENTS)
    if row.state != "READY" or revision.state is not State.STARTING:
        return
    if revision.proven:
        endpoints.give_back(tx, revision)
    else:
        revisions.check(tx, revision)


def cannot_run(tx: Transaction, name: str, reason: str, message: str) -> None:
    """The engine does not come up: reject a new revision, call a rollback off, keep trying a live one.

    One that went live a moment ago, while the revision before it is still warm, gives way to that one.
    """
    revision = store.revision(tx.connection, name, lock=True)
    if revision.state is State.STARTING and revision.proven:
        store.update_revision(tx, name, state=State.SUPERSEDED, error_reason=reason, error_message=message)
        store.update_endpoint(tx, revision.endpoint, rollback_to="")
        tx.notify(revisions.AGENTS)
        log.get().warning("deployment.rollback_called_off", revision=name, reason=reason, message=message)
    elif State.REJECTED in MOVES[revision.state]:
        tx.cancel_job(name)
        revisions.reject(tx, revision, reason, message)
    elif revision.state is State.LIVE:
        endpoint = store.endpoint(tx.connection, revision.endpoint, lock=True)
        previous = endpoint.previous_revision
        answers = previous and store.ready_engines(tx.connection, [previous])
        if answers and not endpoint.rollback_to and not store.ready_engines(tx.connection, [name]):
            endpoints.roll_back(tx, endpoint, reason=reason, message=message)
