"""What is live is evaluated again now and then: by its gates, on held-out items of newer data.

Data change before users complain. A gate that does not pass any more counts as drift.
"""

from __future__ import annotations

from collections.abc import Mapping

from sartor_platform import log, orders
from sartor_platform.errors import SartorError
from sartor_platform.names import new_run_id
from sartor_platform.runtime import Runtime
from sartor_platform.transaction import Transaction

from sartor_deployment import announcements, store
from sartor_deployment.resources import EndpointSpec, Revision
from sartor_deployment.rollout import DecisionKind
from sartor_deployment.store import Reevaluation
from sartor_deployment.usecases.decisions import decide_about

REASON = "QUALITY_REEVALUATION"


def tick(runtime: Runtime) -> None:
    """Ask for each endpoint whose time has come, in a transaction of its own."""
    with runtime.database.read() as connection:
        live = store.live_revisions(connection)
    for endpoint, revision in live.items():
        if not revision:
            continue
        try:
            with runtime.database.transaction() as tx:
                look(tx, endpoint)
        except SartorError as error:
            log.get().error(
                "reevaluation.did_not_look", endpoint=endpoint, reason=error.reason, error=error.message
            )


def look(tx: Transaction, endpoint: str) -> None:
    """Ask for one, where it is time and there are newer items than those it was judged on."""
    order = orders.get(tx.connection, endpoint)
    every = EndpointSpec.from_json(order.spec).watching.evaluate_every_seconds
    if not every:
        return
    revision = store.revision(tx.connection, store.endpoint(tx.connection, endpoint, lock=True).live_revision)
    last = store.last_reevaluation(tx.connection, revision.name)
    since = last.request_time if last else revision.live_time or revision.create_time
    if (tx.now - since).total_seconds() < every:
        return
    curation = _newest(tx, revision)
    if not curation or (last is not None and last.curation == curation):
        return
    asked = Reevaluation(
        run=new_run_id(),
        endpoint=endpoint,
        revision=revision.name,
        model_version=revision.model_version,
        curation=curation,
        passed=None,
        message="",
        request_time=tx.now,
        end_time=None,
    )
    store.insert_reevaluation(tx, asked)
    announcements.reevaluation_requested(tx, asked, order.generation)


def judged(
    tx: Transaction, run: str, evaluation: str, passed: bool, text: str, figures: Mapping[str, float]
) -> None:
    """On ModelVersionReevaluated: written down, and drift where the gate does not pass any more."""
    found = store.reevaluation(tx.connection, run)
    if found is None:
        return  # asked for by somebody else
    message = f"evaluated again on {found.curation.rpartition('/')[2]} ({evaluation}): {text}"
    store.end_reevaluation(tx, run, passed, message)
    decide_about(
        tx,
        found.endpoint,
        DecisionKind.EVALUATED_AGAIN if passed else DecisionKind.DRIFT_FOUND,
        message,
        revision=found.revision,
        reason="" if passed else REASON,
        figures=figures,
        run=run,
    )


def failed(tx: Transaction, run: str, reason: str, message: str) -> None:
    """On EvaluationFailed: it says nothing of the model; the next one is asked for in its time."""
    found = store.reevaluation(tx.connection, run)
    if found is not None:
        store.end_reevaluation(tx, run, None, f"{reason}: {message}")
        text = f"could not be evaluated again: {message}"
        decide_about(
            tx,
            found.endpoint,
            DecisionKind.EVALUATED_AGAIN,
            text,
            revision=found.revision,
            reason=reason,
            run=run,
        )


def _newest(tx: Transaction, revision: Revision) -> str:
    """The newest curation by the policy of the one it was trained on; "" where that is the newest."""
    known = store.model_version(tx.connection, revision.model_version)
    trained = store.curation(tx.connection, known.curation) if known is not None else None
    if trained is None:
        return ""
    newest = store.curations_of_policy(tx.connection, trained.policy)
    return newest[0].name if newest and newest[0].name != trained.name else ""
