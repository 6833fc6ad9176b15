"""Manifests for vLLM on Kubernetes: they fit the API strictly, build, and load what was approved."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from sartor_datasets.manifests import ManifestFile, ModelVersionManifest, ObjectReference
from sartor_deployment.targets.kubernetes_model import (
    KubernetesTarget,
    ObjectFile,
    Served,
    kubernetes_name,
)
from sartor_deployment.targets.kubernetes_vllm import render
from sartor_deployment.usecases.render import check_vllm_can
from sartor_platform.errors import FailedPrecondition

from tests.kustomize import kustomize, needs_kubectl

BASE = [ObjectFile("model.safetensors", "s3://b/base-models/d/model.safetensors", "a" * 64, 3 * 2**30)]
ADAPTER = [
    ObjectFile("adapter_config.json", "s3://b/v/adapter_config.json", "b" * 64, 400),
    ObjectFile("adapter_model.safetensors", "s3://b/v/x y'.safetensors", "c" * 64, 2**20),
]
SERVED = Served("desk-support", "projects/desk/endpoints/support/revisions/r3", BASE, ADAPTER, 4096, 32)


def loaded(served: Served = SERVED, target: KubernetesTarget | None = None) -> dict[str, Any]:
    """The resources by their file's name."""
    texts = render(served, target or KubernetesTarget())
    return {
        name.removesuffix(".yaml"): yaml.safe_load(text) for name, text in texts.items() if ".yaml" in name
    }


@pytest.mark.parametrize("served", [SERVED, Served("full", "r1", BASE, BASE, 2048)])
def test_every_resource_fits_the_kubernetes_schema(served: Served) -> None:
    """Strictly: a field the API does not have is a fault."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for name, resource in loaded(served).items():
        if name != "kustomization":
            kubernetes_validate.validate(resource, "1.32", strict=True)


@needs_kubectl
def test_the_folder_builds_with_kustomize(tmp_path: Path) -> None:
    """As a GitOps controller would."""
    for name, text in render(SERVED, KubernetesTarget()).items():
        (tmp_path / name).write_text(text)
    assert len(kustomize(tmp_path)) == 7


def test_it_asks_for_a_gpu_loads_the_adapter_and_scales_with_its_queue() -> None:
    """The adapter is the model's name; the base is shared beside it."""
    found = loaded(target=KubernetesTarget(gpus=2, max_replicas=9, s3_endpoint="https://s3.example"))
    pod = found["deployment"]["spec"]["template"]["spec"]
    (engine,) = pod["containers"]
    assert engine["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert "--enable-lora" in engine["args"]
    assert "desk-support=/models/version" in engine["args"]
    assert engine["args"][engine["args"].index("--max-lora-rank") + 1] == "32"
    assert engine["args"][engine["args"].index("--tensor-parallel-size") + 1] == "2"
    assert "USER" in [each["name"] for each in engine["env"]]
    assert {"name": "AWS_ENDPOINT_URL", "value": "https://s3.example"} in pod["initContainers"][0]["env"]
    scaling = found["autoscaling"]["spec"]
    assert (scaling["minReplicas"], scaling["maxReplicas"]) == (1, 9)
    assert scaling["metrics"][0]["pods"]["metric"]["name"] == "vllm_num_requests_waiting"
    assert "replicas" not in found["deployment"]["spec"]
    assert pod["volumes"][0]["emptyDir"]["sizeLimit"] == "4Gi"


@pytest.mark.parametrize(("rank", "told"), [(4, "8"), (12, "16"), (200, "256")])
def test_the_rank_is_one_that_vllm_takes(rank: int, told: str) -> None:
    """It knows eight ranks; the next higher one holds the adapter."""
    (engine,) = loaded(replace(SERVED, lora_rank=rank))["deployment"]["spec"]["template"]["spec"][
        "containers"
    ]
    assert engine["args"][engine["args"].index("--max-lora-rank") + 1] == told


def test_full_weights_stand_instead_of_the_bases() -> None:
    """One folder: the version's files, and of the base's what the version has not, without its weights."""
    base = [
        *BASE,
        ObjectFile("config.json", "s3://b/c", "e" * 64, 9),
        ObjectFile("vocab", "s3://b/v", "f" * 64, 9),
    ]
    version = [
        ObjectFile("model-1.safetensors", "s3://v/m", "1" * 64, 2**30),
        ObjectFile("config.json", "s3://v/c", "2" * 64, 9),
    ]
    found = loaded(Served("full", "r1", base, version, 2048))
    (engine,) = found["deployment"]["spec"]["template"]["spec"]["containers"]
    assert "--enable-lora" not in engine["args"]
    sums = [line.split() for line in found["files"]["data"]["sha256sums"].splitlines()]
    assert sorted((path, digest[0]) for digest, path in sums) == [
        ("/models/base/config.json", "2"),
        ("/models/base/model-1.safetensors", "1"),
        ("/models/base/vocab", "f"),
    ]


def test_a_pod_of_another_revision_never_meets_these_files() -> None:
    """Their list has a name of their own that its pods refer to, and nobody can change it."""
    other = [ADAPTER[0], replace(ADAPTER[1], sha256="d" * 64)]
    later = replace(SERVED, revision="r4", context_length=512)
    names = []
    for served in (SERVED, replace(SERVED, version=other), later):
        found = loaded(served)
        volumes = found["deployment"]["spec"]["template"]["spec"]["volumes"]
        (fetched,) = [each["configMap"]["name"] for each in volumes if "configMap" in each]
        assert found["files"]["metadata"]["name"] == fetched
        assert found["files"]["immutable"]
        names.append(fetched)
    assert names[0].startswith("desk-support-files-")
    assert names[0] != names[1]
    assert names[0] == names[2]  # the same files


def test_clients_and_prometheus_reach_it_by_a_label() -> None:
    """The network policy names it, and the README says who needs it."""
    (rule,) = loaded()["network"]["spec"]["ingress"]
    labels = [each["podSelector"]["matchLabels"] for each in rule["from"]]
    assert {"sartor.dev/model-client": "true"} in labels
    assert 'sartor.dev/model-client: "true"' in render(SERVED, KubernetesTarget())["README.md"]


@pytest.mark.parametrize(
    ("file", "adapter", "said"),
    [
        ("output_layer.json", {}, "an engine of its own"),
        ("adapter_config.json", {"r": 8, "use_dora": True}, "not dora"),
        ("adapter_config.json", {"r": 600}, "512 at most"),
    ],
)
def test_what_vllm_cannot_serve_is_refused_before_it_is_written(
    file: str, adapter: dict[str, Any], said: str
) -> None:
    """Else the pods would say it, after minutes, in a loop."""
    stored = ManifestFile(file, ObjectReference("s3://b/k", "a" * 64, 1))
    version = ModelVersionManifest(
        name="projects/p/models/m/versions/v", training_job="", method="sft", base_model="",
        base_model_digest="", curation="", snapshot="", recipe={}, files=(stored,), metrics={},
        library_versions={}, seed=1, create_time=datetime.now(UTC),
    )  # fmt: skip
    with pytest.raises(FailedPrecondition, match=said):
        check_vllm_can(version, adapter)


def test_the_fetch_script_compares_every_digest_and_stops_at_a_wrong_one(tmp_path: Path) -> None:
    """Run with a stand-in for the store's client: right bytes pass, changed bytes end it."""
    import hashlib

    (tmp_path / "bin").mkdir()
    client = tmp_path / "bin" / "aws"
    client.write_text('#!/bin/sh\nprintf "%s" "${BYTES:-right}" > "$5"\n')
    client.chmod(0o755)
    good = hashlib.sha256(b"right").hexdigest()
    files = [ObjectFile("sub/it's one.bin", "s3://b/k", good, 5)]
    own = [ObjectFile("sub/it's one.bin", "s3://v/k", good, 5)]
    data = loaded(Served("m", "r", [replace(files[0], sha256="0" * 64)], own, 2048))["files"]["data"]
    script = data["fetch.sh"].replace("/models", str(tmp_path)).replace("/fetch/", f"{tmp_path}/")
    (tmp_path / "sha256sums").write_text(data["sha256sums"].replace("/models", str(tmp_path)))

    def run(content: str) -> int:
        environment = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "BYTES": content}
        return subprocess.run(
            ["sh", "-c", script], env=environment, capture_output=True, check=False
        ).returncode

    assert run("right") == 0
    assert run("wrong") != 0


def test_each_endpoint_has_a_name_of_its_own() -> None:
    """Also where hyphens move, names are long, or begin with a digit, as no service's may."""
    named = [("a", "b-c"), ("a-b", "c"), ("a", "b--c"), ("a--b", "c"), ("7", "x"), ("p" * 63, "q" * 63)]
    named += [("p" * 63, "q" * 62)]
    names = [kubernetes_name(f"projects/{project}/endpoints/{name}") for project, name in named]
    assert names[:2] == ["a--b-c", "a-b--c"]
    assert len(set(names)) == len(named)
    assert all(re.fullmatch("[a-z][a-z0-9-]{0,50}[a-z0-9]", each) for each in names)
