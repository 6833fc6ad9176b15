"""Target: vLLM on Kubernetes. Manifests for GitOps: the base model from the object store, the adapter on top.

An init container fetches every file by its object's name and compares its SHA-256 before anything reads
it. With a LoRA adapter the base is shared: further adapters are further `--lora-modules`. Replicas follow
vLLM's own queue (`vllm:num_requests_waiting`), which a metrics adapter must offer, as the README beside the
manifests says.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

_PORT = 8000
MODELS = "/models"
VLLM_IMAGE = "vllm/vllm-openai:v0.11.0"
_FETCH = "amazon/aws-cli:2.31.0"
UID = 10001
_CLIENT = "sartor.dev/model-client"
_LONGEST_NAME = 52  # so that the ends that Kubernetes puts behind it fit into a label as well
_LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # vLLM takes no others
_MOUNTS = ({"name": "models", "mountPath": MODELS}, {"name": "tmp", "mountPath": "/tmp"})  # noqa: S108
_ENVIRONMENT = ({"name": "HOME", "value": "/tmp"},)  # noqa: S108
RUN_AS = {"runAsNonRoot": True, "runAsUser": UID, "seccompProfile": {"type": "RuntimeDefault"}}
_NO_RIGHTS = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
_LOCKED = {**_NO_RIGHTS, "readOnlyRootFilesystem": True}


@dataclass(frozen=True, slots=True)
class ObjectFile:
    """One file of a model in the object store."""

    path: str
    uri: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class KubernetesTarget:
    """How it is to run there."""

    namespace: str = "sartor-models"
    gpus: int = 1
    gpu_resource: str = "nvidia.com/gpu"
    min_replicas: int = 1
    max_replicas: int = 4
    waiting_per_replica: int = 8
    memory: str = "24Gi"
    storage: str = ""
    """Size of the model volume; computed from the files if empty."""
    vllm_image: str = VLLM_IMAGE
    fetch_image: str = _FETCH
    s3_endpoint: str = ""
    credentials_secret: str = "sartor-model-store"  # noqa: S105 - the name of a secret


@dataclass(frozen=True, slots=True)
class Served:
    """What is served: the base's files, and the version's (an adapter, or full weights over the base)."""

    name: str
    revision: str
    base: Sequence[ObjectFile]
    version: Sequence[ObjectFile]
    context_length: int
    lora_rank: int = 16

    @property
    def is_adapter(self) -> bool:
        """Whether the version is a LoRA adapter."""
        return any(file.path == "adapter_config.json" for file in self.version)

    @property
    def base_name(self) -> str:
        """What vLLM calls the base: full weights are the model itself."""
        return f"{self.name}-base" if self.is_adapter else self.name

    @property
    def files_name(self) -> str:
        """Of the list of its files; other files, another name: each pod fetches what it was made for."""
        told = "\n".join(f"{folder}/{file.path} {file.uri} {file.sha256}" for folder, file in self.placed())
        return f"{self.name}-files-{hashlib.sha256(told.encode()).hexdigest()[:10]}"

    def placed(self) -> list[tuple[str, ObjectFile]]:
        """(folder, file): an adapter beside its base; full weights instead of the base's own."""
        if self.is_adapter:
            return [("base", file) for file in self.base] + [("version", file) for file in self.version]
        kept = [file for file in self.base if not _is_weights(file.path)]
        return [("base", file) for file in {file.path: file for file in [*kept, *self.version]}.values()]


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
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": target.namespace,
        "resources": list(resources),
    }
    texts = {name: to_yaml(value) for name, value in resources.items()}
    return {"kustomization.yaml": to_yaml(kustomization), **texts, "README.md": _readme(served, target)}


def metadata(served: Served, target: KubernetesTarget, **more: Any) -> dict[str, Any]:
    """Name, namespace and labels of an object."""
    return {"name": served.name, "namespace": target.namespace, "labels": _labels(served), **more}


def _labels(served: Served) -> dict[str, str]:
    return {"app.kubernetes.io/name": served.name, "app.kubernetes.io/managed-by": "sartor"}


def namespace_manifest(target: KubernetesTarget) -> dict[str, Any]:
    """The namespace, in which nothing runs with rights."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": target.namespace, "labels": labels}}


def files_manifest(served: Served, target: KubernetesTarget) -> dict[str, Any]:
    """The script that fetches, and the digests it compares with."""
    files = served.placed()
    sums = "".join(f"{file.sha256}  {MODELS}/{folder}/{file.path}\n" for folder, file in files)
    fetch = ["#!/bin/sh", "set -eu"]
    for folder, file in files:
        place = shlex.quote(f"{MODELS}/{folder}/{file.path}")
        fetch.append(f"mkdir -p $(dirname {place})")
        fetch.append(f"aws s3 cp --no-progress {shlex.quote(file.uri)} {place}")
    fetch.append("sha256sum --check --quiet /fetch/sha256sums")
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {**metadata(served, target), "name": served.files_name},
        # A pod of the revision before that starts anew during a rollout finds its own files here, not these.
        "immutable": True,
        "data": {"fetch.sh": "\n".join(fetch) + "\n", "sha256sums": sums},
    }


def _is_weights(path: str) -> bool:
    return path.endswith(".safetensors") or path.startswith("model.safetensors")


def _arguments(served: Served, target: KubernetesTarget) -> list[str]:
    own = [
        "--model", f"{MODELS}/base", "--host", "0.0.0.0", "--port", str(_PORT),  # noqa: S104 - inside a pod
        "--max-model-len", str(served.context_length), "--load-format", "safetensors",
        "--tensor-parallel-size", str(target.gpus),
    ]  # fmt: skip
    return [*own, "--served-model-name", served.base_name, *lora_arguments(served, f"{MODELS}/version")]


def lora_arguments(served: Served, folder: str) -> list[str]:
    """What tells vLLM of the adapter in this folder; nothing for full weights."""
    if not served.is_adapter:
        return []
    rank = next((each for each in _LORA_RANKS if each >= served.lora_rank), _LORA_RANKS[-1])
    return ["--enable-lora", "--max-lora-rank", str(rank), "--lora-modules", f"{served.name}={folder}"]


def fetch_container(target: KubernetesTarget) -> dict[str, Any]:
    """The init container that fetches the files and compares their digests."""
    store = [{"name": "AWS_ENDPOINT_URL", "value": target.s3_endpoint}] if target.s3_endpoint else []
    return {
        "name": "fetch",
        "image": target.fetch_image,
        "command": ["/bin/sh", "/fetch/fetch.sh"],
        "env": [*_ENVIRONMENT, *store],
        "envFrom": [{"secretRef": {"name": target.credentials_secret}}],
        "resources": {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": _LOCKED,
        "volumeMounts": [*_MOUNTS, {"name": "fetch", "mountPath": "/fetch"}],
    }


def fetch_volumes(served: Served, target: KubernetesTarget) -> list[dict[str, Any]]:
    """What that container needs, and the volume that it fills."""
    return [
        {"name": "models", "emptyDir": {"sizeLimit": target.storage or volume_size(served)}},
        {"name": "fetch", "configMap": {"name": served.files_name}},
        {"name": "tmp", "emptyDir": {}},
    ]


def _deployment(served: Served, target: KubernetesTarget) -> dict[str, Any]:
    health = {"httpGet": {"path": "/health", "port": "http"}}
    main = {
        "name": "vllm",
        "image": target.vllm_image,
        "args": _arguments(served, target),
        "env": [
            *_ENVIRONMENT,
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
        "securityContext": _LOCKED,
        # Requests that are being answered may end before the pod does.
        "lifecycle": {"preStop": {"exec": {"command": ["/bin/sh", "-c", "sleep 15"]}}},
        "volumeMounts": [*_MOUNTS, {"name": "shm", "mountPath": "/dev/shm"}],  # noqa: S108
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
            "selector": {"matchLabels": _labels(served)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {"metadata": {"labels": _labels(served), "annotations": scrape}, "spec": pod},
        },
    }


def volume_size(served: Served) -> str:
    """Room for all files, and a quarter more."""
    size = sum(file.size_bytes for _, file in served.placed())
    return f"{max(2, -(-size * 5 // 4 // 2**30))}Gi"


def _service(served: Served, target: KubernetesTarget) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(served, target),
        "spec": {"selector": _labels(served), "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
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
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _labels(served)}},
    }


def _network(served: Served, target: KubernetesTarget) -> dict[str, Any]:
    labels = ({"sartor.dev/role": "gateway"}, {_CLIENT: "true"})
    allowed = [{"namespaceSelector": {}, "podSelector": {"matchLabels": each}} for each in labels]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(served, target),
        "spec": {
            "podSelector": {"matchLabels": _labels(served)},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": allowed, "ports": [{"port": _PORT}]}],
        },
    }


def to_yaml(value: Mapping[str, Any]) -> str:
    """As people read it."""
    return str(yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True, width=110))


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


def kubernetes_name(endpoint: str) -> str:
    """A DNS label for an endpoint, of no other one: services begin with a letter, and have 63 characters."""
    project, name = endpoint.split("/")[1::2]
    label = f"{project}--{name}"
    if len(label) <= _LONGEST_NAME and label.count("--") == 1 and label[0].isalpha():
        return label
    digest = hashlib.sha256(endpoint.encode()).hexdigest()[:8]
    return f"m-{label[: _LONGEST_NAME - 11].rstrip('-')}-{digest}"
