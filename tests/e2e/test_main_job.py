"""The main job on a tiny model, with one and two of each process: data events become a model that answers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import grpc
import openai
import pytest
from kafka import KafkaProducer
from sartor.curation.v1 import curation_service_pb2, curation_service_pb2_grpc
from sartor.deployment.v1 import deployment_service_pb2, deployment_service_pb2_grpc, endpoint_pb2
from sartor.evaluation.v1 import evaluation_service_pb2, evaluation_service_pb2_grpc
from sartor.ingestion.v1 import ingestion_service_pb2, ingestion_service_pb2_grpc
from sartor.training.v1 import training_service_pb2, training_service_pb2_grpc
from sartor_cli.client import Sartor
from sartor_cli.trace import contained, find
from sartor_edge.bundle import BadBundle, verify_bundle
from sartor_edge.engine import check, running
from sartor_edge.signing import make_key
from sartor_local.services import Replicas
from sartor_local.stack import Stack
from sartor_local.state import StackState
from sartor_local.supervisor import StackOptions

from tests.conftest import short_folder
from tests.tiny_model import make_tiny_model

PROJECT = """
project: {project}
base_models:
  - name: tiny
    reference: file:{model}
sources:
  - name: desk
    dataset: support
    mapping: {{kind: auto, prompt: question, completion: answer, key: id, attributes: [split]}}
    snapshot: {{at_records: 60}}
curation:
  name: support
  dataset: support
  base_model: tiny
  length: {{min_characters: 3, max_tokens: 256}}
  split: {{validation: 0.15, test: 0.0}}
training:
  name: support
  curation: support
  model: assistant
  base_model: tiny
  recipe: {{method: sft, adapter: lora, rank: 8, learning_rate: 0.01, epochs: 4, tokens_per_batch: 512}}
evaluation:
  name: support
  model: assistant
  general_suite: ""
  few_shot: {{shots: [1], choices: [fixed], items: 4}}
  rules:
    - {{metric: loss, compared_to: base, at_most: 0.0}}
deployment:
  name: {project}
  model: assistant
  parity: {{loss_margin: 0.2, top1_agreement: 0.8}}
"""
THINGS = [
    *("lamp", "desk", "chair", "shelf", "sofa", "table", "mirror", "carpet", "curtain", "clock"),
    *("vase", "cushion", "stool", "bench", "cabinet", "drawer", "frame", "basket", "blanket", "pillow"),
]
DEADLINE_SECONDS = 180
once = pytest.mark.parametrize("desk", [1], ids=["one-of-each"], indirect=True)
"""For what does not depend on how many processes there are."""
T = TypeVar("T")


def records() -> list[dict[str, str]]:
    """Sixty small questions about stock; every fifth is held out."""
    rows = []
    for number, thing in enumerate(THINGS):
        for place in ("Berlin", "Vienna", "Zurich"):
            rows.append(
                {
                    "id": f"{thing}-{place}",
                    "question": f"Do you have the {thing} number {number * 37 + 11} in {place} this week?",
                    "answer": f"Yes. The {thing} waits for you in {place} at shelf {number + 3}.",
                    "split": "test" if number % 5 == 0 else "",
                }
            )
    return rows


def publish(bootstrap_servers: str, source: str, rows: list[dict[str, str]]) -> None:
    """What another system does: kafka-python and CloudEvents headers, nothing of Sartor."""
    producer = KafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True)
    for row in rows:
        headers = {
            "ce_specversion": "1.0",
            "ce_id": f"{source}/{row['id']}",
            "ce_source": "/tests/desk",
            "ce_type": "sartor.ingestion.v1.RecordsPublished",
            "content-type": "application/json",
        }
        producer.send(
            "sartor.data",
            key=source.encode(),
            value=json.dumps({"source": source, "records": [row]}).encode(),
            headers=[(name, value.encode()) for name, value in headers.items()],
        )
    producer.flush(30)
    producer.close(10)


@dataclass(frozen=True, slots=True)
class Desk:
    """A running stack with the project applied."""

    state: StackState
    project: str
    data_dir: Path

    def channel(self, service: str) -> grpc.Channel:
        """A plain channel, as any gRPC client would open it."""
        return grpc.insecure_channel(self.state.targets[service])


@pytest.fixture(scope="module", params=[1, 2], ids=["one-of-each", "two-of-each"])
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    """The whole stack on a tiny model."""
    folder = short_folder("sartor-e2e-")
    project = f"desk-{uuid.uuid4().hex[:8]}"
    model = make_tiny_model(folder / "tiny")
    file = folder / "project.yaml"
    file.write_text(PROJECT.format(project=project, model=model))
    data_dir = folder / "state"
    options = StackOptions(data_dir, replicas=Replicas(request.param, request.param), durable=False)
    try:
        with Stack(options) as state:
            command = [sys.executable, "-m", "sartor_cli", "apply", "-f", file, "--data-dir", data_dir]
            applied = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert applied.returncode == 0, applied.stdout + applied.stderr
            yield Desk(state, project, data_dir)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def until(what: str, read: Callable[[], T | None]) -> T:
    """The first value that is not None.

    Raises:
        AssertionError: none came in time.
    """
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        value = read()
        if value is not None:
            return value
        time.sleep(0.5)
    raise AssertionError(f"{what} did not happen within {DEADLINE_SECONDS} s")


def settled_revision(desk: Desk) -> endpoint_pb2.Revision:
    """The first revision that is live or refused."""
    client = deployment_service_pb2_grpc.DeploymentServiceStub(desk.channel("deployment"))
    parent = f"projects/{desk.project}/endpoints/{desk.project}"
    request = deployment_service_pb2.ListRevisionsRequest(parent=parent)
    final = {endpoint_pb2.REVISION_STATE_LIVE, endpoint_pb2.REVISION_STATE_REJECTED}

    def read() -> endpoint_pb2.Revision | None:
        return next((each for each in client.ListRevisions(request).revisions if each.state in final), None)

    return until("a revision", read)


def test_a_data_event_becomes_a_model_that_answers_once(desk: Desk) -> None:
    """Every stage ran exactly once, in one run, and the real OpenAI client gets an answer."""
    source = f"projects/{desk.project}/sources/desk"
    bootstrap = desk.state.environment["SARTOR_KAFKA_BOOTSTRAP_SERVERS"]
    publish(bootstrap, source, records())
    publish(bootstrap, source, records()[:10])  # delivered again: the same ids

    revision = settled_revision(desk)
    assert revision.state == endpoint_pb2.REVISION_STATE_LIVE, revision
    assert revision.parity.passed

    ingestion = ingestion_service_pb2_grpc.IngestionServiceStub(desk.channel("ingestion"))
    snapshots = ingestion.ListSnapshots(
        ingestion_service_pb2.ListSnapshotsRequest(parent=f"projects/{desk.project}/datasets/support")
    ).snapshots
    assert [snapshot.record_count for snapshot in snapshots] == [60]
    run = snapshots[0].run
    assert revision.run == run

    parent = f"projects/{desk.project}"
    curations = curation_service_pb2_grpc.CurationServiceStub(desk.channel("curation")).ListCurations(
        curation_service_pb2.ListCurationsRequest(parent=parent)
    )
    assert [each.run for each in curations.curations] == [run]
    assert curations.curations[0].kept_by_split["test"] == 12
    jobs = training_service_pb2_grpc.TrainingServiceStub(desk.channel("training")).ListTrainingJobs(
        training_service_pb2.ListTrainingJobsRequest(parent=parent)
    )
    assert [each.run for each in jobs.training_jobs] == [run]
    assert revision.model_version == jobs.training_jobs[0].model_version
    evaluation = evaluation_service_pb2_grpc.EvaluationServiceStub(desk.channel("evaluation"))
    evaluations = evaluation.ListEvaluations(evaluation_service_pb2.ListEvaluationsRequest(parent=parent))
    assert [(each.run, each.verdict.passed) for each in evaluations.evaluations] == [(run, True)]

    client = openai.OpenAI(base_url=desk.state.gateway_url, api_key="unused")
    until("its gateway knows it", lambda: desk.project in [each.id for each in client.models.list()] or None)
    answer = client.chat.completions.create(
        model=desk.project,
        messages=[{"role": "user", "content": "Do you have the lamp number 11 in Berlin this week?"}],
        max_tokens=16,
        temperature=0,
    )
    assert answer.choices[0].message.content

    with Sartor(desk.state.targets) as sartor:
        traces = find(sartor, parent, record="lamp-Berlin", subject="", limit=10)
        containers = contained(sartor, parent, traces)
    assert [(trace.state, list(trace.snapshots)) for trace in traces] == [("LIVE", [snapshots[0].name])]
    assert traces[0].position.startswith("sartor.data/")
    assert [(each["name"], each["kept"]) for each in containers.curations] == [
        (curations.curations[0].name, 1)
    ]
    assert [each["name"] for each in containers.versions] == [revision.model_version]
    assert [each["name"] for each in containers.revisions] == [revision.name]


def command(desk: Desk, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The `sartor` command on this stack."""
    line = [sys.executable, "-m", "sartor_cli", *map(str, arguments)]
    more = ["--project", desk.project, "--data-dir", str(desk.data_dir)]
    return subprocess.run([*line, *more], capture_output=True, text=True, timeout=120)


@once
def test_the_live_model_leaves_as_a_signed_bundle_that_runs_alone(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sartor deploy bundle`: its signature holds, its known prompts are answered by it as by the gateway."""
    assert settled_revision(desk).state == endpoint_pb2.REVISION_STATE_LIVE
    private, public, out = tmp_path / "private.pem", tmp_path / "public.pem", tmp_path / "bundle"
    missing = command(desk, "deploy", "bundle", desk.project, "--key", private, "--out", out)
    assert missing.returncode == 1
    assert "does not exist" in missing.stderr + missing.stdout
    make_key(private, public)
    made = command(desk, "deploy", "bundle", desk.project, "--key", private, "--out", out)
    assert made.returncode == 0, made.stderr
    manifest = verify_bundle(out, public)
    assert manifest.settings.model_version == settled_revision(desk).model_version
    again = command(desk, "deploy", "bundle", desk.project, "--key", private, "--out", out)
    assert again.returncode == 1
    assert "is not empty" in again.stderr + again.stdout
    monkeypatch.setenv("PYTHON", sys.executable)  # what start.sh takes where there is no llama-server
    with running(out) as port:
        assert check(out, port).share == 1
    with (out / "start.sh").open("a") as file:
        file.write("curl evil\n")
    with pytest.raises(BadBundle):
        verify_bundle(out, public)


@once
def test_a_key_of_the_command_line_opens_the_gateway_until_it_is_revoked(desk: Desk) -> None:
    """`sartor keys`: the secret is shown once, works, is listed without itself, and ends."""
    assert settled_revision(desk).state == endpoint_pb2.REVISION_STATE_LIVE
    made = command(desk, "keys", "create", "mobile", "--requests-per-minute", 100)
    assert made.returncode == 0, made.stderr
    secret = made.stdout.split()[-1]
    twice = command(desk, "keys", "create", "mobile")
    assert twice.returncode == 1
    assert "mobile" in twice.stderr + twice.stdout
    listed = command(desk, "keys", "list")
    assert "mobile" in listed.stdout
    assert secret not in listed.stdout
    client = openai.OpenAI(base_url=desk.state.gateway_url, api_key=secret, max_retries=0)

    def reaches() -> bool | None:
        try:
            return desk.project in {model.id for model in client.models.list()} or None
        except openai.AuthenticationError:
            return None

    until("the key opens", reaches)
    assert command(desk, "keys", "revoke", "mobile").returncode == 0

    def refused() -> bool | None:
        try:
            client.models.list()
        except openai.AuthenticationError:
            return True
        return None

    until("the key is refused", refused)
