"""Windows of sampled requests: cut when they are full, looked at by a job, and told of where they drifted."""

from __future__ import annotations

from collections.abc import Sequence

from sartor_platform import orders
from sartor_platform.jobs import Job
from sartor_platform.runtime import Runtime
from sartor_platform.transaction import Transaction

from sartor_deployment import store
from sartor_deployment.drift.findings import Finding
from sartor_deployment.loop import DriftSpec
from sartor_deployment.resources import ENDPOINT, EndpointSpec, Revision
from sartor_deployment.rollout import DecisionKind
from sartor_deployment.store import DriftWindow, drift_references
from sartor_deployment.store.drift_references import DriftReference
from sartor_deployment.usecases import drift_reference
from sartor_deployment.usecases.decisions import decide_about

LOOK = "drift"


def tick(runtime: Runtime) -> None:
    """Cut a window of every endpoint that has enough requests since the last one."""
    with runtime.database.read() as connection:
        live = store.live_revisions(connection)
    for endpoint, revision in live.items():
        if revision:
            with runtime.database.transaction() as tx:
                cut(tx, endpoint)


def cut(tx: Transaction, endpoint: str) -> DriftWindow | None:
    """The next window, if it is full: its job is enqueued."""
    order = orders.get(tx.connection, endpoint)
    spec = EndpointSpec.from_json(order.spec).watching.drift
    name = store.endpoint(tx.connection, endpoint, lock=bool(spec.window)).live_revision
    if not spec.window or not name:
        return None
    revision = store.revision(tx.connection, name)
    reference = drift_reference.reference_of(tx, revision, order)
    window = _next_window(tx, revision, spec, reference) if reference is not None else None
    if window is None:
        return None
    store.insert_drift_window(tx, window)
    tx.enqueue(
        LOOK,
        resource=window.name,
        project=ENDPOINT.parse(endpoint)["project"],
        run=revision.run,
        generation=order.generation,
        revision=order.revision,
        parent=endpoint,
    )
    return window


def _next_window(
    tx: Transaction, revision: Revision, spec: DriftSpec, reference: DriftReference
) -> DriftWindow | None:
    last = store.last_drift_window(tx.connection, revision.name)
    if last is not None and not last.looked:
        return None
    edge = (reference.end_time, reference.end_id)
    if last is not None:
        edge = max(edge, (last.end_time, last.end_id))
    rows = store.samples_after(tx.connection, revision.name, *edge, spec.window)
    if len(rows) < spec.window:
        return None
    number = last.number + 1 if last is not None else 1
    short = revision.name.rpartition("/")[2]
    return DriftWindow(
        name=f"{revision.endpoint}/driftWindows/{short}-{number}",
        endpoint=revision.endpoint,
        revision=revision.name,
        number=number,
        reference_requests=reference.requests,
        window_requests=len(rows),
        start_time=rows[0].create_time,
        end_time=rows[-1].create_time,
        end_id=rows[-1].id,
        after_time=edge[0],
        after_id=edge[1],
    )


def looked(tx: Transaction, window: DriftWindow, findings: Sequence[Finding], embedding: str) -> None:
    """On the job's result: each signal that drifted is a decision with its numbers."""
    store.looked_at(tx, window, [each.to_json() for each in findings], embedding=embedding)
    reference = drift_references.reference(tx.connection, window.revision)
    if reference is not None:
        drift_reference.keep_scores(tx, reference, window.after_time)
    for each in findings:
        if not each.found:
            continue
        figures = {
            **each.figures,
            "statistic": each.statistic,
            "p_value": each.p_value,
            "threshold": each.threshold,
            "window": float(window.number),
        }
        decide_about(
            tx,
            window.endpoint,
            DecisionKind.DRIFT_FOUND,
            each.message,  # its examples stay in the window: events and decisions outlive the retention
            revision=window.revision,
            reason=each.signal.value,
            figures=figures,
        )


def failed(tx: Transaction, job: Job, reason: str, message: str) -> None:
    """On a job that failed for good: the window stays unknown, the next one is looked at."""
    window = store.drift_window(tx.connection, job.resource)
    store.looked_at(tx, window, [], error=f"{reason}: {message}")
