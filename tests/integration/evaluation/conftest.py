"""Evaluation as it runs: a server and a worker on the session's real servers, reached by gRPC and Kafka.

Training and curation are played by the test: their files lie in the object store, their events come by Kafka.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
import torch
from grpc_health.v1 import health_pb2, health_pb2_grpc
from kafka import KafkaConsumer, KafkaProducer
from minio import Minio
from sartor.evaluation.v1 import evaluation_pb2, evaluation_service_pb2_grpc
from sartor.evaluation.v1 import evaluation_service_pb2 as api
from sartor_datasets.manifests import (
    BaseModelManifest,
    CuratedFile,
    CuratedManifest,
    ManifestFile,
    ModelVersionManifest,
    ObjectReference,
    base_model_digest,
)
from sartor_local.ports import free_port
from sartor_models.adapters import LoraAdapter, adapter_weights, add_lora, save_adapter
from sartor_models.load import load_model
from sartor_platform.errors import SartorError
from sartor_platform.grpc_client import call_errors, channel

from tests.conftest import Servers
from tests.ending import end
from tests.tiny_model import make_tiny_model
from tests.unit.evaluation.curated import write_curated

T = TypeVar("T")
WAIT_SECONDS = 120.0
NOW = datetime(2026, 11, 1, tzinfo=UTC)


def eventually(look: Callable[[], T | None], what: str, seconds: float = WAIT_SECONDS) -> T:
    """What `look` returns once it is truthy."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what} did not happen within {seconds} s")


@dataclass(frozen=True)
class Stored:
    """What training and curation would have left in the object store."""

    base: ObjectReference
    base_digest: str
    version: ObjectReference
    curated: ObjectReference


@dataclass
class EvaluationUnderTest:
    """A running evaluation service, its client, and those who talk to it by events."""

    servers: Servers
    client: Any
    producer: KafkaProducer
    objects: Minio
    stored: Stored
    folder: Path
    service_port: int

    def publish(self, topic: str, type_: str, subject: str, data: Mapping[str, Any], run: str = "") -> None:
        """An event of another service."""
        attributes = {"specversion": "1.0", "id": str(uuid.uuid4()), "source": f"/{topic}", "type": type_}
        attributes |= {"subject": subject, "sartorrun": run, "sartorgeneration": "7"}
        headers = [(f"ce_{name}", value.encode()) for name, value in attributes.items()]
        headers.append(("content-type", b"application/json"))
        self.producer.send(topic, json.dumps(data).encode(), key=subject.encode(), headers=headers).get(30)

    def base_model_ready(self, project: str) -> str:
        """BaseModelReady for `tiny`; returns its name once evaluation knows it."""
        name = f"projects/{project}/baseModels/tiny"
        data = {"baseModel": name, "digest": self.stored.base_digest, "manifest": _json(self.stored.base)}
        self.publish("sartor.training.v1", "sartor.training.v1.BaseModelReady", name, data)
        self._known(project, evaluation_pb2.Candidate(id="a", base_model=name))
        return name

    def model_version_created(
        self, project: str, *, standing_order: str = "", run: str = "", number: int = 1
    ) -> str:
        """ModelVersionCreated of model `m`; returns the version's name."""
        name = f"projects/{project}/models/m/versions/{number}"
        data = {
            "modelVersion": name,
            "model": f"projects/{project}/models/m",
            "trainingJob": f"projects/{project}/trainingJobs/j",
            "standingOrder": standing_order,
            "manifest": _json(self.stored.version),
            "baseModel": f"projects/{project}/baseModels/tiny",
            "baseModelDigest": self.stored.base_digest,
            "baseModelManifest": _json(self.stored.base),
            "curation": f"projects/{project}/curations/c",
            "curatedManifest": _json(self.stored.curated),
        }
        self.publish("sartor.training.v1", "sartor.training.v1.ModelVersionCreated", name, data, run)
        self._known(project, evaluation_pb2.Candidate(id="a", model_version=name))
        return name

    def curation_succeeded(self, project: str, curation: str = "c") -> str:
        """CurationSucceeded of this curation; returns its name."""
        name = f"projects/{project}/curations/{curation}"
        data = {"curation": name, "snapshot": "s", "manifest": _json(self.stored.curated)}
        self.publish("sartor.curation.v1", "sartor.curation.v1.CurationSucceeded", name, data)
        return name

    def _known(self, project: str, candidate: evaluation_pb2.Candidate) -> None:
        """Wait until evaluation has handled the event about this model."""
        items = evaluation_pb2.ItemList(items=[evaluation_pb2.Item(prompt="x", reference="y")])
        wanted = evaluation_pb2.Evaluation(candidates=[candidate], inline_items=items)

        def look() -> bool:
            try:
                self.client.CreateEvaluation(
                    api.CreateEvaluationRequest(
                        parent=f"projects/{project}", evaluation=wanted, validate_only=True
                    )
                )
            except grpc.RpcError:
                return False
            return True

        eventually(look, f"{candidate} known to evaluation")

    def create(self, project: str, evaluation: evaluation_pb2.Evaluation, **fields: Any) -> Any:
        """CreateEvaluation."""
        request = api.CreateEvaluationRequest(parent=f"projects/{project}", evaluation=evaluation, **fields)
        return self.client.CreateEvaluation(request)

    def wait(self, name: str) -> evaluation_pb2.Evaluation:
        """Watch an evaluation to its end."""
        *_, last = self.client.WatchEvaluation(api.WatchEvaluationRequest(name=name), timeout=WAIT_SECONDS)
        return last

    def of_run(self, project: str, run: str) -> list[evaluation_pb2.Evaluation]:
        """The evaluations of a run."""
        request = api.ListEvaluationsRequest(parent=f"projects/{project}", filter=f'run = "{run}"')
        return list(self.client.ListEvaluations(request).evaluations)

    def announced(
        self, type_: str, subject: str, seconds: float = WAIT_SECONDS
    ) -> list[tuple[Any, dict[str, str]]]:
        """The events of a type about a subject on evaluation's topic, with headers, once there is one."""
        consumer = KafkaConsumer(
            "sartor.evaluation.v1",
            bootstrap_servers=self.servers.kafka_bootstrap_servers,
            auto_offset_reset="earliest",
            group_id=None,
        )
        found: list[tuple[Any, dict[str, str]]] = []
        try:
            until = time.monotonic() + seconds
            while time.monotonic() < until and not found:
                for batch in consumer.poll(500).values():
                    for message in batch:
                        headers = {key: value.decode() for key, value in message.headers}
                        if headers["ce_type"] == type_ and headers.get("ce_subject") == subject:
                            found.append((json.loads(message.value), headers))
        finally:
            consumer.close()
        return found

    def fetch(self, reference: Any) -> Path:
        """An object as a file, its digest checked."""
        path = self.folder / reference.sha256
        bucket, _, key = reference.uri.removeprefix("s3://").partition("/")
        self.objects.fget_object(bucket, key, str(path))
        assert hashlib.sha256(path.read_bytes()).hexdigest() == reference.sha256
        return path


def _json(reference: ObjectReference) -> dict[str, Any]:
    return {"uri": reference.uri, "sha256": reference.sha256, "sizeBytes": str(reference.size_bytes)}


def put(objects: Minio, bucket: str, path: Path, key: str) -> ObjectReference:
    """Put a file, and give its reference."""
    objects.fput_object(bucket, key, str(path))
    data = path.read_bytes()
    return ObjectReference(f"s3://{bucket}/{key}", hashlib.sha256(data).hexdigest(), len(data))


def store_inputs(objects: Minio, bucket: str, folder: Path) -> Stored:
    """A tiny base model, an adapter on it and a curated snapshot, as their services leave them."""
    prefix = f"test-{uuid.uuid4().hex[:8]}"

    def put_folder(source: Path) -> tuple[ManifestFile, ...]:
        return tuple(
            ManifestFile(path.name, put(objects, bucket, path, f"{prefix}/{source.name}/{path.name}"))
            for path in sorted(source.iterdir())
        )

    def put_manifest(name: str, data: bytes) -> ObjectReference:
        path = folder / name
        path.write_bytes(data)
        return put(objects, bucket, path, f"{prefix}/{name}")

    base_files = put_folder(make_tiny_model(folder / "base", context=768))
    digest = base_model_digest(base_files)
    base = BaseModelManifest(
        name="tiny",
        reference="file:/tiny",
        digest=digest,
        files=base_files,
        architecture="LlamaForCausalLM",
        context_length=768,
        vocabulary_size=512,
        license="",
        chat_template=True,
    )
    version = ModelVersionManifest(
        name="v",
        training_job="j",
        method="sft",
        base_model="tiny",
        base_model_digest=digest,
        curation="c",
        snapshot="s",
        recipe={},
        files=put_folder(_adapter(folder)),
        metrics={},
        library_versions={},
        seed=0,
        create_time=NOW,
    )
    curated_folder = write_curated(folder / "curated")
    files = [
        CuratedFile(file.path.removesuffix(".parquet"), file.object, 10, 100)
        for file in put_folder(curated_folder)
    ]
    curated = CuratedManifest(
        name="c",
        snapshot="s",
        dataset="d",
        files=tuple(files),
        policy_revision=1,
        base_model="tiny",
        base_model_digest=digest,
        create_time=NOW,
    )
    return Stored(
        base=put_manifest("base.json", base.to_json()),
        base_digest=digest,
        version=put_manifest("version.json", version.to_json()),
        curated=put_manifest("curated.json", curated.to_json()),
    )


def _adapter(folder: Path) -> Path:
    model = add_lora(load_model(folder / "base", torch.float32), LoraAdapter(rank=4, alpha=8), seed=3)
    for weight in adapter_weights(model).values():
        torch.nn.init.normal_(weight, std=0.1, generator=torch.Generator().manual_seed(1))
    save_adapter(folder / "adapter", LoraAdapter(rank=4, alpha=8), adapter_weights(model), base_model="tiny")
    return folder / "adapter"


@contextmanager
def refused(error: type[SartorError], words: str = "") -> Iterator[pytest.ExceptionInfo[SartorError]]:
    """The call in the block fails with this error, whose message holds these words."""
    with pytest.raises(error, match=re.escape(words)) as caught, call_errors():
        yield caught


def start(role: str, environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """One process of evaluation."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "sartor_evaluation", role],
            env={**os.environ, **environment, "SARTOR_LOG_JSON": "true"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def serving(target: str) -> bool:
    try:
        with grpc.insecure_channel(target) as plain:
            answer = health_pb2_grpc.HealthStub(plain).Check(health_pb2.HealthCheckRequest(), timeout=1)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
    except grpc.RpcError:
        return False


@pytest.fixture(scope="module")
def evaluation(
    fresh_stack: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EvaluationUnderTest]:
    """A server and a worker with an empty database, and the files of a tiny model and a curation."""
    folder = tmp_path_factory.mktemp("evaluation")
    target = f"127.0.0.1:{free_port()}"
    service_port = free_port()
    own = {
        "SARTOR_GRPC_BIND": target,
        "SARTOR_DATA_DIR": str(folder / "work"),
        "SARTOR_ENDPOINT_URLS": f"http://127.0.0.1:{service_port}/v1",
    }
    environment = {**fresh_stack.environment(), **own}
    server_log, worker_log = folder / "server.log", folder / "worker.log"
    processes = [start("server", environment, server_log)]
    try:
        eventually(lambda: serving(target) or processes[0].poll() is not None, "evaluation's server")
        assert processes[0].poll() is None, server_log.read_text()[-3000:]
        processes.append(start("worker", environment, worker_log))
        producer = KafkaProducer(
            bootstrap_servers=fresh_stack.kafka_bootstrap_servers, acks="all", enable_idempotence=True
        )
        objects = Minio(
            fresh_stack.s3_endpoint,
            access_key=fresh_stack.s3_access_key,
            secret_key=fresh_stack.s3_secret_key,
            secure=False,
        )
        stored = store_inputs(objects, fresh_stack.s3_bucket, folder)
        with channel(target) as open_channel:
            client = evaluation_service_pb2_grpc.EvaluationServiceStub(open_channel)
            yield EvaluationUnderTest(fresh_stack, client, producer, objects, stored, folder, service_port)
        producer.close()
    finally:
        end(processes)
        for log in (log for log in (server_log, worker_log) if log.exists()):
            lines = [line for line in log.read_text().splitlines() if '"event": "grpc.call"' not in line]
            print(f"--- {log.name}", *lines[-100:], sep="\n")
