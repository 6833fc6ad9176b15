"""Training on real PostgreSQL and object store: a served API and a running worker in this process."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sartor.common.v1 import object_reference_pb2
from sartor.curation.v1.curation_events_pb2 import CurationSucceeded
from sartor.training.v1 import base_model_pb2, training_plan_pb2
from sartor.training.v1 import training_service_pb2 as messages
from sartor.training.v1.training_service_pb2_grpc import TrainingServiceStub
from sartor_datasets.manifests import CuratedFile, CuratedManifest, ObjectReference
from sartor_platform import inbox
from sartor_platform.database import Database
from sartor_platform.events import Event
from sartor_platform.grpc_client import call_errors, channel
from sartor_platform.grpc_server import GrpcServer
from sartor_platform.jobs import Job, job_of
from sartor_platform.listen import Listener
from sartor_platform.migrations import upgrade
from sartor_platform.objects import ObjectStore
from sartor_platform.runtime import Runtime
from sartor_platform.settings import read
from sartor_platform.watch import Watchers
from sartor_platform.worker_loop import WorkerLoop
from sartor_training import events, service, worker
from sartor_training.settings import TrainingSettings
from sqlalchemy import text

from tests.tiny_model import make_tiny_model

ANSWERS = {
    "How do I reset my password?": "Open the settings page.",
    "Where is my order?": "It arrives within three days.",
    "Wie setze ich mein Passwort zurück?": "Öffnen Sie die Einstellungen.",
    "Wo ist meine Bestellung?": "Sie kommt in drei Tagen an.",
}


class Training:
    """The service, as its server and worker processes would hold it."""

    def __init__(self, runtime: Runtime, stub: TrainingServiceStub, tiny: Path) -> None:
        self.runtime, self.api, self.tiny = runtime, stub, tiny
        self._handlers = events.handlers(runtime)

    def apply_base_model(
        self, project: str, reference: str = "", name: str = "tiny"
    ) -> base_model_pb2.BaseModel:
        """Register a base model; the tiny one where no other is named."""
        model = base_model_pb2.BaseModel(
            name=f"projects/{project}/baseModels/{name}", reference=reference or f"file:{self.tiny}"
        )
        with call_errors():
            return self.api.ApplyBaseModel(messages.ApplyBaseModelRequest(base_model=model))

    def apply_plan(
        self, project: str, base_model: str = "tiny", **recipe: Any
    ) -> training_plan_pb2.TrainingPlan:
        """A plan called support."""
        plan = training_plan_pb2.TrainingPlan(
            name=f"projects/{project}/trainingPlans/support",
            curation_policy=f"projects/{project}/curationPolicies/support",
            model=f"projects/{project}/models/assistant",
            base_model=f"projects/{project}/baseModels/{base_model}",
            recipe=training_plan_pb2.Recipe(**{"tokens_per_batch": 128, "rank": 4, "epochs": 2, **recipe}),
        )
        with call_errors():
            return self.api.ApplyTrainingPlan(messages.ApplyTrainingPlanRequest(training_plan=plan))

    def curate(self, project: str, folder: Path, *, standing: bool = True, copies: int = 6) -> Event:
        """Curated data in the object store, and the event that tells of it; it is not handled yet."""
        name = f"projects/{project}/curations/c{uuid.uuid4().hex[:10]}"
        manifest = _curated(self.runtime.objects, name, folder, copies)
        policy = f"projects/{project}/curationPolicies/support"
        told = CurationSucceeded(
            curation=name,
            policy=policy,
            standing_order=policy if standing else "",
            snapshot=f"projects/{project}/datasets/d/snapshots/s",
            manifest=object_reference_pb2.ObjectReference(
                uri=manifest.uri, sha256=manifest.sha256, size_bytes=manifest.size_bytes
            ),
        )
        return event_of(told, subject=name, project=project)

    def handle(self, event: Event) -> None:
        """What the consumer does with an event."""
        inbox.handle(self.runtime.database, self._handlers[event.type], [event])

    def jobs(self, project: str) -> list[Any]:
        """The project's training jobs, newest first."""
        return list(
            self.api.ListTrainingJobs(
                messages.ListTrainingJobsRequest(parent=f"projects/{project}")
            ).training_jobs
        )

    def finished(self, resource: str, seconds: float = 90) -> Job:
        """The resource's job, once it has ended."""

        def ended() -> Job | None:
            with self.runtime.database.read() as connection:
                job = job_of(connection, resource)
            return job if job is not None and job.finished else None

        found: Job = until(ended, seconds=seconds)
        return found

    def published(self, type_: type[Any], subject: str) -> list[Any]:
        """The events of this type about this subject that left the service."""
        from google.protobuf.json_format import Parse

        query = text("SELECT data, run, generation FROM outbox WHERE type = :type AND subject = :subject")
        values = {"type": type_.DESCRIPTOR.full_name, "subject": subject}
        with self.runtime.database.read() as connection:
            rows = connection.execute(query, values).all()
        return [Parse(bytes(row.data), type_()) for row in rows]

    def rows(self, query: str, **values: Any) -> list[Any]:
        """The rows of a query."""
        with self.runtime.database.read() as connection:
            return list(connection.execute(text(query), values))


def event_of(told: Any, *, subject: str, project: str) -> Event:
    """A message of another service as the consumer hands it on."""
    service = type(told).DESCRIPTOR.full_name.split(".")[1]
    return Event(
        id=uuid.uuid4().hex,
        source=f"/sartor/{service}",
        type=told.DESCRIPTOR.full_name,
        subject=subject,
        time=datetime.now(UTC),
        run=f"run-{project}",
        generation=7,
        traceparent="",
        topic=f"sartor.{service}.v1",
        partition=0,
        offset=0,
        headers={},
        data=b"",
        message=told,
    )


def until(condition: Callable[[], Any], *, seconds: float = 60, pause: float = 0.05) -> Any:
    """Wait for the condition and return what it gave; fails only when it never comes."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(pause)
    raise AssertionError("it did not happen")


@pytest.fixture(scope="module")
def training(fresh_stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Training]:
    """Training with one worker slot, on a database of this module's own."""
    environment = {
        **fresh_stack.environment(),
        "SARTOR_DATA_DIR": str(tmp_path_factory.mktemp("data")),
        "SARTOR_COMPUTE_THREADS": "1",
        "SARTOR_PACKAGES_DIR": str(tmp_path_factory.mktemp("packages")),
    }
    settings = read(TrainingSettings, environment)
    upgrade(settings.database_url, "sartor_training")
    with ExitStack() as stack:
        database = Database(settings.database_url, "training")
        stack.callback(database.close)
        listener = Listener(database)
        runtime = Runtime(settings, database, ObjectStore(settings), Watchers(listener), "training")
        listener.start()
        stack.callback(listener.stop)
        server = GrpcServer("127.0.0.1:0", service.servicers(runtime))
        server.start()
        stack.callback(server.stop, 0)
        loop = WorkerLoop(runtime, worker.job_kinds(runtime), listener)
        loop.start()
        stack.callback(loop.stop)
        opened = stack.enter_context(channel(f"127.0.0.1:{server.port}"))
        yield Training(runtime, TrainingServiceStub(opened), make_tiny_model(tmp_path_factory.mktemp("tiny")))


def _curated(objects: ObjectStore, name: str, folder: Path, copies: int) -> ObjectReference:
    from sartor_datasets.arrow import CuratedRecord
    from sartor_datasets.curated import CuratedWriter
    from sartor_datasets.records import Message, Record, content_id

    folder = folder / uuid.uuid4().hex
    folder.mkdir()
    with CuratedWriter(folder) as writer:
        for number, (question, answer) in enumerate(ANSWERS.items()):
            for copy in range(copies):
                turns = (Message("user", f"{question} {copy}"), Message("assistant", answer))
                identity = content_id(kind="chat", messages=turns, text="", label="", attributes={})
                record = Record(
                    record_id=identity,
                    record_key=identity,
                    op="upsert",
                    kind="chat",
                    messages=turns,
                    text="",
                    label="",
                    attributes={},
                    subject_key="",
                    source="projects/p/sources/s",
                    position=f"{number}",
                    event_time=datetime.now(UTC),
                )
                split = "validation" if copy == 0 else "train"
                writer.write(CuratedRecord(record, split, identity, "en", 20))
    files = [
        CuratedFile(
            w.split, objects.put_file(f"tests/{folder.name}/{w.path.name}", w.path), w.records, w.tokens
        )
        for w in writer.written
    ]
    manifest = CuratedManifest(
        name=name,
        snapshot="projects/p/datasets/d/snapshots/s",
        dataset="projects/p/datasets/d",
        files=tuple(files),
        policy_revision=1,
        base_model="projects/p/baseModels/tiny",
        base_model_digest="0" * 64,
        create_time=datetime.now(UTC),
    )
    return objects.put_bytes(f"tests/{folder.name}/manifest.json", manifest.to_json())
