"""The LLMInferenceService of KServe: it fits the CRD strictly, and loads what was approved.

`kserve_llminferenceservice.json` is the CRD's own schema (it names its source and its version).
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from sartor_deployment.targets.kubernetes_apply import apply
from sartor_deployment.targets.kubernetes_kserve import render_kserve
from sartor_deployment.targets.kubernetes_model import KubernetesTarget, Served

from tests.kustomize import kustomize, needs_kubectl
from tests.unit.deployment.test_kubernetes_vllm import BASE, SERVED

CRD = json.loads((Path(__file__).parent / "kserve_llminferenceservice.json").read_text())
FULL = Served("full", "r1", BASE, BASE, 2048)


def resource(served: Served = SERVED, target: KubernetesTarget | None = None) -> dict[str, Any]:
    """The LLMInferenceService."""
    text = render_kserve(served, target or KubernetesTarget())["llminferenceservice.yaml"]
    found: dict[str, Any] = yaml.safe_load(text)
    return found


@pytest.mark.parametrize("served", [SERVED, FULL])
@pytest.mark.parametrize("target", [KubernetesTarget(), KubernetesTarget(gpus=2, max_replicas=1)])
def test_it_fits_the_crd_and_what_kserve_checks_beside_it(served: Served, target: KubernetesTarget) -> None:
    """Strictly: a field the CRD does not have is a fault. Its webhook's rules hold too."""
    found = resource(served, target)
    jsonschema.validate(found, CRD)
    spec = found["spec"]
    assert ("replicas" in spec) != ("scaling" in spec)
    assert "lora" not in spec["model"], "KServe refuses s3 adapters without its own storage initializer"
    assert spec["storageInitializer"] == {"enabled": False}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**found, "spec": {**spec, "replica": 1}}, CRD)


def test_its_other_files_fit_the_kubernetes_schema() -> None:
    """Namespace and digests, as in the plain form."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    texts = render_kserve(SERVED, KubernetesTarget())
    for name in ("namespace.yaml", "files.yaml"):
        kubernetes_validate.validate(yaml.safe_load(texts[name]), "1.32", strict=True)
    listed = yaml.safe_load(texts["kustomization.yaml"])["resources"]
    assert {*listed} == {name for name in texts if name.endswith(".yaml")} - {"kustomization.yaml"}


@needs_kubectl
def test_the_folder_builds_with_kustomize(tmp_path: Path) -> None:
    """As a GitOps controller would."""
    for name, text in render_kserve(SERVED, KubernetesTarget()).items():
        (tmp_path / name).write_text(text)
    assert len(kustomize(tmp_path)) == 3


def test_every_file_is_compared_with_its_digest_before_the_engine_reads_it() -> None:
    """The init container fills the folders that the engine reads, and nothing else does."""
    texts = render_kserve(SERVED, KubernetesTarget(s3_endpoint="https://s3.example"))
    sums = yaml.safe_load(texts["files.yaml"])["data"]["sha256sums"]
    assert len(sums.splitlines()) == len(BASE) + len(SERVED.version)
    pod = resource()["spec"]["template"]
    (fetch,), (main,) = pod["initContainers"], pod["containers"]
    assert fetch["command"] == ["/bin/sh", "/fetch/fetch.sh"]
    assert fetch["securityContext"]["runAsNonRoot"]
    places = {each["mountPath"]: (each["name"], each["subPath"]) for each in main["volumeMounts"]}
    assert places == {"/mnt/models": ("models", "base"), "/models/version": ("models", "version")}
    volumes = {each["name"] for each in pod["volumes"]}
    used = {each["name"] for container in (fetch, main) for each in container["volumeMounts"]}
    assert used <= volumes
    assert not volumes & {"home", "dshm", "model-cache", "tmp-dir", "tls-certs"}, "KServe's own"


def test_the_adapter_is_the_models_name_and_full_weights_have_none() -> None:
    """As in the plain form; the base keeps a name of its own, which KServe gives to vLLM."""
    spec = resource(replace(SERVED, lora_rank=12), KubernetesTarget(gpus=2, max_replicas=9))["spec"]
    (main,) = spec["template"]["containers"]
    assert spec["model"] == {"uri": "s3://b/base-models/d", "name": "desk-support-base"}
    assert "desk-support=/models/version" in main["args"]
    assert main["args"][main["args"].index("--max-lora-rank") + 1] == "16"
    assert main["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert spec["parallelism"] == {"tensor": 2}
    assert (spec["scaling"]["minReplicas"], spec["scaling"]["maxReplicas"]) == (1, 9)
    assert "image" not in main
    full = resource(FULL, KubernetesTarget(vllm_image="registry.example/vllm:1"))["spec"]
    (main,) = full["template"]["containers"]
    assert full["model"]["name"] == "full"
    assert "--enable-lora" not in main["args"]
    assert main["image"] == "registry.example/vllm:1"


def test_it_is_applied_through_the_api_of_its_group() -> None:
    """After what it refers to, each tried out before any is changed."""
    asked: list[str] = []

    class Cluster:
        def patch(self, path: str, body: bytes) -> tuple[int, bytes]:
            asked.append(path.partition("?")[0])
            return 200, json.dumps({"metadata": {"resourceVersion": "1"}}).encode()

    target = KubernetesTarget(namespace="models")
    applied = apply(render_kserve(SERVED, target), "models", Cluster())
    assert [each.kind for each in applied] == ["Namespace", "ConfigMap", "LLMInferenceService"]
    assert asked[-1] == "/apis/serving.kserve.io/v1alpha2/namespaces/models/llminferenceservices/desk-support"
