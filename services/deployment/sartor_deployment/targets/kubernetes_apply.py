"""Manifests applied through the Kubernetes API by server-side apply, all checked before any is changed.

Every object is first applied with `dryRun=All`: what the cluster would refuse, or this service may not do, is
known before anything is touched. The field manager is ours: what people changed is told as a conflict.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import yaml
from sartor_platform.errors import FailedPrecondition, PermissionDenied, SartorError, Unavailable

FIELD_MANAGER = "sartor"
IN_CLUSTER = "in-cluster"
_SECONDS = 20
_PLACES = {
    "Namespace": ("/api/v1", "namespaces"),
    "ConfigMap": ("/api/v1", "configmaps"),
    "Service": ("/api/v1", "services"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "HorizontalPodAutoscaler": ("/apis/autoscaling/v2", "horizontalpodautoscalers"),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets"),
    "LLMInferenceService": ("/apis/serving.kserve.io/v1alpha2", "llminferenceservices"),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies"),
}


class Cluster(Protocol):
    """One call of the Kubernetes API: status and body."""

    def patch(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Server-side apply."""
        ...


@dataclass(frozen=True, slots=True)
class Applied:
    """One object as the cluster has it now."""

    kind: str
    name: str
    resource_version: str


def apply(files: Mapping[str, str], namespace: str, cluster: Cluster) -> list[Applied]:
    """Apply what `kubernetes_model.rendered` made; the namespace first.

    Raises:
        PermissionDenied: KUBERNETES_FORBIDDEN. FailedPrecondition: KUBERNETES_REFUSED, KUBERNETES_CONFLICT.
        Unavailable: KUBERNETES_AWAY.
        Each names the object, and says whether anything was changed; to apply again is harmless.
    """
    objects = list(_objects(files))
    exists = _namespace_exists(objects, namespace, cluster)
    for each in objects:
        # In a namespace that is only about to be made nothing can be tried out.
        if exists or each["kind"] == "Namespace":
            _apply(each, namespace, cluster, dry=True)
    return [_apply(each, namespace, cluster, dry=False) for each in objects]


class KubernetesCluster:
    """The real one, through the official client's connection and credentials."""

    def __init__(self, config: str) -> None:
        """`config` is IN_CLUSTER or the path of a kubeconfig file.

        Raises:
            FailedPrecondition: KUBERNETES_NOT_CONFIGURED.
        """
        try:
            from kubernetes import client
            from kubernetes import config as configuration
        except ImportError as error:
            raise FailedPrecondition(
                "the wheel `kubernetes` is not installed where this service runs: pip install"
                " 'sartor-deployment[kubernetes]', or apply the files yourself with `kubectl apply -k`",
                reason="KUBERNETES_NOT_CONFIGURED",
            ) from error

        settings = client.Configuration()
        try:
            if config == IN_CLUSTER:
                configuration.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
            else:
                configuration.load_kube_config(config, client_configuration=settings)  # type: ignore[no-untyped-call]
        except (configuration.ConfigException, OSError) as error:
            raise FailedPrecondition(
                f"SARTOR_KUBERNETES does not lead to a cluster: {error}",
                reason="KUBERNETES_NOT_CONFIGURED",
            ) from error
        self._api = client.ApiClient(settings)
        self._host = settings.host.rstrip("/")

    def patch(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Server-side apply. Raises Unavailable: KUBERNETES_AWAY."""
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        headers = {"Content-Type": "application/apply-patch+yaml", "Accept": "application/json"}
        self._api.update_params_for_auth(headers, [], ["BearerToken"], None, None, None)
        try:
            answer = self._api.rest_client.request(  # type: ignore[no-untyped-call]
                "PATCH", self._host + path, headers=headers, body=body, _request_timeout=_SECONDS
            )
            return int(answer.status), bytes(answer.read() or b"")
        except ApiException as error:
            return int(error.status or 0), str(error.body or "").encode()
        except (HTTPError, OSError) as error:
            raise Unavailable(
                f"the Kubernetes API at {self._host} does not answer: {error}", reason="KUBERNETES_AWAY"
            ) from error


def _objects(files: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    found = [
        document
        for name in sorted(files)
        if name.endswith(".yaml")
        for document in yaml.safe_load_all(files[name])
        if isinstance(document, dict) and document.get("kind") in _PLACES
    ]
    order = list(_PLACES)
    yield from sorted(found, key=lambda each: order.index(each["kind"]))


def _namespace_exists(objects: Sequence[Mapping[str, Any]], namespace: str, cluster: Cluster) -> bool:
    """Whether objects of it can be tried out: a dry run in a namespace that is not there is refused."""
    trial = next((each for each in objects if each["kind"] != "Namespace"), None)
    if trial is None:
        return False
    status, body = cluster.patch(_path(trial, namespace, dry=True), _body(trial))
    return not (status == 404 and b"namespaces" in body)


def _apply(given: Mapping[str, Any], namespace: str, cluster: Cluster, *, dry: bool) -> Applied:
    status, body = cluster.patch(_path(given, namespace, dry=dry), _body(given))
    kind, name = str(given["kind"]), str(given["metadata"]["name"])
    if status not in (200, 201):
        raise _refused(status, body, f"{kind} {name}", changed=not dry)
    try:
        version = str(json.loads(body)["metadata"].get("resourceVersion", ""))
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable(
            f"the Kubernetes API answered something else than {kind} {name}", reason="KUBERNETES_AWAY"
        ) from error
    return Applied(kind, name, version)


def _refused(status: int, body: bytes, what: str, *, changed: bool) -> SartorError:
    try:
        said = str(json.loads(body).get("message", ""))
    except (ValueError, AttributeError):
        said = body.decode("utf-8", "replace")[:300]
    tail = "" if changed else "; nothing was changed"
    metadata = {"object": what, "status": str(status)}
    if status in (401, 403):
        text = (
            f"this service may not apply {what}: {said}{tail}. Give its service account the right, or"
            " commit the folder for GitOps"
        )
        return PermissionDenied(text, reason="KUBERNETES_FORBIDDEN", metadata=metadata)
    if status == 409:
        text = f"{what} was changed by somebody else: {said}{tail}. Take the change over, or undo it there"
        return FailedPrecondition(text, reason="KUBERNETES_CONFLICT", metadata=metadata)
    if status >= 500 or status == 429:
        return Unavailable(f"the cluster cannot take {what} now: {said}{tail}", reason="KUBERNETES_AWAY")
    text = f"the cluster refuses {what}: {said}{tail}"
    return FailedPrecondition(text, reason="KUBERNETES_REFUSED", metadata=metadata)


def _path(given: Mapping[str, Any], namespace: str, *, dry: bool) -> str:
    root, plural = _PLACES[given["kind"]]
    name = quote(str(given["metadata"]["name"]), safe="")
    place = "" if given["kind"] == "Namespace" else f"/namespaces/{quote(namespace, safe='')}"
    query = {"fieldManager": FIELD_MANAGER, **({"dryRun": "All"} if dry else {})}
    return f"{root}{place}/{plural}/{name}?{urlencode(query)}"


def _body(given: Mapping[str, Any]) -> bytes:
    return json.dumps(given).encode()  # JSON is YAML
