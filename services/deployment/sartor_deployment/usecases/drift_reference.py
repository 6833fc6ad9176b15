"""What windows are compared with: taken once of a live revision's first requests, kept without their text.

The requests themselves are deleted when their time is over. Were the reference taken from those that are
left, it would move with the traffic, and what drifts slowly would never be seen.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sartor_platform import log, orders
from sartor_platform.jobs import Job
from sartor_platform.transaction import Transaction
from sqlalchemy import Connection

from sartor_deployment import store
from sartor_deployment.resources import ENDPOINT, EndpointSpec, Revision
from sartor_deployment.store import DriftWindow, drift_references
from sartor_deployment.store.drift_references import DriftReference

TAKE = "drift_reference"
_AGAIN_AFTER = timedelta(hours=1)


def reference_of(tx: Transaction, revision: Revision, order: orders.Order) -> DriftReference | None:
    """The revision's, once its features are there. Where there is none, it is begun as soon as it can be."""
    known = drift_references.reference(tx.connection, revision.name)
    if known is not None and known.error and tx.now - known.create_time > _AGAIN_AFTER:
        drift_references.forget(tx, revision.name)
        known = None
    if known is None:
        _begin(tx, revision, order)
    return known if known is not None and known.taken else None


def _begin(tx: Transaction, revision: Revision, order: orders.Order) -> None:
    since = revision.live_time or revision.create_time
    size = EndpointSpec.from_json(order.spec).watching.drift.reference_size
    rows = store.first_samples(tx.connection, revision.name, since, size)
    if len(rows) < size:
        return
    end = (rows[-1].create_time, rows[-1].id)
    drift_references.begin(tx, revision.name, revision.endpoint, size, end, since)
    tx.enqueue(
        TAKE,
        resource=revision.name,
        project=ENDPOINT.parse(revision.endpoint)["project"],
        run=revision.run,
        generation=order.generation,
        revision=order.revision,
        parent=revision.endpoint,
    )


def taken(tx: Transaction, revision: str, made_by: str, features: bytes) -> None:
    """On the job's result."""
    known = drift_references.reference(tx.connection, revision)
    if known is None:
        return  # not wanted any more
    drift_references.keep(tx, revision, made_by, features)
    keep_scores(tx, known, known.end_time)
    log.get().info(
        "drift.reference_taken", revision=revision, requests=known.requests, made_by=made_by,
        bytes=len(features),
    )  # fmt: skip


def failed(tx: Transaction, job: Job, reason: str, message: str) -> None:
    """On a job that failed for good: begun again, at once where only its requests were gone."""
    if reason == "REQUESTS_FORGOTTEN":
        drift_references.forget(tx, job.resource)
        return
    drift_references.fail(tx, job.resource, f"{reason}: {message}")
    log.get().error("drift.reference_not_taken", revision=job.resource, reason=reason, error=message)


def of_another_embedder(tx: Transaction, window: DriftWindow, message: str) -> None:
    """On a window that cannot be compared: it says so, and the reference is taken anew."""
    text = f"REFERENCE_OF_ANOTHER_EMBEDDER: {message}; the reference is taken anew from the requests kept"
    store.looked_at(tx, window, [], error=text)
    drift_references.forget(tx, window.revision)
    log.get().warning("drift.reference_of_another_embedder", window=window.name, error=message)


def scores_until(connection: Connection, reference: DriftReference, until: datetime) -> tuple[float, ...]:
    """Users' scores since the revision was live, the first of them; those that were kept and newer ones."""
    more = store.scores(connection, reference.revision, reference.scores_until, until, reference.requests)
    return (*reference.scores, *more)[: reference.requests]


def keep_scores(tx: Transaction, reference: DriftReference, until: datetime) -> None:
    """Keep those, before retention takes them."""
    if until > reference.scores_until:
        scores = scores_until(tx.connection, reference, until)
        drift_references.keep_scores(tx, reference.revision, scores, until)


def forget_unwanted(tx: Transaction, endpoint: str, spec: EndpointSpec, live_revision: str) -> None:
    """Take away what no window will be compared with: of revisions that are not live, or nobody watches."""
    wanted = live_revision if spec.watching.drift.window and spec.watching.sample_share else ""
    forgotten = drift_references.forget_others(tx, endpoint, wanted)
    if forgotten:
        log.get().info("drift.references_forgotten", endpoint=endpoint, references=forgotten)
