"""Ingestion as it runs: a server and a worker on the session's real servers, reached by gRPC and Kafka."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pyarrow as pa
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from kafka import KafkaConsumer, KafkaProducer
from minio import Minio
from sartor.ingestion.v1 import dataset_pb2, ingestion_service_pb2_grpc, project_pb2, source_pb2
from sartor.ingestion.v1 import ingestion_service_pb2 as messages
from sartor_datasets.arrow import batch_to_records
from sartor_datasets.manifests import ObjectReference, SnapshotManifest
from sartor_datasets.records import Record
from sartor_datasets.snapshots import read_snapshot
from sartor_local.ports import free_port
from sartor_platform.grpc_client import channel

from tests.conftest import Servers
from tests.ending import end

T = TypeVar("T")
WAIT_SECONDS = 60.0


def eventually(look: Callable[[], T | None], what: str, seconds: float = WAIT_SECONDS) -> T:
    """What `look` returns once it is truthy."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what} did not happen within {seconds} s")


@dataclass
class Ingestion:
    """A running ingestion and the clients that other systems would use."""

    servers: Servers
    target: str
    folder: Path
    client: Any
    producer: KafkaProducer
    objects: Minio
    logs: list[Path] = field(default_factory=list)

    def apply(
        self,
        project: str,
        *,
        dataset: str = "d",
        source: str = "s",
        topic: str = "",
        quota: int = 0,
        standing: Mapping[str, Any] | None = None,
        **rule: Any,
    ) -> str:
        """A project with one source whose rows have id, text and label. Returns the source's name.

        `standing` holds further fields of the source.
        """
        wanted = project_pb2.Project(name=f"projects/{project}")
        self.client.ApplyProject(messages.ApplyProjectRequest(project=wanted))
        name = f"projects/{project}/sources/{source}"
        mapping = source_pb2.Mapping(key="id", subject="customer", attributes=["language"])
        fields: dict[str, Any] = {"mapping": mapping, **(standing or {})}
        wanted_source = source_pb2.Source(
            name=name,
            dataset=f"projects/{project}/datasets/{dataset}",
            topic=topic,
            quota_records=quota,
            snapshot_rule=source_pb2.SnapshotRule(**rule),
            **fields,
        )
        self.client.ApplySource(messages.ApplySourceRequest(source=wanted_source))
        return name

    def source(self, name: str) -> source_pb2.Source:
        """A source with its counts."""
        return self.client.GetSource(messages.GetSourceRequest(name=name))

    def trace(self, project: str, **wanted: str) -> Sequence[dataset_pb2.RecordTrace]:
        """Where records came from."""
        request = messages.TraceRecordsRequest(parent=f"projects/{project}", **wanted)
        return self.client.TraceRecords(request).traces

    def raw(self, topic: str, value: bytes | None, key: bytes | None = None) -> None:
        """Send a message as a system that knows nothing of us does, and wait for its acknowledgement."""
        self.producer.send(topic, value, key=key).get(20)

    def publish(
        self,
        type_: str,
        data: Any,
        *,
        topic: str = "sartor.data",
        structured: bool = False,
        event_id: str = "",
        key: str = "k",
    ) -> str:
        """Send a data event as another system would, and wait for its acknowledgement. Returns its id."""
        event_id = event_id or str(uuid.uuid4())
        self.send(type_, data, topic=topic, structured=structured, event_id=event_id, key=key).get(20)
        return event_id

    def send(
        self,
        type_: str,
        data: Any,
        *,
        topic: str = "sartor.data",
        structured: bool = False,
        event_id: str = "",
        key: str = "k",
    ) -> Any:
        """Send a data event without waiting, with kafka-python alone. Returns its future."""
        event_id = event_id or str(uuid.uuid4())
        type_ = f"sartor.ingestion.v1.{type_}"
        attributes = {"specversion": "1.0", "id": event_id, "source": "/test", "type": type_}
        if structured:
            body = json.dumps({**attributes, "datacontenttype": "application/json", "data": data})
            headers = [("content-type", b"application/cloudevents+json")]
        else:
            body = data if isinstance(data, str) else json.dumps(data)
            headers = [(f"ce_{name}", value.encode()) for name, value in attributes.items()]
            headers.append(("content-type", b"application/json"))
        return self.producer.send(topic, body.encode(), key=key.encode(), headers=headers)

    def records(self, source: str, *rows: Any, **options: Any) -> str:
        """Publish rows inline."""
        return self.publish("RecordsPublished", {"source": source, "records": list(rows)}, **options)

    def put(self, key: str, data: bytes) -> dict[str, Any]:
        """Put an object, and give its reference as a data event carries it."""
        self.objects.put_object(self.servers.s3_bucket, key, io.BytesIO(data), len(data))
        uri = f"s3://{self.servers.s3_bucket}/{key}"
        return {"uri": uri, "sha256": hashlib.sha256(data).hexdigest(), "sizeBytes": len(data)}

    def upload(self, source: str, data: bytes, file_name: str, **header: Any) -> dataset_pb2.Import:
        """Upload a file and wait for its import to end."""
        first = messages.UploadHeader(source=source, file_name=file_name, **header)
        parts = [messages.UploadRecordsRequest(header=first)]
        for start in range(0, len(data), 65536):
            parts.append(messages.UploadRecordsRequest(chunk=data[start : start + 65536]))
        started = self.client.UploadRecords(iter(parts))
        *_, last = self.client.WatchImport(messages.WatchImportRequest(name=started.name))
        return last

    def import_objects(self, source: str, uri: str) -> dataset_pb2.Import:
        """Import an object or a prefix and wait for its end."""
        started = self.client.ImportObjects(messages.ImportObjectsRequest(source=source, uri=uri))
        *_, last = self.client.WatchImport(messages.WatchImportRequest(name=started.name))
        return last

    def imports(self, project: str) -> Sequence[dataset_pb2.Import]:
        """The imports of a project, newest first."""
        return self.client.ListImports(messages.ListImportsRequest(parent=f"projects/{project}")).imports

    def dataset(self, project: str) -> dataset_pb2.Dataset:
        """The dataset `d` of a project."""
        return self.client.GetDataset(messages.GetDatasetRequest(name=f"projects/{project}/datasets/d"))

    def pending(self, project: str, count: int) -> dataset_pb2.Dataset:
        """Wait until so many records are pending."""
        return eventually(
            lambda: found if (found := self.dataset(project)).pending_count == count else None,
            f"{count} pending records (now {self.dataset(project)})",
        )

    def rejected(self, parent: str) -> Sequence[dataset_pb2.RejectedRecord]:
        """Rejected rows, newest first."""
        request = messages.ListRejectedRecordsRequest(parent=parent)
        return self.client.ListRejectedRecords(request).rejected_records

    def snapshots(self, project: str) -> Sequence[dataset_pb2.Snapshot]:
        """The snapshots of dataset `d`, newest first."""
        request = messages.ListSnapshotsRequest(parent=f"projects/{project}/datasets/d")
        return self.client.ListSnapshots(request).snapshots

    def seal(self, project: str) -> dataset_pb2.Snapshot:
        """Ask for a snapshot and wait for it."""
        before = len(self.snapshots(project))
        self.client.RequestSnapshot(messages.RequestSnapshotRequest(dataset=f"projects/{project}/datasets/d"))
        return self.snapshot(project, before + 1)

    def snapshot(self, project: str, count: int) -> dataset_pb2.Snapshot:
        """Wait for the snapshot that makes `count`."""
        found = eventually(
            lambda: all_ if len(all_ := self.snapshots(project)) >= count else None,
            f"snapshot {count} of {project}",
        )
        return found[0]

    def read(self, snapshot: dataset_pb2.Snapshot) -> list[Record]:
        """All records of a snapshot, as curation would read them: from the object store, verified."""
        manifest = SnapshotManifest.from_json(self.fetch(_reference(snapshot.manifest)).read_bytes())
        batches: Iterator[pa.RecordBatch] = read_snapshot(manifest, self.fetch)
        return [record for batch in batches for record in batch_to_records(batch)]

    def fetch(self, reference: ObjectReference) -> Path:
        """An object as a file, its digest checked."""
        path = self.folder / reference.sha256
        bucket, _, key = reference.uri.removeprefix("s3://").partition("/")
        self.objects.fget_object(bucket, key, str(path))
        assert hashlib.sha256(path.read_bytes()).hexdigest() == reference.sha256
        assert path.stat().st_size == reference.size_bytes
        return path

    def dead_letter(self, event_id: str, topic: str = "sartor.data") -> Mapping[str, str]:
        """Wait for an event among the dead letters, and give its headers."""
        consumer = KafkaConsumer(
            f"{topic}.dlq",
            bootstrap_servers=self.servers.kafka_bootstrap_servers,
            auto_offset_reset="earliest",
            group_id=None,
        )
        try:
            until = time.monotonic() + WAIT_SECONDS
            while time.monotonic() < until:
                for batch in consumer.poll(500).values():
                    for message in batch:
                        headers = {key: value.decode() for key, value in message.headers}
                        if event_id in (headers.get("ce_id"), _structured_id(message.value)):
                            return headers
        finally:
            consumer.close()
        raise AssertionError(f"event {event_id} is not among the dead letters")


def _structured_id(value: bytes | None) -> str:
    try:
        return str(json.loads(value or b"{}").get("id", ""))
    except (ValueError, AttributeError):
        return ""


def _reference(message: Any) -> ObjectReference:
    return ObjectReference(message.uri, message.sha256, message.size_bytes)


def start(role: str, environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """One process of ingestion."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "sartor_ingestion", role],
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
def ingestion(fresh_stack: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingestion]:
    """A server and a worker with an empty database."""
    folder = tmp_path_factory.mktemp("ingestion")
    target = f"127.0.0.1:{free_port()}"
    own = {"SARTOR_GRPC_BIND": target, "SARTOR_DATA_DIR": str(folder / "work")}
    environment = {**fresh_stack.environment(), **own}
    server_log, worker_log = folder / "server.log", folder / "worker.log"
    processes = [start("server", environment, server_log)]
    try:
        eventually(lambda: serving(target) or processes[0].poll() is not None, "ingestion's server")
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
        with channel(target) as open_channel:
            client = ingestion_service_pb2_grpc.IngestionServiceStub(open_channel)
            logs = [server_log, worker_log]
            yield Ingestion(fresh_stack, target, folder, client, producer, objects, logs)
        producer.close()
    finally:
        end(processes)
        for log in (server_log, worker_log):
            lines = [line for line in log.read_text().splitlines() if '"event": "grpc.call"' not in line]
            print(f"--- {log.name}", *lines[-100:], sep="\n")
