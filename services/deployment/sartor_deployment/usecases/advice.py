"""Advice about an endpoint: its live revision's measured figures, or given ones, against a price table."""

from __future__ import annotations

import json

from sartor_datasets.manifests import BaseModelManifest, ModelVersionManifest, ObjectReference
from sartor_platform.errors import FailedPrecondition
from sartor_platform.runtime import Runtime

from sartor_deployment import store
from sartor_deployment.advice.measured import Measured, Weights, basis
from sartor_deployment.advice.price_table import read_price_table
from sartor_deployment.advice.recommend import Option, Requirements, recommend
from sartor_deployment.resources import ENDPOINT, ModelVersion, Revision

_BITS = {"F16": 16.0, "Q8_0": 8.5, "Q5_1": 6.0, "Q5_0": 5.5, "Q4_1": 5.0, "Q4_0": 4.5}


def advise(
    runtime: Runtime,
    endpoint: str,
    required: Requirements,
    price_table: str,
    measured: Measured | None,
) -> tuple[list[Option], str, str]:
    """Rank the options. Also why none is possible, or "", and what of the figures was measured.

    Raises:
        InvalidArgument: BAD_PRICE_TABLE.
        FailedPrecondition: NOTHING_MEASURED, LABELS_NOT_ADVISED.
        Unavailable: the object store does not answer.
    """
    machines = read_price_table(price_table)
    if measured is None or not measured.weights:
        measured = _of_endpoint(runtime, endpoint)
    return *recommend(measured, required, machines), basis(measured)


def _of_endpoint(runtime: Runtime, name: str) -> Measured:
    live, known = _live(runtime, name)
    assert live.weights is not None, "what is live was built"
    assert known.manifest is not None
    assert known.base_model_manifest is not None
    version = ModelVersionManifest.from_json(runtime.objects.get_bytes(known.manifest))
    if any(file.path == "output_layer.json" for file in version.files):
        raise FailedPrecondition(
            f"{name} says labels or numbers, and the model of cost is one of models that generate: a"
            " classifier reads each text once. See `sartor deploy status` for what it takes where it runs",
            reason="LABELS_NOT_ADVISED",
            metadata={"name": name},
        )
    found = _variants(live) or (_served(live),)
    widest = max(found, key=lambda each: each.size_bytes)
    return Measured(
        found,
        int(widest.size_bytes * 8 / _BITS[widest.quantization]),
        _kv_bytes_per_token(runtime, known.base_model_manifest),
        live.spec.engine.context_length,
    )


def _served(live: Revision) -> Weights:
    """The one form that was built, as its parity check measured it."""
    size = sum(each.size_bytes for each in (live.weights, live.base_weights) if each is not None)
    parity = live.parity
    if parity is None:
        return Weights(live.spec.quantization, size)
    gap = max(0.0, parity.served_loss - parity.reference_loss)
    speed = parity.tokens_per_second
    return Weights(live.spec.quantization, size, speed, gap, parity.memory_bytes_per_second)


def _variants(live: Revision) -> tuple[Weights, ...]:
    """What was measured, one of each quantization: merged where it was, else the adapter with its base.

    Tables of before have no bandwidth: there the parity check's speed counts for what is served.
    """
    found = {}
    for each in sorted(live.variants, key=lambda each: "+" not in each["quantization"]):
        if not each["error"]:
            kind = each["quantization"].partition("+")[0]
            size = each["size_bytes"] + each.get("shared_bytes", 0)
            tokens, bandwidth = each["tokens_per_second"], each.get("memory_bytes_per_second", 0.0)
            if not bandwidth and each["chosen"] and live.parity:
                tokens = live.parity.tokens_per_second or tokens
                bandwidth = live.parity.memory_bytes_per_second
            found[kind] = Weights(kind, size, tokens, each["loss_gap"], bandwidth)
    return tuple(found.values())


def _live(runtime: Runtime, name: str) -> tuple[Revision, ModelVersion]:
    ENDPOINT.parse(name, field="endpoint")
    with runtime.database.read() as connection:
        endpoint = store.endpoint(connection, name)
        if not endpoint.live_revision:
            raise FailedPrecondition(
                f"{name} serves nothing yet, so nothing was measured; deploy a version, or name its figures",
                reason="NOTHING_MEASURED",
                metadata={"name": name},
            )
        live = store.revision(connection, endpoint.live_revision)
        known = store.model_version(connection, live.model_version)
    assert known is not None, "what is live is known"
    return live, known


def _kv_bytes_per_token(runtime: Runtime, manifest: ObjectReference) -> float:
    """Of the key-value cache at sixteen bits, by the base model's configuration; 0 if it does not say."""
    base = BaseModelManifest.from_json(runtime.objects.get_bytes(manifest))
    file = next((each for each in base.files if each.path == "config.json"), None)
    config = json.loads(runtime.objects.get_bytes(file.object)) if file else {}
    layers, heads = config.get("num_hidden_layers"), config.get("num_attention_heads")
    if not layers or not heads:
        return 0.0
    head = config.get("head_dim") or config.get("hidden_size", 0) // heads
    return float(layers * (config.get("num_key_value_heads") or heads) * head * 2 * 2)
