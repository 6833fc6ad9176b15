"""Facts of other services that deployment keeps for its own work."""

from __future__ import annotations

from sartor_datasets.manifests import ObjectReference
from sartor_platform.transaction import Transaction

from sartor_deployment import store


def remember_base_model(tx: Transaction, name: str, digest: str, manifest: ObjectReference) -> None:
    """On BaseModelReady."""
    store.put_base_model(tx, name, digest, manifest)


def remember_model_version(
    tx: Transaction,
    name: str,
    model: str,
    manifest: ObjectReference,
    base_model_manifest: ObjectReference,
    curation: str,
) -> None:
    """On ModelVersionCreated."""
    store.put_model_version(tx, name, model, manifest, base_model_manifest, curation)
