"""Manifests applied to a small API server that speaks HTTP as Kubernetes does: all or nothing."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from sartor_deployment.targets.kubernetes_apply import KubernetesCluster, apply
from sartor_deployment.targets.kubernetes_model import KubernetesTarget, ObjectFile, Served
from sartor_deployment.targets.kubernetes_vllm import render
from sartor_platform.errors import FailedPrecondition, PermissionDenied, Unavailable

TARGET = KubernetesTarget(s3_endpoint="https://store.example")
FILES = render(
    Served(
        "desk-support",
        "projects/desk/endpoints/support/revisions/r1",
        [ObjectFile("model.safetensors", "s3://b/m", "a" * 64, 10)],
        [ObjectFile("adapter_config.json", "s3://b/a", "b" * 64, 10)],
        2048,
    ),
    TARGET,
)


class ApiServer:
    """Keeps what is applied. `refusals`: kind's plural → (status, message)."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.asked: list[tuple[str, bool]] = []
        self.refusals: dict[str, tuple[int, str]] = {}
        self.tokens: set[str] = set()

    def patch(self, path: str, headers: Any, body: bytes) -> tuple[int, dict[str, Any]]:
        """Server-side apply."""
        parts = urlsplit(path)
        query = parse_qs(parts.query)
        plural, name = parts.path.split("/")[-2:]
        assert query["fieldManager"] == ["sartor"]
        assert headers["Content-Type"] == "application/apply-patch+yaml"
        self.tokens.add(headers.get("Authorization", ""))
        dry = query.get("dryRun") == ["All"]
        self.asked.append((plural, dry))
        if plural in self.refusals:
            status, message = self.refusals[plural]
            return status, {"kind": "Status", "message": message}
        namespace = parts.path.split("/namespaces/")[-1].split("/")[0]
        if plural != "namespaces" and namespace not in self.kept:
            return 404, {"kind": "Status", "message": f'namespaces "{namespace}" not found'}
        value = yaml.safe_load(body)
        assert value["metadata"]["name"] == name
        if not dry:
            self.kept[name if plural == "namespaces" else f"{plural}/{name}"] = value
        value["metadata"]["resourceVersion"] = str(len(self.kept))
        return 200, value


@pytest.fixture
def server() -> ApiServer:
    """An empty cluster."""
    return ApiServer()


@pytest.fixture
def cluster(server: ApiServer, tmp_path: Path) -> Iterator[KubernetesCluster]:
    """The official client, led there by a kubeconfig file."""

    class Handler(BaseHTTPRequestHandler):
        def do_PATCH(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, value = server.patch(self.path, self.headers, body)
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Quiet."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield KubernetesCluster(str(kubeconfig(tmp_path, f"http://127.0.0.1:{http.server_address[1]}")))
    finally:
        http.shutdown()
        http.server_close()


def kubeconfig(folder: Path, url: str) -> Path:
    """As `kubectl` has it."""
    value = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "k", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": "secret-token"}}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(value))
    return path


def test_everything_that_was_rendered_is_applied(server: ApiServer, cluster: KubernetesCluster) -> None:
    """The namespace first, with the credentials of the configuration; again it is harmless."""
    done = apply(FILES, TARGET.namespace, cluster)
    kinds = {yaml.safe_load(text)["kind"] for name, text in FILES.items() if name.endswith(".yaml")}
    assert {each.kind for each in done} == kinds - {"Kustomization"}
    assert done[0].kind == "Namespace"
    assert TARGET.namespace in server.kept
    assert server.kept["deployments/desk-support"]["kind"] == "Deployment"
    assert server.tokens == {"Bearer secret-token"}
    before = dict(server.kept)
    assert len(apply(FILES, TARGET.namespace, cluster)) == len(done)
    assert server.kept.keys() == before.keys()


def test_without_a_right_nothing_is_changed(server: ApiServer, cluster: KubernetesCluster) -> None:
    """The error names the object and the other way."""
    apply(FILES, TARGET.namespace, cluster)
    server.asked.clear()
    server.refusals["networkpolicies"] = (403, "sartor cannot patch networkpolicies")
    with pytest.raises(PermissionDenied, match=r"NetworkPolicy .* nothing was changed.* GitOps"):
        apply(FILES, TARGET.namespace, cluster)
    assert all(dry for _, dry in server.asked)


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        (409, FailedPrecondition, "KUBERNETES_CONFLICT"),
        (422, FailedPrecondition, "KUBERNETES_REFUSED"),
        (503, Unavailable, "KUBERNETES_AWAY"),
    ],
)
def test_each_refusal_says_what_to_do(
    server: ApiServer, cluster: KubernetesCluster, status: int, error: type[Exception], reason: str
) -> None:
    """With the cluster's own words."""
    apply(FILES, TARGET.namespace, cluster)
    server.refusals["deployments"] = (status, "the cluster's own words")
    with pytest.raises(error, match="the cluster's own words") as caught:
        apply(FILES, TARGET.namespace, cluster)
    assert caught.value.reason == reason  # type: ignore[attr-defined]


def test_a_cluster_that_is_away_is_told(tmp_path: Path) -> None:
    """A closed port, a configuration that is none."""
    away = KubernetesCluster(str(kubeconfig(tmp_path, "http://127.0.0.1:9")))
    with pytest.raises(Unavailable, match="does not answer"):
        apply(FILES, TARGET.namespace, away)
    with pytest.raises(FailedPrecondition, match="SARTOR_KUBERNETES"):
        KubernetesCluster(str(tmp_path / "missing"))


def test_a_missing_wheel_is_told_with_the_way_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes with an extra only."""
    monkeypatch.setitem(sys.modules, "kubernetes", None)  # as where it is not installed
    with pytest.raises(FailedPrecondition, match=r"sartor-deployment\[kubernetes\]"):
        KubernetesCluster("in-cluster")
