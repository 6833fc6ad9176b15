"""A model on Kubernetes, whatever serves it there: what it is called, and how its files come into a pod.

An init container fetches every file by its object's name and compares its SHA-256 before anything reads it.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

MODELS = "/models"
VLLM_IMAGE = "vllm/vllm-openai:v0.11.0"
_FETCH = "amazon/aws-cli:2.31.0"
UID = 10001
_LONGEST_NAME = 52  # so that the ends that Kubernetes puts behind it fit into a label as well
_LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # vLLM takes no others
MOUNTS = ({"name": "models", "mountPath": MODELS}, {"name": "tmp", "mountPath": "/tmp"})  # noqa: S108
ENVIRONMENT = ({"name": "HOME", "value": "/tmp"},)  # noqa: S108
RUN_AS = {"runAsNonRoot": True, "runAsUser": UID, "seccompProfile": {"type": "RuntimeDefault"}}
_NO_RIGHTS = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
LOCKED = {**_NO_RIGHTS, "readOnlyRootFilesystem": True}


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


def rendered(
    resources: Mapping[str, Mapping[str, Any]], target: KubernetesTarget, readme: str
) -> dict[str, str]:
    """The files of a folder for `kubectl apply -k`, or for a GitOps repository: name → text."""
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": target.namespace,
        "resources": list(resources),
    }
    texts = {name: _yaml(value) for name, value in resources.items()}
    return {"kustomization.yaml": _yaml(kustomization), **texts, "README.md": readme}


def kubernetes_name(endpoint: str) -> str:
    """A DNS label for an endpoint, of no other one: services begin with a letter, and have 63 characters."""
    project, name = endpoint.split("/")[1::2]
    label = f"{project}--{name}"
    if len(label) <= _LONGEST_NAME and label.count("--") == 1 and label[0].isalpha():
        return label
    digest = hashlib.sha256(endpoint.encode()).hexdigest()[:8]
    return f"m-{label[: _LONGEST_NAME - 11].rstrip('-')}-{digest}"


def metadata(served: Served, target: KubernetesTarget) -> dict[str, Any]:
    """Name, namespace and labels of an object."""
    return {"name": served.name, "namespace": target.namespace, "labels": labels(served)}


def labels(served: Served) -> dict[str, str]:
    """By which its objects are found."""
    return {"app.kubernetes.io/name": served.name, "app.kubernetes.io/managed-by": "sartor"}


def namespace_manifest(target: KubernetesTarget) -> dict[str, Any]:
    """The namespace, in which nothing runs with rights."""
    security = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": target.namespace, "labels": security},
    }


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
        "env": [*ENVIRONMENT, *store],
        "envFrom": [{"secretRef": {"name": target.credentials_secret}}],
        "resources": {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": LOCKED,
        "volumeMounts": [*MOUNTS, {"name": "fetch", "mountPath": "/fetch"}],
    }


def fetch_volumes(served: Served, target: KubernetesTarget) -> list[dict[str, Any]]:
    """What that container needs, and the volume that it fills."""
    return [
        {"name": "models", "emptyDir": {"sizeLimit": target.storage or _volume_size(served)}},
        {"name": "fetch", "configMap": {"name": served.files_name}},
        {"name": "tmp", "emptyDir": {}},
    ]


def _volume_size(served: Served) -> str:
    """Room for all files, and a quarter more."""
    size = sum(file.size_bytes for _, file in served.placed())
    return f"{max(2, -(-size * 5 // 4 // 2**30))}Gi"


def _yaml(value: Mapping[str, Any]) -> str:
    """As people read it."""
    return str(yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True, width=110))
