"""Small inline data events, one record each, through one ingestion server and one worker into a snapshot.

The clock runs from the first publication, by a process with kafka-python alone, to the sealed snapshot.
Then the snapshot is read: none lost, none doubled, or the figure does not count.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

from kafka import KafkaProducer
from minio import Minio
from sartor.ingestion.v1 import ingestion_service_pb2 as messages
from sartor.ingestion.v1 import project_pb2, source_pb2
from sartor.ingestion.v1.ingestion_service_pb2_grpc import IngestionServiceStub
from sartor_datasets.manifests import ObjectReference, SnapshotManifest
from sartor_datasets.snapshots import read_snapshot
from sartor_local.stack import Stack
from sartor_local.supervisor import StackOptions
from sartor_platform.grpc_client import channel

from benchmarks.results import report

GOAL_RECORDS_PER_SECOND = 1000
RECORDS = 20_000
SOURCE = "projects/bench/sources/events"
DATASET = "projects/bench/datasets/events"


def main(records: int = RECORDS) -> int:
    """Measures once."""
    with tempfile.TemporaryDirectory(prefix="sartor-ingest-") as folder:
        Path(folder).chmod(0o755)
        options = StackOptions(Path(folder), services=("ingestion",))
        with Stack(options) as state, channel(state.targets["ingestion"]) as open_channel:
            client = IngestionServiceStub(open_channel)
            apply(client, records)
            servers = state.environment["SARTOR_KAFKA_BOOTSTRAP_SERVERS"]
            publish(servers, 0, 1)
            wait(lambda: dataset(client).pending_count == 1)  # the consumer group has formed
            value, seconds = measured(client, servers, records)
            faults = proven(state.environment, newest(client), records)
    for fault in faults:
        print(fault, file=sys.stderr)
    if not faults:
        print(f"  {records} records: {seconds}")
        goal = GOAL_RECORDS_PER_SECOND
        report("ingest_records_per_second", value, goal, "higher", records=records, **seconds)
    return len(faults)


def measured(client: Any, servers: str, records: int) -> tuple[float, dict[str, float]]:
    """Records a second, and where the time went."""
    context = multiprocessing.get_context("spawn")
    times = context.Array("d", 2)
    producer = context.Process(target=publish, args=(servers, 1, records, times))
    producer.start()
    wait(lambda: newest(client) or dataset(client).pending_count >= records)
    taken = time.monotonic()
    wait(lambda: newest(client) is not None)
    sealed = time.monotonic()
    producer.join()
    began, published = float(times[0]), float(times[1])
    seconds = {"publishing": published - began, "taking_in": taken - began, "sealing": sealed - taken}
    return records / (sealed - began), {f"{name}_seconds": round(value, 2) for name, value in seconds.items()}


def publish(servers: str, first: int, last: int, times: Any = None) -> None:
    """Publish events as another system would. `times` gets the beginning and the end."""
    producer = KafkaProducer(bootstrap_servers=servers, acks="all", enable_idempotence=True, linger_ms=5)
    began = time.monotonic()
    for number in range(first, last):
        row = {
            "id": f"ticket-{number}",
            "question": f"How do I reset the password of account {number}?",
            "answer": f"Open the settings, choose reset, and follow the mail about case {number}.",
            "language": "en",
        }
        headers = [
            ("ce_specversion", b"1.0"),
            ("ce_id", str(uuid.uuid4()).encode()),
            ("ce_source", b"/bench"),
            ("ce_type", b"sartor.ingestion.v1.RecordsPublished"),
            ("content-type", b"application/json"),
        ]
        body = json.dumps({"source": SOURCE, "records": [row]}).encode()
        producer.send("sartor.data", body, key=str(number).encode(), headers=headers)
    producer.flush()
    if times is not None:
        times[:] = [began, time.monotonic()]
    producer.close()


def proven(environment: Any, snapshot: Any, records: int) -> list[str]:
    """What is wrong with the snapshot; nothing, it is hoped."""
    objects = Minio(
        environment["SARTOR_S3_ENDPOINT"],
        access_key=environment["SARTOR_S3_ACCESS_KEY"],
        secret_key=environment["SARTOR_S3_SECRET_KEY"],
        secure=False,
    )
    with tempfile.TemporaryDirectory() as folder:

        def fetch(reference: ObjectReference) -> Path:
            path = Path(folder) / reference.sha256
            bucket, _, key = reference.uri.removeprefix("s3://").partition("/")
            objects.fget_object(bucket, key, str(path))
            return path

        reference = ObjectReference(
            snapshot.manifest.uri, snapshot.manifest.sha256, snapshot.manifest.size_bytes
        )
        manifest = SnapshotManifest.from_json(fetch(reference).read_bytes())
        batches = read_snapshot(manifest, fetch, ["record_key"])
        found = Counter(key for batch in batches for key in batch["record_key"].to_pylist())
    lost = [number for number in range(records) if f"ticket-{number}" not in found]
    doubled = [key for key, count in found.items() if count > 1]
    faults = [f"lost: {len(lost)}, such as ticket-{lost[0]}"] if lost else []
    return faults + ([f"doubled: {len(doubled)}, such as {doubled[0]}"] if doubled else [])


def apply(client: Any, records: int) -> None:
    """A source that seals when all records are there."""
    client.ApplyProject(messages.ApplyProjectRequest(project=project_pb2.Project(name="projects/bench")))
    mapping = source_pb2.Mapping(key="id", prompt="question", completion="answer", attributes=["language"])
    rule = source_pb2.SnapshotRule(at_records=records)
    source = source_pb2.Source(name=SOURCE, dataset=DATASET, mapping=mapping, snapshot_rule=rule)
    client.ApplySource(messages.ApplySourceRequest(source=source))


def dataset(client: Any) -> Any:
    """The dataset as it is now."""
    return client.GetDataset(messages.GetDatasetRequest(name=DATASET))


def newest(client: Any) -> Any:
    """The newest snapshot, or None."""
    found = client.ListSnapshots(messages.ListSnapshotsRequest(parent=DATASET)).snapshots
    return found[0] if found else None


def wait(done: Any, seconds: float = 300.0) -> None:
    """Until `done` holds."""
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            raise TimeoutError(f"not done within {seconds} s")
        time.sleep(0.05)


if __name__ == "__main__":
    raise SystemExit(main())
