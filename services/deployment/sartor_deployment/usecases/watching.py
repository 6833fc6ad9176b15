"""What is kept of requests is kept for a time: older requests, samples, examples and feedback are deleted."""

from __future__ import annotations

from datetime import timedelta

from sartor_platform import log, orders
from sartor_platform.transaction import Transaction

from sartor_deployment import store
from sartor_deployment.resources import EndpointSpec


def forget_old(tx: Transaction) -> None:
    """Delete what is older than its endpoint's retention."""
    for name in store.live_revisions(tx.connection):
        spec = EndpointSpec.from_json(orders.get(tx.connection, name).spec)
        before = tx.now - timedelta(seconds=spec.watching.retention_seconds)
        store.forget_examples(tx, name, before)
        forgotten = store.forget_old_requests(tx, name, before)
        if forgotten:
            log.get().info("deployment.requests_forgotten", endpoint=name, requests=forgotten)
