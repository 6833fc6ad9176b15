"""From an event's publication to the next stage's job claimed, fresh and after 50,000 earlier events.

Curation's server and worker run as in production; SnapshotCreated events come from the benchmark's producer.
The jobs end at once because their snapshots do not exist: the way of the event is timed, not the work.
Printed apart: how long a job's child takes from its start to the first line of the domain's own code.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

import grpc
import sqlalchemy
from kafka import KafkaProducer
from sartor.curation.v1 import curation_policy_pb2, curation_service_pb2, curation_service_pb2_grpc
from sartor_local.stack import Stack
from sartor_local.state import StackState
from sartor_local.supervisor import StackOptions

from benchmarks.results import report

TOPIC = "sartor.ingestion.v1"
EARLIER = 50_000
SAMPLES = 200
NOWHERE = {"uri": "s3://sartor/benchmark/nothing.json", "sha256": "0" * 64, "sizeBytes": "1"}


class Benchmark:
    """A project with one curation policy, and a producer of events for it."""

    def __init__(self, state: StackState) -> None:
        self.project = f"bench-{uuid.uuid4().hex[:8]}"
        self.producer = KafkaProducer(
            bootstrap_servers=state.environment["SARTOR_KAFKA_BOOTSTRAP_SERVERS"],
            acks="all",
            enable_idempotence=True,
        )
        url = sqlalchemy.make_url(state.environment["SARTOR_DATABASE_URL"])
        self.engine = sqlalchemy.create_engine(url.set(drivername="postgresql+psycopg"))
        self._order(state)

    def _order(self, state: StackState) -> None:
        channel = grpc.insecure_channel(state.targets["curation"])
        stub = curation_service_pb2_grpc.CurationServiceStub(channel)
        policy = curation_policy_pb2.CurationPolicy(
            name=f"projects/{self.project}/curationPolicies/bench",
            dataset=f"projects/{self.project}/datasets/bench",
            base_model=f"projects/{self.project}/baseModels/none",
        )
        stub.ApplyCurationPolicy(
            curation_service_pb2.ApplyCurationPolicyRequest(
                curation_policy=policy, generation=1, request_id=str(uuid.uuid4())
            )
        )
        ready = {"baseModel": policy.base_model, "digest": "0" * 64, "manifest": NOWHERE}
        kind = "sartor.training.v1.BaseModelReady"
        self._send("sartor.training.v1", kind, policy.base_model, ready, "run-bench")
        self.producer.flush(10)

    def _send(self, topic: str, kind: str, subject: str, data: Mapping[str, object], run: str) -> None:
        headers = {
            "ce_specversion": "1.0", "ce_id": uuid.uuid4().hex, "ce_source": "/sartor/ingestion",
            "ce_type": kind,
            "ce_subject": subject, "ce_sartorrun": run, "content-type": "application/json",
        }  # fmt: skip
        encoded = [(name, value.encode()) for name, value in headers.items()]
        self.producer.send(topic, key=subject.encode(), value=json.dumps(data).encode(), headers=encoded)

    def snapshot(self, dataset: str, run: str, sequence: int) -> None:
        """Publishes one SnapshotCreated."""
        name = f"projects/{self.project}/datasets/{dataset}"
        subject = f"{name}/snapshots/s{sequence}"
        data = {
            "snapshot": subject, "dataset": name, "sequence": str(sequence), "manifest": NOWHERE,
            "recordCount": "1"
        }  # fmt: skip
        self._send(TOPIC, "sartor.ingestion.v1.SnapshotCreated", subject, data, run)

    def milliseconds_to_claim(self, label: str) -> list[float]:
        """Publishes single events at random moments and reads when a worker claimed each job."""
        sent: dict[str, float] = {}
        for sequence in range(SAMPLES):
            run = f"run-{label}-{sequence}"
            sent[run] = time.time()
            self.snapshot("bench", run, int(time.time_ns() % 10**12))
            self.producer.flush(10)
            time.sleep(random.uniform(0.1, 0.3))
        query = sqlalchemy.text(
            "SELECT run, extract(epoch FROM start_time) FROM curation.jobs WHERE run = ANY(:runs)"
        )
        deadline = time.monotonic() + 60
        while True:
            with self.engine.connect() as connection:
                rows = connection.execute(query, {"runs": list(sent)})
                claimed = {row.run: row[1] for row in rows}
            if len(claimed) == SAMPLES and all(claimed.values()):
                return sorted((float(claimed[run]) - sent[run]) * 1000 for run in sent)
            if time.monotonic() > deadline:
                raise SystemExit(f"only {len(claimed)} of {SAMPLES} jobs were claimed within 60 s")
            time.sleep(0.5)

    def publish_earlier(self) -> float:
        """Publishes the earlier events and waits until all of them were read; returns the seconds."""
        start = time.monotonic()
        for sequence in range(EARLIER):
            self.snapshot(f"other-{sequence % 50}", "run-earlier", sequence)
        self.producer.flush(120)
        query = sqlalchemy.text("SELECT count(*) FROM curation.inbox")
        while True:
            with self.engine.connect() as connection:
                seen = connection.execute(query).scalar_one()
            if seen >= EARLIER:
                return time.monotonic() - start
            if time.monotonic() - start > 1200:
                raise SystemExit(f"only {seen} of {EARLIER} earlier events were read within 1,200 s")
            time.sleep(1)


def child_start_seconds() -> list[float]:
    """Seconds from starting a curation's child to its first line, imports included."""
    code = "import sartor_platform.child, sartor_curation.curation_job"
    figures = []
    for _ in range(5):
        start = time.monotonic()
        subprocess.run([sys.executable, "-c", code], check=True)
        figures.append(time.monotonic() - start)
    return figures


def quantile(sorted_values: list[float], share: float) -> float:
    """The value below which `share` of the values lie."""
    return sorted_values[min(len(sorted_values) - 1, int(share * len(sorted_values)))]


def main() -> int:
    """Prints the figures; the goals hold for the worse of fresh and after the earlier events."""
    with tempfile.TemporaryDirectory(prefix="sartor-bench-") as folder:
        Path(folder).chmod(0o755)
        with Stack(StackOptions(Path(folder) / "s", services=("curation",), durable=False)) as state:
            bench = Benchmark(state)
            time.sleep(2)
            fresh = bench.milliseconds_to_claim("fresh")
            seconds = bench.publish_earlier()
            later = bench.milliseconds_to_claim("later")
            bench.producer.close()
            bench.engine.dispose()
    for label, values in (("fresh", fresh), ("later", later)):
        print(f"{label}: p50 {quantile(values, 0.5):.0f} ms, p99 {quantile(values, 0.99):.0f} ms")
    print(f"{EARLIER} earlier events read in {seconds:.0f} s ({EARLIER / seconds:.0f} a second)")
    print(f"child start-up: {statistics.median(child_start_seconds()):.2f} s")
    details = {"samples": SAMPLES, "earlier_events": EARLIER, "fresh": fresh, "later": later}
    report("event_to_claim_p50_ms", max(quantile(fresh, 0.5), quantile(later, 0.5)), 300, "lower", **details)
    report(
        "event_to_claim_p99_ms", max(quantile(fresh, 0.99), quantile(later, 0.99)), 1000, "lower", **details
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
