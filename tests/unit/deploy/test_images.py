"""The Dockerfiles and docker-compose.yml: what they install, whom they run as, which settings they give."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from typing import Any

import pytest
import yaml

from tests.unit.deploy.conftest import ROOT, SERVICES, required_of, variables_of


def dockerfile(service: str) -> str:
    """The text of a service's Dockerfile."""
    return (ROOT / "services" / service / "Dockerfile").read_text(encoding="utf-8")


def local_libraries(service: str) -> set[str]:
    """The libraries of ours a service needs, also by way of others."""
    found: set[str] = set()
    left = [ROOT / "services" / service]
    while left:
        project = tomllib.loads((left.pop() / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        for dependency in project["dependencies"]:
            match = re.match(r"sartor-([a-z]+)", dependency)
            if match and match[1] not in found:
                found.add(match[1])
                left.append(ROOT / "libs" / match[1])
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_has_the_libraries_of_its_service_and_no_others(service: str) -> None:
    """Copied into the build, and installed with it."""
    text = dockerfile(service)
    needed = local_libraries(service)
    assert set(re.findall(r"^COPY libs/([a-z]+) ", text, re.MULTILINE)) == needed
    assert set(re.findall(r"\./libs/([a-z]+)", text)) == needed
    assert f"./services/{service}" in text


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_runs_its_service_without_root(service: str) -> None:
    """By number, so that Kubernetes can see it."""
    text = dockerfile(service)
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    assert f'"sartor_{service}"]' in text
    assert "HEALTHCHECK" in text
    for variable in set(re.findall(r"\b(SARTOR_[A-Z_]+)=", text)):
        assert variable in variables_of(service)


@pytest.mark.parametrize("service", ["ingestion", "curation"])
def test_ingestion_and_curation_come_without_torch(service: str) -> None:
    """Not asked for, and not by way of a library."""
    assert "torch" not in dockerfile(service).replace("without torch", "")
    assert "models" not in local_libraries(service)
    for library in [
        ROOT / "services" / service,
        *(ROOT / "libs" / name for name in local_libraries(service)),
    ]:
        dependencies = tomllib.loads((library / "pyproject.toml").read_text())["project"]["dependencies"]
        names = {re.split(r"[\[<>=~! ]", dependency)[0] for dependency in dependencies}
        assert not names & {"torch", "transformers", "peft"}, library


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """docker-compose.yml with its anchors resolved."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return loaded


def test_compose_runs_every_process_on_kafka_minio_and_postgresql(compose: dict[str, Any]) -> None:
    """Two processes a service, agent and gateway, and the servers under them."""
    ours = {f"{service}-{role}" for service in SERVICES for role in ("server", "worker")}
    ours |= {"deployment-agent", "deployment-gateway"}
    assert set(compose["services"]) == ours | {"kafka", "minio", "bucket", "postgres"}
    assert compose["services"]["kafka"]["image"].startswith("apache/kafka:4.")
    roles = compose["services"]["kafka"]["environment"]["KAFKA_PROCESS_ROLES"]
    assert set(roles.split(",")) == {"broker", "controller"}, "KRaft"


def test_compose_names_only_settings_that_exist(compose: dict[str, Any]) -> None:
    """And all that are needed."""
    for name, process in compose["services"].items():
        if not process["image"].startswith("sartor/"):
            continue
        service = process["image"].removeprefix("sartor/")
        given = set(process["environment"])
        assert given <= variables_of(service), f"{name}: {sorted(given - variables_of(service))}"
        assert required_of(service) <= given, name


def test_compose_waits_for_health_and_its_names_resolve(compose: dict[str, Any]) -> None:
    """Every dependency exists and can become what is waited for; every volume is declared."""
    services = compose["services"]
    for name, process in services.items():
        for other, wanted in process.get("depends_on", {}).items():
            if wanted["condition"] == "service_healthy":
                assert "healthcheck" in services[other], f"{name} waits for the health of {other}"
        for volume in process.get("volumes", ()):
            assert volume.partition(":")[0] in compose["volumes"], name
        if name != "bucket":
            assert process["healthcheck"]["test"]
    for service in SERVICES:
        build = services[f"{service}-server"]["build"]
        assert (ROOT / build["context"] / build["dockerfile"]).is_file()


def test_the_compose_client_accepts_it() -> None:
    """Where docker has the plug-in; it needs no daemon for this."""
    if shutil.which("docker") is None:
        pytest.skip("docker is not installed")
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker has no compose plug-in")
    done = subprocess.run(
        ["docker", "compose", "-f", str(ROOT / "docker-compose.yml"), "config", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
