"""The live revision written out for Kubernetes: its manifests are read, nothing is changed."""

from __future__ import annotations

import json
from collections.abc import Mapping

from sartor_datasets.manifests import BaseModelManifest, ManifestFile, ModelVersionManifest
from sartor_platform.errors import FailedPrecondition
from sartor_platform.runtime import Runtime

from sartor_deployment import store
from sartor_deployment.resources import ENDPOINT
from sartor_deployment.targets.kubernetes_vllm import (
    KubernetesTarget,
    ObjectFile,
    Served,
    kubernetes_name,
    render,
)


def render_kubernetes(runtime: Runtime, name: str, target: KubernetesTarget) -> dict[str, str]:
    """The files of the folder.

    Raises:
        NotFound: ENDPOINT_NOT_FOUND.
        FailedPrecondition: NOTHING_LIVE.
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
    rank = 16
    if adapter is not None:
        rank = int(json.loads(runtime.objects.get_bytes(adapter.object)).get("r", rank))
    served = Served(
        kubernetes_name(name),
        live.name,
        [_file(each) for each in base.files],
        [_file(each) for each in version.files],
        live.spec.engine.context_length,
        rank,
    )
    return render(served, target)


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
