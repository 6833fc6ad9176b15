"""Advice about an endpoint: its live revision's measured figures, or given ones, against a price table."""

from __future__ import annotations

from sartor_platform.errors import FailedPrecondition
from sqlalchemy import Connection

from sartor_deployment import store
from sartor_deployment.advice.price_table import read_price_table
from sartor_deployment.advice.recommend import Measured, Option, Requirements, Weights, recommend
from sartor_deployment.resources import ENDPOINT

_BITS = {"F16": 16.0, "Q8_0": 8.5, "Q5_1": 6.0, "Q5_0": 5.5, "Q4_1": 5.0, "Q4_0": 4.5}


def advise(
    connection: Connection,
    endpoint: str,
    required: Requirements,
    price_table: str,
    measured: Measured | None,
) -> tuple[list[Option], str]:
    """Rank the options.

    Raises:
        InvalidArgument: BAD_PRICE_TABLE.
        FailedPrecondition: NOTHING_MEASURED.
    """
    machines = read_price_table(price_table)
    if measured is None or not measured.weights:
        measured = _of_endpoint(connection, endpoint)
    return recommend(measured, required, machines)


def _of_endpoint(connection: Connection, name: str) -> Measured:
    ENDPOINT.parse(name, field="endpoint")
    endpoint = store.endpoint(connection, name)
    if not endpoint.live_revision:
        raise FailedPrecondition(
            f"{name} serves nothing yet, so nothing was measured; deploy a version, or name its figures",
            reason="NOTHING_MEASURED",
            metadata={"name": name},
        )
    live = store.revision(connection, endpoint.live_revision)
    assert live.weights is not None, "what is live was built"
    found = tuple(
        Weights(each["quantization"], each["size_bytes"], each["tokens_per_second"], each["loss_gap"])
        for each in live.variants
        if not each["error"]
    )
    if not found:
        gap = max(0.0, live.parity.served_loss - live.parity.reference_loss) if live.parity else 0.0
        found = (Weights(live.spec.quantization, live.weights.size_bytes, loss_gap=gap),)
    widest = max(found, key=lambda each: each.size_bytes)
    parameters = int(widest.size_bytes * 8 / _BITS[widest.quantization])
    return Measured(found, parameters, context_length=live.spec.engine.context_length)
