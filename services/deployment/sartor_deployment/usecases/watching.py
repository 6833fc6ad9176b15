"""What is kept of requests is kept for a time: older requests, samples, examples and feedback are deleted.

So is what drift keeps of requests without their text, once nothing is compared with it any more.
"""

from __future__ import annotations

from datetime import timedelta

from sartor_platform import log, orders
from sartor_platform.transaction import Transaction

from sartor_deployment import store
from sartor_deployment.resources import EndpointSpec
from sartor_deployment.usecases import drift_reference


def forget_old(tx: Transaction) -> None:
    """Delete what is older than its endpoint's retention."""
    for name, live in store.live_revisions(tx.connection).items():
        spec = EndpointSpec.from_json(orders.get(tx.connection, name).spec)
        before = tx.now - timedelta(seconds=spec.watching.retention_seconds)
        store.forget_examples(tx, name, before)
        drift_reference.forget_unwanted(tx, name, spec, live)
        forgotten = store.forget_old_requests(tx, name, before)
        if forgotten:
            log.get().info("deployment.requests_forgotten", endpoint=name, requests=forgotten)
