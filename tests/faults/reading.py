"""What the outside sees: public API, manifests and Parquet files, every object checked against its digest."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pyarrow.parquet
from minio import Minio
from minio.error import S3Error
from sartor.common.v1.object_reference_pb2 import ObjectReference
from sartor.curation.v1 import curation_service_pb2 as curation
from sartor.deployment.v1 import deployment_service_pb2 as deployment
from sartor.evaluation.v1 import evaluation_service_pb2 as evaluation
from sartor.ingestion.v1 import ingestion_service_pb2 as ingestion
from sartor.training.v1 import training_service_pb2 as training
from sartor_cli.client import Sartor
from sartor_platform.settings import PlatformSettings

from tests.faults.workload import asked

Rows = list[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class SnapshotView:
    """A snapshot as its manifest and files say: key and version of every live row, and of every segment."""

    name: str
    sequence: int
    record_count: int
    live: Counter[tuple[str, int]]
    segments: dict[str, Rows]


class Objects:
    """Reads the object store directly, and remembers what was wrong with what it read."""

    def __init__(self, settings: PlatformSettings) -> None:
        self._client = Minio(
            settings.s3_endpoint,
            access_key=settings.s3_access_key,
            secret_key=settings.s3_secret_key,
            secure=False,
            region="us-east-1",
        )
        self._bucket = settings.s3_bucket
        self._known: dict[tuple[str, str], bytes] = {}
        self.faults: list[str] = []

    def read(self, uri: str, sha256: str) -> bytes:
        """The bytes; an object that is missing or has another digest is written down as a fault."""
        if (uri, sha256) in self._known:
            return self._known[uri, sha256]
        if not uri:
            self.faults.append("HALF: something that succeeded names no object where it must")
            return b""
        parts = urlsplit(uri)
        try:
            response = self._client.get_object(parts.netloc, parts.path.lstrip("/"))
            data: bytes = response.read()
            response.close()
            response.release_conn()
        except S3Error as error:
            self.faults.append(f"{uri} is named but cannot be read: {error.code}")
            return b""
        found = hashlib.sha256(data).hexdigest()
        if found != sha256:
            self.faults.append(f"{uri} has the digest {found[:12]}…, but {sha256[:12]}… is named")
            return data
        self._known[uri, sha256] = data
        return data

    def forget(self) -> None:
        """Read everything anew: it may be gone since."""
        self._known.clear()

    def older_than(self, prefix: str, seconds: float) -> list[str]:
        """The keys under a prefix that were written so long ago."""
        before = datetime.now(UTC) - timedelta(seconds=seconds)
        found = self._client.list_objects(self._bucket, prefix=prefix, recursive=True)
        return [str(each.object_name) for each in found if each.last_modified and each.last_modified < before]

    def put(self, uri: str, data: bytes) -> None:
        """Write over an object: a fault of the harness."""
        parts = urlsplit(uri)
        self._client.put_object(parts.netloc, parts.path.lstrip("/"), io.BytesIO(data), len(data))

    def reference(self, reference: ObjectReference) -> bytes:
        """The bytes of a reference of the API."""
        return self.read(reference.uri, reference.sha256)

    def manifest(self, reference: ObjectReference) -> dict[str, Any]:
        """A manifest, with every object that it names read and checked."""
        data = self.reference(reference)
        manifest: dict[str, Any] = json.loads(data) if data else {}
        self._check_named(manifest)
        return manifest

    def _check_named(self, value: Any) -> None:
        if isinstance(value, dict):
            if {"uri", "sha256"} <= set(value):
                self.read(value["uri"], value["sha256"])
            for part in value.values():
                self._check_named(part)
        elif isinstance(value, list):
            for part in value:
                self._check_named(part)


@dataclass(slots=True)
class Outside:
    """One dataset and all that follows from it, as the public API tells it."""

    dataset: str
    pending: int = 0
    snapshots: list[SnapshotView] = field(default_factory=list)
    curations: list[Any] = field(default_factory=list)
    jobs: list[Any] = field(default_factory=list)
    versions: list[Any] = field(default_factory=list)
    evaluations: list[Any] = field(default_factory=list)
    revisions: list[Any] = field(default_factory=list)


class Reader:
    """Reads datasets through the public API."""

    def __init__(self, sartor: Sartor, objects: Objects, services: tuple[str, ...]) -> None:
        self._sartor = sartor
        self.objects = objects
        self._services = services
        self._views: dict[str, SnapshotView] = {}

    def snapshots(self, dataset: str) -> list[SnapshotView]:
        """All snapshots of a dataset, oldest first."""
        request = ingestion.ListSnapshotsRequest(parent=dataset)
        found = asked(lambda: list(self._sartor.all(self._sartor.ingestion.ListSnapshots, request)))
        return [self._view(each) for each in sorted(found, key=lambda each: each.sequence)]

    def read(self, project: str, dataset: str, *, models: bool) -> Outside:
        """The dataset with everything that names it."""
        sartor, name = self._sartor, dataset.rpartition("/")[2]
        parent = f"projects/{project}"
        about = asked(
            lambda: sartor.ask(sartor.ingestion.GetDataset, ingestion.GetDatasetRequest(name=dataset))
        )
        outside = Outside(dataset, pending=about.pending_count, snapshots=self.snapshots(dataset))
        if "curation" in self._services:
            request = curation.ListCurationsRequest(parent=parent)
            found = asked(lambda: list(sartor.all(sartor.curation.ListCurations, request)))
            outside.curations = [each for each in found if each.snapshot.startswith(f"{dataset}/")]
        if models:
            self._read_models(outside, parent, name)
        return outside

    def _read_models(self, outside: Outside, parent: str, name: str) -> None:
        sartor = self._sartor
        jobs = training.ListTrainingJobsRequest(parent=parent)
        found = asked(lambda: list(sartor.all(sartor.training.ListTrainingJobs, jobs)))
        outside.jobs = [each for each in found if each.plan == f"{parent}/trainingPlans/{name}"]
        if outside.jobs:
            versions = training.ListModelVersionsRequest(parent=f"{parent}/models/{name}")
            outside.versions = asked(lambda: list(sartor.all(sartor.training.ListModelVersions, versions)))
        evaluations = evaluation.ListEvaluationsRequest(parent=parent)
        found = asked(lambda: list(sartor.all(sartor.evaluation.ListEvaluations, evaluations)))
        outside.evaluations = [each for each in found if each.gate == f"{parent}/gates/{name}"]
        revisions = deployment.ListRevisionsRequest(parent=f"{parent}/endpoints/{name}")
        outside.revisions = asked(lambda: list(sartor.all(sartor.deployment.ListRevisions, revisions)))

    def _view(self, snapshot: Any) -> SnapshotView:
        if snapshot.name in self._views:
            return self._views[snapshot.name]
        manifest = self.objects.manifest(snapshot.manifest)
        segments = {
            each["id"]: _rows(self.objects.read(each["object"]["uri"], each["object"]["sha256"]))
            for each in manifest.get("segments", ())
        }
        excluded: set[tuple[str, int]] = set()
        if manifest.get("exclusions"):
            data = self.objects.read(manifest["exclusions"]["uri"], manifest["exclusions"]["sha256"])
            table = pyarrow.parquet.read_table(io.BytesIO(data)).to_pydict()
            excluded = set(zip(table["segment"], table["row"], strict=True))
        live = Counter(
            row
            for segment, rows in segments.items()
            for index, row in enumerate(rows)
            if (segment, index) not in excluded
        )
        view = SnapshotView(snapshot.name, snapshot.sequence, snapshot.record_count, live, segments)
        self._views[snapshot.name] = view
        return view


def _rows(data: bytes) -> Rows:
    if not data:
        return []
    table = pyarrow.parquet.read_table(io.BytesIO(data), columns=["record_key", "attributes"]).to_pydict()
    return [
        (key, int(dict(attributes or ()).get("version", 1)))  # what the loop sends has no version
        for key, attributes in zip(table["record_key"], table["attributes"], strict=True)
    ]
