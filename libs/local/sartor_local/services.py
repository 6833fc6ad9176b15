"""Sartor's own processes as supervised ones: servers, workers, the deployment agent and the gateway."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sartor_local import probes
from sartor_local.folder import DataFolder
from sartor_local.ports import HOST, Ports
from sartor_local.process import ProcessSpec

SERVICES = ("ingestion", "curation", "training", "evaluation", "deployment")
_ROLES = {"deployment": ("agent", "gateway")}
_BASE = ("postgres", "seaweed", "tansu")


@dataclass(frozen=True, slots=True)
class Replicas:
    """How many of each process run side by side."""

    servers: int = 1
    workers: int = 1


@dataclass(frozen=True, slots=True)
class ServiceProcesses:
    """The processes of the chosen services and where they are reached."""

    specs: tuple[ProcessSpec, ...]
    targets: Mapping[str, str]
    """gRPC target of each service; several servers make one target of several addresses."""
    gateway_url: str


def service_processes(
    folder: DataFolder,
    ports: Ports,
    environment: Mapping[str, str],
    services: Sequence[str] = SERVICES,
    replicas: Replicas | None = None,
) -> ServiceProcesses:
    """What to run for these services; `environment` holds the SARTOR_… variables of the base servers."""
    counts = replicas or Replicas()
    gateway_port = ports.get("gateway") if "deployment" in services else 0
    gateway_url = f"http://{HOST}:{gateway_port}/v1" if gateway_port else ""
    shared = _python_environment(folder) | dict(environment)
    if gateway_port:
        shared |= {"SARTOR_GATEWAY_BIND": f"{HOST}:{gateway_port}", "SARTOR_GATEWAY_URL": gateway_url}
    specs: list[ProcessSpec] = []
    targets: dict[str, str] = {}
    for service in services:
        servers = [f"{service}-server{_suffix(i, counts.servers)}" for i in range(counts.servers)]
        addresses = []
        for name in servers:
            port = ports.get(f"{name}.grpc")
            addresses.append(f"{HOST}:{port}")
            specs.append(_process(folder, ports, shared, service, "server", name, _BASE, grpc_port=port))
        targets[service] = addresses[0] if len(addresses) == 1 else "ipv4:" + ",".join(addresses)
        others = [("worker", f"{service}-worker{_suffix(i, counts.workers)}") for i in range(counts.workers)]
        others += [(role, f"{service}-{role}") for role in _ROLES.get(service, ())]
        specs += [
            _process(folder, ports, shared, service, role, name, tuple(servers)) for role, name in others
        ]
    return ServiceProcesses(tuple(specs), targets, gateway_url)


def _suffix(index: int, count: int) -> str:
    return "" if count == 1 else f"-{index + 1}"


def _process(
    folder: DataFolder,
    ports: Ports,
    shared: Mapping[str, str],
    service: str,
    role: str,
    name: str,
    after: tuple[str, ...],
    grpc_port: int | None = None,
) -> ProcessSpec:
    metrics_port = ports.get(f"{name}.metrics")
    environment = {**shared, "SARTOR_METRICS_BIND": f"{HOST}:{metrics_port}"}
    listens = {"metrics": metrics_port}
    ready = probes.http_ok(metrics_port)
    if grpc_port is not None:
        environment["SARTOR_GRPC_BIND"] = f"{HOST}:{grpc_port}"
        listens["grpc"] = grpc_port
        ready = probes.grpc_serving(grpc_port)
    if role == "gateway":
        listens["http"] = ports.get("gateway")
    return ProcessSpec(
        name=name,
        argv=(sys.executable, "-m", f"sartor_{service}", role),
        environment=environment,
        cwd=folder.work,
        log=folder.log_of(name),
        ready=ready,
        after=after,
        ports=listens,
    )


def _python_environment(folder: DataFolder) -> dict[str, str]:
    """The user's environment, with temporary files and caches kept inside the data folder."""
    return {
        **os.environ,
        "TMPDIR": str(folder.temporary),
        "XDG_CACHE_HOME": str(folder.work / "cache"),
        "HF_HOME": str(folder.work / "cache" / "huggingface"),
        "PYTHONUNBUFFERED": "1",
        "MALLOC_ARENA_MAX": "2",
        "SARTOR_LOG_JSON": os.environ.get("SARTOR_LOG_JSON", "true"),
    }
