"""All services as real processes: equal Create calls make one resource, and all end in time under load."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from kafka import KafkaProducer
from sartor.common.v1.object_reference_pb2 import ObjectReference
from sartor.curation.v1 import curation_events_pb2, curation_policy_pb2
from sartor.curation.v1 import curation_service_pb2 as curation
from sartor.deployment.v1 import deployment_service_pb2 as deployment
from sartor.deployment.v1 import endpoint_pb2
from sartor.evaluation.v1 import evaluation_events_pb2, evaluation_pb2
from sartor.evaluation.v1 import evaluation_service_pb2 as evaluation
from sartor.ingestion.v1 import ingestion_events_pb2, project_pb2, source_pb2
from sartor.ingestion.v1 import ingestion_service_pb2 as ingestion
from sartor.platform.v1.dead_letter_service_pb2 import ListDeadLettersRequest
from sartor.training.v1 import base_model_pb2, training_events_pb2, training_job_pb2
from sartor.training.v1 import training_service_pb2 as training
from sartor_cli.client import Sartor
from sartor_local import probes
from sartor_local.ports import free_port

from tests.conftest import Servers

SERVICES = ("ingestion", "curation", "training", "evaluation", "deployment")
ROLES = [*((name, role) for name in SERVICES for role in ("server", "worker"))]
ROLES += [("deployment", "agent"), ("deployment", "gateway")]
CALLS = 50
END_SECONDS = 20.0
"""How long a process may take from SIGTERM to its end: the promise itself."""
P = "projects/shop"
NAMED = ObjectReference(uri="s3://sartor/test/none", sha256="0" * 64, size_bytes=1)


def eventually(look: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not happen")


class Everything:
    """All processes of all services on one set of servers, and a client of them."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        self.folder = folder
        free: list[int] = []
        while len(free) < 1 + len(ROLES) + len(SERVICES):
            free.append(free_port(free))
        http = free.pop()
        ports = dict(zip(ROLES, free, strict=False))
        grpc_ports = dict(zip(SERVICES, free[len(ROLES) :], strict=True))
        self.client = Sartor({name: f"127.0.0.1:{port}" for name, port in grpc_ports.items()})
        self.producer = KafkaProducer(bootstrap_servers=servers.kafka_bootstrap_servers)
        self.processes: dict[tuple[str, str], subprocess.Popen[bytes]] = {}
        for name, role in ROLES:
            environment = {
                **os.environ, **servers.environment(),
                "SARTOR_DATA_DIR": str(folder / name),
                "SARTOR_GRPC_BIND": f"127.0.0.1:{grpc_ports[name]}",
                "SARTOR_METRICS_BIND": f"127.0.0.1:{ports[name, role]}",
                "SARTOR_GATEWAY_BIND": f"127.0.0.1:{http}",
                "SARTOR_GATEWAY_URL": f"http://127.0.0.1:{http}/v1",
            }  # fmt: skip
            with (folder / f"{name}-{role}.log").open("ab") as log:
                self.processes[name, role] = subprocess.Popen(
                    [sys.executable, "-m", f"sartor_{name}", role], env=environment, stdout=log, stderr=log
                )
        self._probes = {(name, role): probes.http_ok(ports[name, role]) for name, role in ROLES}
        self._probes |= {(name, "server"): probes.grpc_serving(grpc_ports[name]) for name in SERVICES}

    def wait_ready(self) -> None:
        """Until every process answers."""
        for key, probe in self._probes.items():
            eventually(partial(self._ready, key, probe), seconds=120)

    def _ready(self, key: tuple[str, str], probe: Callable[[], None]) -> bool:
        log = self.folder / f"{key[0]}-{key[1]}.log"
        assert self.processes[key].poll() is None, log.read_text()[-2000:]
        with suppress(probes.NotReady):
            probe()
            return True
        return False

    def tell(self, service: str, message: Message) -> None:
        """Publish an event as the service would."""
        attributes = {"specversion": "1.0", "id": uuid.uuid4().hex, "source": f"/sartor/{service}"}
        attributes |= {"type": message.DESCRIPTOR.full_name, "sartorrun": "run-1"}
        headers = [(f"ce_{key}", value.encode()) for key, value in attributes.items()]
        headers.append(("content-type", b"application/json"))
        value = MessageToJson(message).encode()
        self.producer.send(f"sartor.{service}.v1", value, key=b"k", headers=headers).get(timeout=20)

    def close(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
        self.producer.close(5)
        self.client.close()


@pytest.fixture(scope="module")
def everything(fresh_stack: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everything]:
    made = Everything(fresh_stack, tmp_path_factory.mktemp("services"))
    try:
        made.wait_ready()
        yield made
    finally:
        made.close()


Listed = Callable[[], int]
Create = Callable[[str], Message]


def of_ingestion(all_: Everything) -> tuple[Create, Listed]:
    """UploadRecords: 50 equal uploads are one import."""
    stub = all_.client.ingestion
    stub.ApplyProject(ingestion.ApplyProjectRequest(project=project_pb2.Project(name=P)))
    source = source_pb2.Source(
        name=f"{P}/sources/s", dataset=f"{P}/datasets/d",
        mapping=source_pb2.Mapping(key="id", prompt="q", completion="a"),
    )  # fmt: skip
    stub.ApplySource(ingestion.ApplySourceRequest(source=source))

    def create(request_id: str) -> Message:
        header = ingestion.UploadHeader(source=source.name, file_name="a.jsonl", request_id=request_id)
        parts = [
            ingestion.UploadRecordsRequest(header=header),
            ingestion.UploadRecordsRequest(chunk=b'{"id": "1", "q": "Why?", "a": "Because."}\n'),
        ]
        return stub.UploadRecords(iter(parts), timeout=60)

    return create, lambda: len(stub.ListImports(ingestion.ListImportsRequest(parent=P)).imports)


def of_curation(all_: Everything) -> tuple[Create, Listed]:
    """CreateCuration of a snapshot that ingestion told of."""
    stub = all_.client.curation
    policy = curation_policy_pb2.CurationPolicy(
        name=f"{P}/curationPolicies/p", dataset=f"{P}/datasets/other", base_model=f"{P}/baseModels/b"
    )
    stub.ApplyCurationPolicy(curation.ApplyCurationPolicyRequest(curation_policy=policy))
    snapshot = f"{P}/datasets/other/snapshots/s1"
    told = ingestion_events_pb2.SnapshotCreated(
        snapshot=snapshot, dataset=f"{P}/datasets/other", sequence=1, manifest=NAMED, record_count=1
    )
    all_.tell("ingestion", told)

    def create(request_id: str) -> Message:
        request = curation.CreateCurationRequest(
            parent=P, policy=policy.name, snapshot=snapshot, request_id=request_id
        )
        return stub.CreateCuration(request, timeout=60)

    return create, lambda: len(stub.ListCurations(curation.ListCurationsRequest(parent=P)).curations)


def of_training(all_: Everything) -> tuple[Create, Listed]:
    """CreateTrainingJob on a curation that curation told of."""
    stub = all_.client.training
    model = base_model_pb2.BaseModel(name=f"{P}/baseModels/b", reference=f"file:{all_.folder}")
    stub.ApplyBaseModel(training.ApplyBaseModelRequest(base_model=model))
    told = curation_events_pb2.CurationSucceeded(
        curation=f"{P}/curations/c", policy=f"{P}/curationPolicies/x", snapshot="s", manifest=NAMED
    )
    all_.tell("curation", told)
    job = training_job_pb2.TrainingJob(curation=told.curation, model=f"{P}/models/m", base_model=model.name)

    def create(request_id: str) -> Message:
        request = training.CreateTrainingJobRequest(parent=P, training_job=job, request_id=request_id)
        return stub.CreateTrainingJob(request, timeout=60)

    return create, lambda: len(
        stub.ListTrainingJobs(training.ListTrainingJobsRequest(parent=P)).training_jobs
    )


def of_evaluation(all_: Everything) -> tuple[Create, Listed]:
    """CreateEvaluation of a base model that training told of."""
    stub = all_.client.evaluation
    told = training_events_pb2.BaseModelReady(base_model=f"{P}/baseModels/e", digest="0" * 64, manifest=NAMED)
    all_.tell("training", told)
    wanted = evaluation_pb2.Evaluation(
        candidates=[evaluation_pb2.Candidate(id="a", base_model=told.base_model)],
        inline_items=evaluation_pb2.ItemList(items=[evaluation_pb2.Item(prompt="x", reference="y")]),
    )

    def create(request_id: str) -> Message:
        request = evaluation.CreateEvaluationRequest(parent=P, evaluation=wanted, request_id=request_id)
        return stub.CreateEvaluation(request, timeout=60)

    return create, lambda: len(stub.ListEvaluations(evaluation.ListEvaluationsRequest(parent=P)).evaluations)


def of_deployment(all_: Everything) -> tuple[Create, Listed]:
    """CreateRevision of a version that training and evaluation told of."""
    stub = all_.client.deployment
    endpoint = endpoint_pb2.Endpoint(name=f"{P}/endpoints/e", model=f"{P}/models/deployed")
    stub.ApplyEndpoint(deployment.ApplyEndpointRequest(endpoint=endpoint))
    version = f"{P}/models/deployed/versions/v1"
    all_.tell("training", training_events_pb2.ModelVersionCreated(
        model_version=version, model=endpoint.model, manifest=NAMED, base_model_manifest=NAMED,
        curated_manifest=NAMED,
    ))  # fmt: skip
    all_.tell("evaluation", evaluation_events_pb2.ModelVersionApproved(
        model_version=version, model=endpoint.model, reference_outputs=NAMED
    ))  # fmt: skip

    def create(request_id: str) -> Message:
        request = deployment.CreateRevisionRequest(
            parent=endpoint.name, model_version=version, request_id=request_id
        )
        return stub.CreateRevision(request, timeout=60)

    listing = deployment.ListRevisionsRequest(parent=endpoint.name)
    return create, lambda: len(stub.ListRevisions(listing).revisions)


@pytest.mark.parametrize("prepare", [of_ingestion, of_curation, of_training, of_evaluation, of_deployment])
def test_fifty_equal_create_calls_at_once_make_one_resource(
    everything: Everything, prepare: Callable[[Everything], tuple[Create, Listed]]
) -> None:
    """All get the same answer; another request_id makes another resource."""
    create, listed = prepare(everything)

    def first() -> Message | None:
        with suppress(grpc.RpcError):  # the events are on their way
            return create(str(uuid.uuid4()))
        return None

    other = eventually(first)
    before = listed()
    request_id = str(uuid.uuid4())
    with ThreadPoolExecutor(CALLS) as pool:
        answers: Sequence[Any] = list(pool.map(lambda _n: create(request_id), range(CALLS)))
    assert {answer.name for answer in answers} == {answers[0].name}
    assert answers[0].name != other.name
    assert listed() == before + 1


def test_every_process_of_every_service_ends_in_time_under_load(everything: Everything) -> None:
    """Calls run until the servers refuse them; each process ends by itself, with status 0."""
    stop = threading.Event()
    answered = dict.fromkeys(SERVICES, 0)
    odd: list[grpc.RpcError] = []

    def call(name: str) -> None:
        letters = everything.client.dead_letters(name)
        while not stop.wait(0.01):
            try:
                letters.ListDeadLetters(ListDeadLettersRequest(parent=f"services/{name}"), timeout=20)
                answered[name] += 1
            except grpc.RpcError as error:
                # CANCELLED is what a call hears that arrives while the door closes.
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                    odd.append(error)
                return

    threads = [threading.Thread(target=call, args=(name,)) for name in SERVICES for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: all(answered.values()))
        for process in everything.processes.values():
            process.send_signal(signal.SIGTERM)
        until = time.monotonic() + END_SECONDS
        statuses = {
            key: process.wait(until - time.monotonic()) for key, process in everything.processes.items()
        }
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert set(statuses.values()) == {0}, statuses
    assert odd == []
