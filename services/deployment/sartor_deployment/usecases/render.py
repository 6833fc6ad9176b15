"""The live revision written out for Kubernetes: its manifests are read, nothing is changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sartor_datasets.manifests import BaseModelManifest, ManifestFile, ModelVersionManifest
from sartor_platform.errors import FailedPrecondition
from sartor_platform.runtime import Runtime

from sartor_deployment import store
from sartor_deployment.resources import ENDPOINT
from sartor_deployment.targets.kubernetes_kserve import render_kserve
from sartor_deployment.targets.kubernetes_model import (
    KubernetesTarget,
    ObjectFile,
    Served,
    kubernetes_name,
)
from sartor_deployment.targets.kubernetes_vllm import render


def render_kubernetes(
    runtime: Runtime, name: str, target: KubernetesTarget, *, kserve: bool = False
) -> dict[str, str]:
    """The files of the folder: a Deployment of vLLM with all around it, or one LLMInferenceService.

    Raises:
        NotFound: ENDPOINT_NOT_FOUND.
        FailedPrecondition: NOTHING_LIVE, NOT_FOR_VLLM.
        Unavailable: the object store does not answer.
    """
    ENDPOINT.parse(name)
    with runtime.database.read() as connection:
        endpoint = store.endpoint(connection, name)
        if not endpoint.live_revision:
            raise FailedPrecondition(
                f"{name} serves nothing yet; deploy a version first",
                reason="NOTHING_LIVE",
                metadata={"name": name},
            )
        live = store.revision(connection, endpoint.live_revision)
        known = store.model_version(connection, live.model_version)
    assert known is not None
    assert known.manifest is not None
    assert known.base_model_manifest is not None
    version = ModelVersionManifest.from_json(runtime.objects.get_bytes(known.manifest))
    base = BaseModelManifest.from_json(runtime.objects.get_bytes(known.base_model_manifest))
    adapter = next((each for each in version.files if each.path == "adapter_config.json"), None)
    config = json.loads(runtime.objects.get_bytes(adapter.object)) if adapter is not None else {}
    check_vllm_can(version, config)
    served = Served(
        kubernetes_name(name),
        live.name,
        [_file(each) for each in base.files],
        [_file(each) for each in version.files],
        live.spec.engine.context_length,
        int(config.get("r", 16)),
    )
    return render_kserve(served, target) if kserve else render(served, target)


def check_vllm_can(version: ModelVersionManifest, adapter: Mapping[str, Any]) -> None:
    """Refuse what vLLM would only refuse on the cluster, after minutes."""
    why = ""
    if any(each.path == "output_layer.json" for each in version.files):
        why = "it says labels or numbers, and the output layer has an engine of its own"
    elif adapter.get("use_dora"):
        why = "vLLM loads lora and rslora adapters, not dora; train it with `adapter: rslora`"
    elif int(adapter.get("r", 1)) > 512:
        why = f"its rank is {adapter['r']}, vLLM takes 512 at most"
    if why:
        raise FailedPrecondition(
            f"{version.name} cannot be served by vLLM: {why}. It runs where the deployment agent runs"
            " (deploy/overlays/onprem)",
            reason="NOT_FOR_VLLM",
            metadata={"name": version.name},
        )


def apply_kubernetes(runtime: Runtime, files: Mapping[str, str], namespace: str) -> list[str]:
    """Apply them; what was applied, in order.

    Raises:
        FailedPrecondition: KUBERNETES_NOT_CONFIGURED, and as kubernetes_apply.apply.
    """
    config = runtime.settings.kubernetes
    if not config:
        raise FailedPrecondition(
            "this deployment service knows no cluster: set SARTOR_KUBERNETES to in-cluster or to a kubeconfig"
            " file, or apply the files yourself with `kubectl apply -k`",
            reason="KUBERNETES_NOT_CONFIGURED",
        )
    from sartor_deployment.targets.kubernetes_apply import KubernetesCluster, apply

    return [f"{each.kind} {each.name}" for each in apply(files, namespace, KubernetesCluster(config))]


def _file(given: ManifestFile) -> ObjectFile:
    return ObjectFile(given.path, given.object.uri, given.object.sha256, given.object.size_bytes)
