"""deploy/ builds, fits the Kubernetes API, and names only settings that exist. No cluster, no network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from tests.kustomize import kustomize, needs_kubectl
from tests.unit.deploy.conftest import ROOT, SERVICES, required_of, variables_of

VARIANTS = ("base", "overlays/cloud", "overlays/onprem", "overlays/edge")
KUBERNETES = "1.32"
CREDENTIALS = {"SARTOR_DATABASE_URL", "SARTOR_S3_ACCESS_KEY", "SARTOR_S3_SECRET_KEY"}

pytestmark = needs_kubectl


@cache
def built(variant: str) -> tuple[dict[str, Any], ...]:
    """What kustomize makes of a variant."""
    return tuple(kustomize(ROOT / "deploy" / variant))


def of_kind(variant: str, *kinds: str) -> list[dict[str, Any]]:
    """The resources of these kinds."""
    return [resource for resource in built(variant) if resource["kind"] in kinds]


def ours(variant: str) -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """(name, service, pod, container) of each container that runs Sartor."""
    for workload in of_kind(variant, "Deployment", "StatefulSet", "Job"):
        pod = workload["spec"]["template"]["spec"]
        for container in [*pod.get("initContainers", ()), *pod["containers"]]:
            if container["image"].startswith("sartor/"):
                service = container["image"].removeprefix("sartor/").partition(":")[0]
                yield f"{workload['metadata']['name']}/{container['name']}", service, pod, container


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_resource_fits_the_kubernetes_schema(variant: str) -> None:
    """Strictly: a field the API does not have is a fault."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for resource in built(variant):
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)


def test_the_base_has_a_server_and_a_worker_of_every_service() -> None:
    """And the gateway, the agent and the migrations."""
    names = {workload["metadata"]["name"] for workload in of_kind("base", "Deployment", "StatefulSet", "Job")}
    roles = {f"{service}-{role}" for service in SERVICES for role in ("server", "worker")}
    assert names == roles | {"agent", "gateway", "migrations"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variable_is_a_setting_of_its_service(variant: str) -> None:
    """A misspelt variable would be ignored in silence; a missing one keeps the process from starting."""
    maps = {item["metadata"]["name"]: item["data"] for item in of_kind(variant, "ConfigMap")}
    for name, service, _, container in ours(variant):
        given = {item["name"] for item in container.get("env", ())}
        for source in container["envFrom"]:
            if "configMapRef" in source:
                given |= set(maps[source["configMapRef"]["name"]])
            else:
                assert source["secretRef"]["name"] == "sartor-credentials"
                given |= CREDENTIALS
        # What other variables are made of is the cluster's own, as $(POD_IP).
        parts = set(re.findall(r"\$\((\w+)\)", str([item.get("value") for item in container.get("env", ())])))
        unknown = given - variables_of(service) - parts
        # The gateway's address is told to all of deployment, the rest to everybody.
        assert not unknown, f"{name} is given {sorted(unknown)}, which {service} does not read"
        assert required_of(service) <= given, f"{name} lacks {sorted(required_of(service) - given)}"


@pytest.mark.parametrize("variant", VARIANTS)
def test_our_pods_run_without_root_and_cannot_write_their_image(variant: str) -> None:
    """As the restricted pod security standard wants it, with a read-only root besides."""
    seen = list(ours(variant))
    assert seen
    for name, _, pod, container in seen:
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True, name
        assert security["allowPrivilegeEscalation"] is False, name
        assert security["capabilities"] == {"drop": ["ALL"]}, name
        assert container["resources"]["requests"]["memory"], name
        assert container["resources"]["limits"]["memory"], name


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_long_running_process_has_its_probes_and_a_work_folder(variant: str) -> None:
    """gRPC health for servers, HTTP for the others."""
    for workload in of_kind(variant, "Deployment", "StatefulSet"):
        role = workload["metadata"]["labels"].get("sartor.dev/role")
        if role == "infrastructure":
            continue
        container = workload["spec"]["template"]["spec"]["containers"][0]
        assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
        assert container["startupProbe"]
        if role == "server":
            assert container["readinessProbe"]["grpc"] == {"port": 50051}
        elif role in ("worker", "gateway"):
            assert container["readinessProbe"]["httpGet"]["path"] == "/healthz"
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {"/var/lib/sartor", "/tmp"} <= mounts


@pytest.mark.parametrize("variant", VARIANTS)
def test_services_and_budgets_select_pods_that_exist(variant: str) -> None:
    """A selector that fits nothing is a service that answers nobody."""
    labels = [
        workload["spec"]["template"]["metadata"]["labels"]
        for workload in of_kind(variant, "Deployment", "StatefulSet")
    ]
    for item in of_kind(variant, "Service", "PodDisruptionBudget"):
        selector = item["spec"]["selector"]
        wanted = selector.get("matchLabels", selector)
        assert any(wanted.items() <= found.items() for found in labels), item["metadata"]["name"]


def test_the_overlays_really_differ() -> None:
    """Cloud scales, on-premise brings its servers, the edge only takes in and serves."""
    assert of_kind("overlays/cloud", "HorizontalPodAutoscaler")
    assert of_kind("overlays/cloud", "Ingress")
    infrastructure = {item["metadata"]["name"] for item in of_kind("overlays/onprem", "StatefulSet")}
    assert infrastructure == {"agent", "kafka", "minio", "postgres"}
    edge = {item["metadata"]["name"] for item in of_kind("overlays/edge", "Deployment", "StatefulSet")}
    assert edge == {"ingestion-server", "ingestion-worker", "deployment-server", "agent", "gateway"}
    assert not of_kind("overlays/edge", "PodDisruptionBudget")
