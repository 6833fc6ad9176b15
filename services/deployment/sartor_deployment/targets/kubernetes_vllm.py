"""Target: vLLM on Kubernetes. Manifests for GitOps: the base model from the object store, the adapter on top.

With a LoRA adapter the base is shared: further adapters are further `--lora-modules`. Replicas follow vLLM's
own queue (`vllm:num_requests_waiting`), which a metrics adapter must offer, as the README beside the
manifests says.
"""

from __future__ import annotations

from typing import Any

from sartor_deployment.targets.kubernetes_model import (
    ENVIRONMENT,
    LOCKED,
    MODELS,
    MOUNTS,
    RUN_AS,
    UID,
    KubernetesTarget,
    Served,
    fetch_container,
    fetch_volumes,
    files_manifest,
    labels,
    lora_arguments,
    metadata,
    namespace_manifest,
    rendered,
)

_PORT = 8000
_CLIENT = "sartor.dev/model-client"


def render(served: Served, target: KubernetesTarget) -> dict[str, str]:
    """The files of a folder for `kubectl apply -k`, or for a GitOps repository: name → text."""
    resources = {
        "namespace.yaml": namespace_manifest(target),
        "files.yaml": files_manifest(served, target),
        "deployment.yaml": _deployment(served, target),
        "service.yaml": _service(served, target),
        "autoscaling.yaml": _autoscaling(served, target),
        "disruption.yaml": _disruption(served, target),
        "network.yaml": _network(served, target),
    }
    return rendered(resources, target, _readme(served, target))


def _arguments(served: Served, target: KubernetesTarget) -> list[str]:
    own = [
        "--model", f"{MODELS}/base", "--host", "0.0.0.0", "--port", str(_PORT),  # noqa: S104 - inside a pod
        "--max-model-len", str(served.context_length), "--load-format", "safetensors",
        "--tensor-parallel-size", str(target.gpus),
    ]  # fmt: skip
    return [*own, "--served-model-name", served.base_name, *lora_arguments(served, f"{MODELS}/version")]


def _deployment(served: Served, target: KubernetesTarget) -> dict[str, Any]:
    health = {"httpGet": {"path": "/health", "port": "http"}}
    main = {
        "name": "vllm",
        "image": target.vllm_image,
        "args": _arguments(served, target),
        "env": [
            *ENVIRONMENT,
            {"name": "USER", "value": "vllm"},  # torch asks for it, and the image knows no such user id
            {"name": "HF_HUB_OFFLINE", "value": "1"},
            {"name": "VLLM_NO_USAGE_STATS", "value": "1"},
        ],
        "ports": [{"name": "http", "containerPort": _PORT}],
        "resources": {
            "requests": {"cpu": "4", "memory": target.memory, target.gpu_resource: str(target.gpus)},
            "limits": {"memory": target.memory, target.gpu_resource: str(target.gpus)},
        },
        "startupProbe": {**health, "periodSeconds": 5, "failureThreshold": 240},
        "readinessProbe": {**health, "periodSeconds": 5},
        "livenessProbe": {**health, "periodSeconds": 20, "timeoutSeconds": 10},
        "securityContext": LOCKED,
        # Requests that are being answered may end before the pod does.
        "lifecycle": {"preStop": {"exec": {"command": ["/bin/sh", "-c", "sleep 15"]}}},
        "volumeMounts": [*MOUNTS, {"name": "shm", "mountPath": "/dev/shm"}],  # noqa: S108
    }
    pod = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 120,
        "securityContext": {**RUN_AS, "fsGroup": UID},
        "tolerations": [{"key": target.gpu_resource, "operator": "Exists", "effect": "NoSchedule"}],
        "initContainers": [fetch_container(target)],
        "containers": [main],
        "volumes": [
            *fetch_volumes(served, target),
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}},
        ],
    }
    scrape = {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(_PORT),
        "sartor.dev/revision": served.revision,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(served, target),
        "spec": {
            # No `replicas`: the autoscaler has them, and a GitOps controller must not fight it.
            "selector": {"matchLabels": labels(served)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {"metadata": {"labels": labels(served), "annotations": scrape}, "spec": pod},
        },
    }


def _service(served: Served, target: KubernetesTarget) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(served, target),
        "spec": {"selector": labels(served), "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    }


def _autoscaling(served: Served, target: KubernetesTarget) -> dict[str, Any]:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(served, target),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": served.name},
            "minReplicas": target.min_replicas,
            "maxReplicas": target.max_replicas,
            "metrics": [
                {
                    "type": "Pods",
                    "pods": {
                        "metric": {"name": "vllm_num_requests_waiting"},
                        "target": {"type": "AverageValue", "averageValue": str(target.waiting_per_replica)},
                    },
                }
            ],
            # A model takes minutes to load: up quickly, down slowly.
            "behavior": {
                "scaleUp": {"stabilizationWindowSeconds": 30},
                "scaleDown": {"stabilizationWindowSeconds": 600},
            },
        },
    }


def _disruption(served: Served, target: KubernetesTarget) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(served, target),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": labels(served)}},
    }


def _network(served: Served, target: KubernetesTarget) -> dict[str, Any]:
    clients = ({"sartor.dev/role": "gateway"}, {_CLIENT: "true"})
    allowed = [{"namespaceSelector": {}, "podSelector": {"matchLabels": each}} for each in clients]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(served, target),
        "spec": {
            "podSelector": {"matchLabels": labels(served)},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": allowed, "ports": [{"port": _PORT}]}],
        },
    }


def _readme(served: Served, target: KubernetesTarget) -> str:
    what = "adapter on a shared base" if served.is_adapter else "full weights"
    return f"""# {served.name} on vLLM ({what})

Revision `{served.revision}`. Written by Sartor; change the endpoint, not these files.

1. A secret `{target.credentials_secret}` in the namespace `{target.namespace}` with `AWS_ACCESS_KEY_ID`,
   `AWS_SECRET_ACCESS_KEY` and `AWS_DEFAULT_REGION`, good for reading the model bucket only.
2. The GPU operator of your cards (`{target.gpu_resource}`).
3. A metrics adapter that offers vLLM's `vllm:num_requests_waiting` as `vllm_num_requests_waiting` for pods.
4. The label `{_CLIENT}: "true"` on the pods that may ask this model, and on those of Prometheus that scrape
   it: the network policy keeps all others away, and without its metrics nothing scales.
5. `kubectl apply -k .`, or commit this folder where your GitOps controller looks.

Each set of files has a ConfigMap of its own, `{served.name}-files-…`. Those of earlier revisions may go
once no pod of theirs runs any more; until then a pod that starts anew, or a rollback, needs them.

Clients ask `http://{served.name}.{target.namespace}/v1` for the model `{served.name}`.
"""
