"""Curation as it runs: a server and a worker on the real servers, fed by events as their services do."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from kafka import KafkaConsumer, KafkaProducer
from minio import Minio
from sartor.curation.v1 import curation_pb2, curation_policy_pb2, curation_service_pb2_grpc
from sartor.curation.v1 import curation_service_pb2 as messages
from sartor_datasets.arrow import CuratedRecord, batch_to_curated, records_to_batch
from sartor_datasets.curated import read_curated
from sartor_datasets.manifests import (
    BaseModelManifest,
    CuratedManifest,
    ManifestFile,
    ObjectReference,
    Segment,
    SnapshotManifest,
    base_model_digest,
)
from sartor_datasets.parquet import write_records
from sartor_datasets.records import Record
from sartor_local.ports import free_port
from sartor_platform.grpc_client import channel
from tokenizers import Tokenizer, models, pre_tokenizers

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
class Curation:
    """A running curation, and the clients with which ingestion, training and users would meet it."""

    servers: Servers
    folder: Path
    client: Any
    producer: KafkaProducer
    objects: Minio
    worker_pid: int

    def apply(self, project: str, *, policy: str = "p", dataset: str = "d", **fields: Any) -> str:
        """A policy for the dataset; returns its name."""
        name = f"projects/{project}/curationPolicies/{policy}"
        values = {
            "languages": ["en", "de"],
            "split": curation_policy_pb2.SplitShares(validation=0.2, test=0.2),
            "length": curation_policy_pb2.LengthBounds(min_characters=8, max_tokens=300),
            **fields,
        }
        wanted = curation_policy_pb2.CurationPolicy(
            name=name,
            dataset=f"projects/{project}/datasets/{dataset}",
            base_model=f"projects/{project}/baseModels/tiny",
            **values,
        )
        self.client.ApplyCurationPolicy(
            messages.ApplyCurationPolicyRequest(curation_policy=wanted, generation=3)
        )
        return name

    def publish(
        self, topic: str, type_: str, data: Mapping[str, Any], *, run: str = "", event_id: str = ""
    ) -> None:
        """Send an event as its service would."""
        attributes = {
            "specversion": "1.0",
            "id": event_id or str(uuid.uuid4()),
            "source": f"/{topic}",
            "type": type_,
            "sartorrun": run,
            "sartorgeneration": "3",
        }
        headers = [(f"ce_{name}", value.encode()) for name, value in attributes.items() if value]
        headers.append(("content-type", b"application/json"))
        self.producer.send(topic, json.dumps(data).encode(), key=b"k", headers=headers).get(20)

    def base_model_ready(self, project: str, *, tokenizer: bool = True) -> None:
        """Training has prepared the base model `tiny`: here a tokenizer of words."""
        words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
        words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        path = "tokenizer.json" if tokenizer else "config.json"
        files = (ManifestFile(path, self.put(f"{project}/{path}", words.to_str().encode())),)
        manifest = BaseModelManifest(
            name=f"projects/{project}/baseModels/tiny",
            reference="file:/tiny",
            digest=base_model_digest(files),
            files=files,
            architecture="LlamaForCausalLM",
            context_length=512,
            vocabulary_size=1,
            license="",
            chat_template=True,
        )
        reference = self.put(f"{project}/base-model.json", manifest.to_json())
        data = {"baseModel": manifest.name, "digest": manifest.digest, "manifest": as_json(reference)}
        self.publish("sartor.training.v1", "sartor.training.v1.BaseModelReady", data)

    def snapshot_created(
        self,
        project: str,
        records: Sequence[Record],
        sequence: int = 1,
        *,
        event_id: str = "",
        corrupt: bool = False,
    ) -> str:
        """Ingestion has sealed a snapshot of these records; returns its name."""
        path = self.folder / f"{project}-{sequence}.parquet"
        write_records(path, [records_to_batch(records)])
        segment = self.put(f"{project}/{sequence}/segment.parquet", path.read_bytes())
        dataset = f"projects/{project}/datasets/d"
        manifest = SnapshotManifest(
            name=f"{dataset}/snapshots/s{sequence}",
            dataset=dataset,
            sequence=sequence,
            parent="",
            run=f"run-{sequence}",
            generation=3,
            segments=(Segment("one", segment, len(records)),),
            exclusions=None,
            record_count=len(records),
            create_time=datetime.now(UTC),
        )
        reference = self.put(f"{project}/{sequence}/manifest.json", manifest.to_json())
        if corrupt:
            reference = ObjectReference(reference.uri, "0" * 64, reference.size_bytes)
        data = {
            "snapshot": manifest.name,
            "dataset": dataset,
            "sequence": str(sequence),
            "manifest": as_json(reference),
            "recordCount": str(len(records)),
        }
        self.publish(
            "sartor.ingestion.v1",
            "sartor.ingestion.v1.SnapshotCreated",
            data,
            run=f"run-{sequence}",
            event_id=event_id,
        )
        return manifest.name

    def put(self, key: str, data: bytes) -> ObjectReference:
        """Put an object into the store."""
        self.objects.put_object(self.servers.s3_bucket, f"test/{key}", io.BytesIO(data), len(data))
        uri = f"s3://{self.servers.s3_bucket}/test/{key}"
        return ObjectReference(uri, sha256(data).hexdigest(), len(data))

    def keys(self, project: str) -> list[str]:
        """The objects of a project, of whatever kind."""
        found = self.objects.list_objects(self.servers.s3_bucket, prefix=f"{project}/", recursive=True)
        return [str(one.object_name) for one in found]

    def curations(self, project: str, filter_: str = "") -> Sequence[curation_pb2.Curation]:
        """The curations of a project, newest first."""
        request = messages.ListCurationsRequest(parent=f"projects/{project}", filter=filter_)
        return list(self.client.ListCurations(request).curations)

    def started(self, project: str, count: int) -> curation_pb2.Curation:
        """Wait for the curation that makes `count`, and give the newest."""
        return eventually(
            lambda: found if len(found := self.curations(project)) >= count else None,
            f"curation {count} of {project}",
        )[0]

    def finished(self, name: str) -> curation_pb2.Curation:
        """Watch a curation to its end."""
        *_, last = self.client.WatchCuration(messages.WatchCurationRequest(name=name), timeout=WAIT_SECONDS)
        return last

    def dropped(
        self, name: str, filter_: str = "", page_size: int = 1000
    ) -> list[curation_pb2.DroppedRecord]:
        """All dropped records of a curation, page by page."""
        found: list[curation_pb2.DroppedRecord] = []
        token = ""
        while True:
            request = messages.ListDroppedRecordsRequest(
                parent=name, filter=filter_, page_size=page_size, page_token=token
            )
            page = self.client.ListDroppedRecords(request)
            found += page.dropped_records
            token = page.next_page_token
            if not token:
                return found

    def fetch(self, reference: Any) -> Path:
        """An object as a file, its digest checked."""
        path = self.folder / reference.sha256
        bucket, _, key = reference.uri.removeprefix("s3://").partition("/")
        self.objects.fget_object(bucket, key, str(path))
        assert sha256(path.read_bytes()).hexdigest() == reference.sha256
        assert path.stat().st_size == reference.size_bytes
        return path

    def read(self, curation: curation_pb2.Curation) -> list[CuratedRecord]:
        """The curated records, as training would read them."""
        manifest = CuratedManifest.from_json(self.fetch(curation.manifest).read_bytes())
        return [
            record
            for split in ("train", "validation", "test")
            for batch in read_curated(manifest, split, self.fetch)
            for record in batch_to_curated(batch)
        ]

    def events(self, type_: str, curation: str) -> list[tuple[dict[str, str], dict[str, Any]]]:
        """The events of this type about a curation, with their headers; waits for the first."""
        consumer = KafkaConsumer(
            "sartor.curation.v1",
            bootstrap_servers=self.servers.kafka_bootstrap_servers,
            auto_offset_reset="earliest",
            group_id=None,
        )
        found: list[tuple[dict[str, str], dict[str, Any]]] = []
        until = time.monotonic() + WAIT_SECONDS
        try:
            while time.monotonic() < until:
                batches = consumer.poll(500)
                for message in (one for batch in batches.values() for one in batch):
                    headers = {key: value.decode() for key, value in message.headers}
                    if headers.get("ce_subject") == curation and headers["ce_type"].endswith(type_):
                        found.append((headers, json.loads(message.value)))
                if found and not batches:
                    return found
        finally:
            consumer.close()
        raise AssertionError(f"no {type_} about {curation}")


def as_json(reference: ObjectReference) -> dict[str, str]:
    return {"uri": reference.uri, "sha256": reference.sha256, "sizeBytes": str(reference.size_bytes)}


def start(role: str, environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """One process of curation."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "sartor_curation", role],
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
def curation(fresh_stack: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Curation]:
    """A server and a worker with an empty database."""
    yield from running(fresh_stack, tmp_path_factory.mktemp("curation"), {})


def running(stack: Servers, folder: Path, settings: Mapping[str, str]) -> Iterator[Curation]:
    """A server and a worker with these settings, until the caller goes on."""
    target = f"127.0.0.1:{free_port()}"
    environment = {
        **stack.environment(),
        "SARTOR_GRPC_BIND": target,
        "SARTOR_DATA_DIR": str(folder / "work"),
        **settings,
    }
    logs = [folder / "server.log", folder / "worker.log"]
    processes = [start("server", environment, logs[0])]
    try:
        eventually(lambda: serving(target) or processes[0].poll() is not None, "curation's server")
        assert processes[0].poll() is None, logs[0].read_text()[-3000:]
        processes.append(start("worker", environment, logs[1]))
        producer = KafkaProducer(
            bootstrap_servers=stack.kafka_bootstrap_servers, acks="all", enable_idempotence=True
        )
        objects = Minio(
            stack.s3_endpoint,
            access_key=stack.s3_access_key,
            secret_key=stack.s3_secret_key,
            secure=False,
        )
        with channel(target) as open_channel:
            client = curation_service_pb2_grpc.CurationServiceStub(open_channel)
            yield Curation(stack, folder, client, producer, objects, processes[1].pid)
        producer.close()
    finally:
        end(processes)
        for log in logs:
            if log.exists():
                lines = [line for line in log.read_text().splitlines() if '"event": "grpc.call"' not in line]
                print(f"--- {log.name}", *lines[-100:], sep="\n")
