"""Manifests for vLLM on Kubernetes: they fit the API strictly, build, and load what was approved."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from sartor_deployment.targets.kubernetes_vllm import KubernetesTarget, ObjectFile, Served, render

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


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_the_folder_builds_with_kustomize(tmp_path: Path) -> None:
    """As a GitOps controller would."""
    for name, text in render(SERVED, KubernetesTarget()).items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        ["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(list(yaml.safe_load_all(done.stdout))) == 7


def test_it_asks_for_a_gpu_loads_the_adapter_and_scales_with_its_queue() -> None:
    """The adapter is the model's name; the base is shared beside it."""
    found = loaded(target=KubernetesTarget(gpus=2, max_replicas=9, s3_endpoint="https://s3.example"))
    pod = found["deployment"]["spec"]["template"]["spec"]
    (engine,) = pod["containers"]
    assert engine["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert "--enable-lora" in engine["args"]
    assert "desk-support=/models/version" in engine["args"]
    assert engine["args"][engine["args"].index("--max-lora-rank") + 1] == "32"
    assert {"name": "AWS_ENDPOINT_URL", "value": "https://s3.example"} in pod["initContainers"][0]["env"]
    scaling = found["autoscaling"]["spec"]
    assert (scaling["minReplicas"], scaling["maxReplicas"]) == (1, 9)
    assert scaling["metrics"][0]["pods"]["metric"]["name"] == "vllm_num_requests_waiting"
    assert "replicas" not in found["deployment"]["spec"]
    assert pod["volumes"][0]["emptyDir"]["sizeLimit"] == "8Gi"


def test_full_weights_are_laid_over_the_base() -> None:
    """Without LoRA."""
    found = loaded(Served("full", "r1", BASE, BASE, 2048))
    (engine,) = found["deployment"]["spec"]["template"]["spec"]["containers"]
    assert "--enable-lora" not in engine["args"]
    assert "cp /models/version/* /models/base/" in found["files"]["data"]["fetch.sh"]


def test_the_fetch_script_compares_every_digest_and_stops_at_a_wrong_one(tmp_path: Path) -> None:
    """Run with a stand-in for the store's client: right bytes pass, changed bytes end it."""
    import hashlib

    (tmp_path / "bin").mkdir()
    client = tmp_path / "bin" / "aws"
    client.write_text('#!/bin/sh\nprintf "%s" "${BYTES:-right}" > "$5"\n')
    client.chmod(0o755)
    good = hashlib.sha256(b"right").hexdigest()
    files = [ObjectFile("sub/it's one.bin", "s3://b/k", good, 5)]
    data = loaded(Served("m", "r", files, ADAPTER[:0], 2048))["files"]["data"]
    script = data["fetch.sh"].replace("/models", str(tmp_path)).replace("/fetch/", f"{tmp_path}/")
    script = script.replace(f"cp {tmp_path}/version/* {tmp_path}/base/\n", "")
    (tmp_path / "sha256sums").write_text(data["sha256sums"].replace("/models", str(tmp_path)))

    def run(content: str) -> int:
        environment = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "BYTES": content}
        return subprocess.run(
            ["sh", "-c", script], env=environment, capture_output=True, check=False
        ).returncode

    assert run("right") == 0
    assert run("wrong") != 0
