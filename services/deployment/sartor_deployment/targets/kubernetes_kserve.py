"""Target: KServe's LLMInferenceService, which runs vLLM behind KServe's own gateway, routes and autoscaler.

The files come by our own init container, which compares each SHA-256: KServe's storage initializer compares
none, and `spec.model.lora` works only together with it. So the initializer is off, `spec.model.uri` says
where the base comes from, and the adapter is told to vLLM as in the plain form. Image, command, probes and
certificates of the engine are those of the KServe release (0.17 or later: `serving.kserve.io/v1alpha2`).
"""

from __future__ import annotations

from typing import Any

from sartor_deployment.targets.kubernetes_model import (
    MODELS,
    RUN_AS,
    VLLM_IMAGE,
    KubernetesTarget,
    Served,
    fetch_container,
    fetch_volumes,
    files_manifest,
    lora_arguments,
    metadata,
    namespace_manifest,
    rendered,
)

API_VERSION = "serving.kserve.io/v1alpha2"
_SERVED_FROM = "/mnt/models"  # KServe's command serves this folder
_COOL_DOWN_SECONDS = 600


def render_kserve(served: Served, target: KubernetesTarget) -> dict[str, str]:
    """The files of a folder for `kubectl apply -k`, or for a GitOps repository: name → text."""
    resources = {
        "namespace.yaml": namespace_manifest(target),
        "files.yaml": files_manifest(served, target),
        "llminferenceservice.yaml": _service(served, target),
    }
    return rendered(resources, target, _readme(served, target))


def _service(served: Served, target: KubernetesTarget) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "LLMInferenceService",
        "metadata": metadata(served, target),
        "spec": {
            "model": {"uri": _base_uri(served), "name": served.base_name},
            "storageInitializer": {"enabled": False},
            "annotations": {"sartor.dev/revision": served.revision},
            "parallelism": {"tensor": target.gpus},
            **_replicas(target),
            "router": {"route": {}, "gateway": {}},
            "template": _pod(served, target),
        },
    }


def _base_uri(served: Served) -> str:
    return next(iter(served.base)).uri.rpartition("/")[0]


def _replicas(target: KubernetesTarget) -> dict[str, Any]:
    if target.max_replicas <= target.min_replicas:
        return {"replicas": target.min_replicas}
    return {
        "scaling": {
            "minReplicas": target.min_replicas,
            "maxReplicas": target.max_replicas,
            # A model takes minutes to load: down slowly. KEDA asks Prometheus itself, without an adapter.
            "wva": {"keda": {"cooldownPeriod": _COOL_DOWN_SECONDS}},
        }
    }


def _pod(served: Served, target: KubernetesTarget) -> dict[str, Any]:
    """What is ours in the pod; KServe lays it over its own container `main`."""
    adapter = f"{MODELS}/version"
    mounts = [{"name": "models", "mountPath": _SERVED_FROM, "subPath": "base", "readOnly": True}]
    if served.is_adapter:
        mounts.append({"name": "models", "mountPath": adapter, "subPath": "version", "readOnly": True})
    main = {
        "name": "main",
        **({"image": target.vllm_image} if target.vllm_image != VLLM_IMAGE else {}),
        "args": [
            "--max-model-len", str(served.context_length), "--load-format", "safetensors",
            *lora_arguments(served, adapter),
        ],
        "env": [{"name": "HF_HUB_OFFLINE", "value": "1"}, {"name": "VLLM_NO_USAGE_STATS", "value": "1"}],
        "resources": {
            "requests": {"cpu": "4", "memory": target.memory, target.gpu_resource: str(target.gpus)},
            "limits": {"memory": target.memory, target.gpu_resource: str(target.gpus)},
        },
        "volumeMounts": mounts,
    }  # fmt: skip
    fetch = fetch_container(target)
    fetch["securityContext"] = {**fetch["securityContext"], **RUN_AS}  # the pod's own is KServe's
    return {
        "tolerations": [{"key": target.gpu_resource, "operator": "Exists", "effect": "NoSchedule"}],
        "initContainers": [fetch],
        "containers": [main],
        "volumes": fetch_volumes(served, target),
    }


def _readme(served: Served, target: KubernetesTarget) -> str:
    what = "adapter on a shared base" if served.is_adapter else "full weights"
    scaled = target.max_replicas > target.min_replicas
    scaling = (
        "KServe's Workload Variant Autoscaler, KEDA and Prometheus: `spec.scaling` is theirs. Where they\n"
        "   are missing, render with `--max-replicas 1`."
        if scaled
        else "Nothing for scaling: the number of replicas is fixed."
    )
    return f"""# {served.name} on KServe ({what})

Revision `{served.revision}`. Written by Sartor; change the endpoint, not these files.

1. KServe 0.17 or later with `LLMInferenceService` (`{API_VERSION}`), its well-known
   configurations and a gateway.
2. A secret `{target.credentials_secret}` in the namespace `{target.namespace}` with `AWS_ACCESS_KEY_ID`,
   `AWS_SECRET_ACCESS_KEY` and `AWS_DEFAULT_REGION`, good for reading the model bucket only.
3. The GPU operator of your cards (`{target.gpu_resource}`).
4. {scaling}
5. `kubectl apply -k .`, or commit this folder where your GitOps controller looks.

Clients ask the URL that `kubectl get llmisvc {served.name} -n {target.namespace}` shows, with `/v1`
behind it, for the model `{served.name}`. Who may ask is what your gateway says: no network policy is written
here.
"""
