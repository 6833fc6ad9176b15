"""The snippets of docs/data-events.md do what that page says."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sartor.ingestion.v1 import ingestion_service_pb2 as messages
from sartor.ingestion.v1 import project_pb2, source_pb2

from tests.integration.ingestion.conftest import Ingestion, eventually

PAGE = (Path(__file__).parents[3] / "docs" / "data-events.md").read_text("utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SHELL = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)


def _kcat_version() -> tuple[int, ...]:
    """The version of librdkafka in kcat; (0,) without kcat."""
    if not shutil.which("kcat"):
        return (0,)
    said = subprocess.run(["kcat", "-V"], check=True, capture_output=True, text=True).stdout
    found = re.search(r"librdkafka (\d+)\.(\d+)", said)
    return tuple(map(int, found.groups())) if found else (0,)


kcat = pytest.mark.skipif(_kcat_version() < (2, 4), reason="needs kcat with librdkafka 2.4 or newer")


def apply(ingestion: Ingestion, project: str) -> str:
    """The page's project under another name, with the mapping of the support desk."""
    ingestion.client.ApplyProject(
        messages.ApplyProjectRequest(project=project_pb2.Project(name=f"projects/{project}"))
    )
    name = f"projects/{project}/sources/tickets"
    mapping = source_pb2.Mapping(prompt="question", completion="answer", label="team", key="id")
    source = source_pb2.Source(name=name, dataset=f"projects/{project}/datasets/support", mapping=mapping)
    ingestion.client.ApplySource(messages.ApplySourceRequest(source=source))
    return name


def pending(ingestion: Ingestion, project: str, count: int) -> None:
    request = messages.GetDatasetRequest(name=f"projects/{project}/datasets/support")
    eventually(
        lambda: ingestion.client.GetDataset(request).pending_count == count or None,
        f"{count} pending records",
    )


def run_shell(ingestion: Ingestion, project: str, script: str) -> None:
    servers = ingestion.servers.kafka_bootstrap_servers
    settings = f"SERVERS={servers}\nSOURCE=projects/{project}/sources/tickets\n"
    script = re.sub(r"^(SERVERS|SOURCE)=.*\n", "", script, flags=re.MULTILINE)
    script = script.replace("projects/support-desk/", f"projects/{project}/")
    subprocess.run(["bash", "-euo", "pipefail", "-c", settings + script], check=True, timeout=60)


def test_the_python_snippet_publishes_records(ingestion: Ingestion, unique_name: str) -> None:
    source = apply(ingestion, unique_name)
    servers = ingestion.servers.kafka_bootstrap_servers
    subprocess.run([sys.executable, "-c", PYTHON[0], servers, source], check=True, timeout=60)
    pending(ingestion, unique_name, 2)


@kcat
def test_the_kcat_snippets_publish_a_record_and_ask_for_a_snapshot(
    ingestion: Ingestion, unique_name: str
) -> None:
    apply(ingestion, unique_name)
    run_shell(ingestion, unique_name, SHELL[0])
    pending(ingestion, unique_name, 1)
    run_shell(ingestion, unique_name, SHELL[1])
    request = messages.ListSnapshotsRequest(parent=f"projects/{unique_name}/datasets/support")
    eventually(lambda: ingestion.client.ListSnapshots(request).snapshots, "a snapshot")


@kcat
def test_the_kcat_snippet_publishes_a_file(ingestion: Ingestion, unique_name: str) -> None:
    apply(ingestion, unique_name)
    put = ingestion.put(
        f"{unique_name}/tickets.jsonl", b'{"id": 1, "text": "Bell is silent.", "team": "Bench"}\n'
    )
    script = SHELL[2].replace("s3://company-data/tickets-2026-11.jsonl", put["uri"])
    run_shell(ingestion, unique_name, script.replace("ce_id=tickets-2026-11", f"ce_id={unique_name}"))
    pending(ingestion, unique_name, 1)
