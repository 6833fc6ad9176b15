"""The gRPC service: proto ↔ domain, nothing else."""

# ruff: noqa: N802 - gRPC gives the methods their names

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from sartor.common.v1 import job_status_pb2
from sartor.ingestion.v1 import ingestion_service_pb2 as messages
from sartor.ingestion.v1 import ingestion_service_pb2_grpc
from sartor.ingestion.v1.dataset_pb2 import Dataset, Import, Snapshot
from sartor.ingestion.v1.project_pb2 import Project
from sartor.ingestion.v1.source_pb2 import Source
from sartor_platform import jobs, orders, principal
from sartor_platform.grpc_server import Servicer
from sartor_platform.idempotency import once
from sartor_platform.listing import parse_filter
from sartor_platform.runtime import Runtime
from sqlalchemy import ColumnElement, Connection

from sartor_ingestion import preview_messages, resources, service_messages
from sartor_ingestion.reach import Reach
from sartor_ingestion.resources import DATASET, IMPORT, PROJECT, SNAPSHOT, SOURCE
from sartor_ingestion.store import contracts, datasets, imports, snapshots
from sartor_ingestion.upload import receive
from sartor_ingestion.usecases import imports as imports_cases
from sartor_ingestion.usecases import snapshots as snapshot_cases
from sartor_ingestion.usecases import standing_orders, traces

_FINISHED = (
    job_status_pb2.JOB_STATE_SUCCEEDED,
    job_status_pb2.JOB_STATE_FAILED,
    job_status_pb2.JOB_STATE_CANCELLED,
)


def servicers(runtime: Runtime) -> list[Servicer]:
    """What the server of ingestion serves."""
    return [
        Servicer(
            add=ingestion_service_pb2_grpc.add_IngestionServiceServicer_to_server,
            implementation=IngestionService(runtime),
            full_name="sartor.ingestion.v1.IngestionService",
        )
    ]


class IngestionService(ingestion_service_pb2_grpc.IngestionServiceServicer):
    """Takes in records and seals snapshots; see ingestion_service.proto."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._database = runtime.database

    def ApplyProject(self, request: messages.ApplyProjectRequest, context: Any) -> Project:
        """Make or change a project."""
        wanted = request.project
        resources.check_project(wanted.name, wanted.display_name, wanted.project_file)
        if request.validate_only:
            return Project(
                name=wanted.name, display_name=wanted.display_name, project_file=wanted.project_file
            )

        def make() -> Project:
            order = standing_orders.apply_project(
                tx,
                wanted.name,
                display_name=wanted.display_name,
                project_file=wanted.project_file,
                generation=request.generation,
                etag=wanted.order.etag,
            )
            return service_messages.project_message(order)

        with self._database.transaction() as tx:
            return once(tx, request.request_id, request, make, Project)

    def GetProject(self, request: messages.GetProjectRequest, context: Any) -> Project:
        """Read a project."""
        PROJECT.parse(request.name)
        with self._database.read() as connection:
            return service_messages.project_message(standing_orders.get_project(connection, request.name))

    def ListProjects(self, request: Any, context: Any) -> messages.ListProjectsResponse:
        """List projects by name."""
        with self._database.read() as connection:
            found, token = standing_orders.list_projects(connection, request.page_size, request.page_token)
        shown = [service_messages.project_message(order) for order in found]
        return messages.ListProjectsResponse(projects=shown, next_page_token=token)

    def ApplySource(self, request: messages.ApplySourceRequest, context: Any) -> Source:
        """Make or change a source."""
        wanted = request.source
        spec = service_messages.source_spec(wanted)
        resources.check_source(wanted.name, spec)
        if request.validate_only:
            return service_messages.source_message(wanted.name, spec)

        def make() -> Source:
            order = standing_orders.apply_source(
                tx, wanted.name, spec, generation=request.generation, etag=wanted.order.etag
            )
            return service_messages.source_of_order(order)

        with self._database.transaction() as tx:
            return once(tx, request.request_id, request, make, Source)

    def GetSource(self, request: messages.GetSourceRequest, context: Any) -> Source:
        """Read a source."""
        SOURCE.parse(request.name)
        with self._database.read() as connection:
            order = standing_orders.get_source(connection, request.name)
            return service_messages.source_of_order(order, contracts.state_of(connection, request.name))

    def ListSources(self, request: Any, context: Any) -> messages.ListSourcesResponse:
        """List the sources of a project."""
        PROJECT.parse(request.parent, field="parent")
        with self._database.read() as connection:
            found, token = orders.list_orders(
                connection,
                f"{request.parent}/sources/",
                page_size=request.page_size,
                page_token=request.page_token,
            )
            states = {order.name: contracts.state_of(connection, order.name) for order in found}
        shown = [service_messages.source_of_order(order, states[order.name]) for order in found]
        return messages.ListSourcesResponse(sources=shown, next_page_token=token)

    def GetDataset(self, request: messages.GetDatasetRequest, context: Any) -> Dataset:
        """Read a dataset."""
        DATASET.parse(request.name)
        with self._database.read() as connection:
            return self._dataset(connection, request.name)

    def ListDatasets(self, request: Any, context: Any) -> messages.ListDatasetsResponse:
        """List the datasets of a project."""
        PROJECT.parse(request.parent, field="parent")
        with self._database.read() as connection:
            found, token = datasets.list_datasets(
                connection, request.parent, request.page_size, request.page_token
            )
            stopping = contracts.stopped(connection, [dataset.name for dataset in found])
        shown = [service_messages.dataset_message(each, stopping.get(each.name, ())) for each in found]
        return messages.ListDatasetsResponse(datasets=shown, next_page_token=token)

    def UploadRecords(self, request_iterator: Iterator[Any], context: Any) -> Import:
        """Take a file in, and leave it for an import job."""
        return receive(self._runtime, request_iterator)

    def ImportObjects(self, request: messages.ImportObjectsRequest, context: Any) -> Import:
        """Leave an object, or all under a prefix, for an import job."""
        SOURCE.parse(request.source, field="source")
        arriving = imports_cases.Arriving(
            source=request.source,
            uri=request.uri,
            sha256="",
            size_bytes=0,
            file_name=PurePosixPath(request.uri).name,
            format=service_messages.data_format(request.format),
            validate_only=request.validate_only,
        )

        def make() -> Import:
            reach = Reach.of(self._runtime.settings)
            started = imports_cases.start_import(tx, arriving, principal.current(), reach)
            return service_messages.import_message(started, jobs.job_of(tx.connection, started.name))

        with self._database.transaction() as tx:
            return once(tx, request.request_id, request, make, Import)

    def TraceRecords(self, request: messages.TraceRecordsRequest, context: Any) -> Any:
        """Find where records came from and what contains them."""
        PROJECT.parse(request.parent, field="parent")
        with self._database.read() as connection:
            found, token = traces.trace(
                connection,
                request.parent,
                record_id=request.record_id,
                record_key=request.record_key,
                subject=request.subject,
                page_size=request.page_size,
                page_token=request.page_token,
            )
            names = sorted({each.position.partition("#")[0] for each in found})
            known = imports.find_all(connection, names)
        shown = [preview_messages.trace_message(each, known) for each in found]
        return messages.TraceRecordsResponse(traces=shown, next_page_token=token)

    def GetImport(self, request: messages.GetImportRequest, context: Any) -> Import:
        """Read an import."""
        IMPORT.parse(request.name)
        return self._import(request.name)

    def ListImports(self, request: Any, context: Any) -> messages.ListImportsResponse:
        """List the imports of a project."""
        project = PROJECT.parse(request.parent, field="parent")["project"]
        with self._database.read() as connection:
            found, token = imports.list_imports(connection, project, request.page_size, request.page_token)
            states = jobs.jobs_of(connection, [item.name for item in found])
        shown = [service_messages.import_message(item, states.get(item.name)) for item in found]
        return messages.ListImportsResponse(imports=shown, next_page_token=token)

    def WatchImport(self, request: messages.WatchImportRequest, context: Any) -> Iterator[Import]:
        """Stream an import until it ends."""
        IMPORT.parse(request.name)

        yield from self._runtime.watchers.stream(
            request.name,
            lambda: self._import(request.name),
            lambda item: item.job.state in _FINISHED,
            context,
        )

    def ListRejectedRecords(self, request: Any, _context: Any) -> messages.ListRejectedRecordsResponse:
        """List rejected rows."""
        with self._database.read() as connection:
            where = _rejected_of(connection, request.parent)
            found, token = imports.list_rejected(connection, where, request.page_size, request.page_token)
        shown = [service_messages.rejected_message(item) for item in found]
        return messages.ListRejectedRecordsResponse(rejected_records=shown, next_page_token=token)

    def RequestSnapshot(self, request: messages.RequestSnapshotRequest, context: Any) -> Dataset:
        """Seal what is pending now."""
        DATASET.parse(request.dataset, field="dataset")

        def make() -> Dataset:
            snapshot_cases.request_snapshot(
                tx, request.dataset, principal.current(), accept_breaches=request.accept_breaches
            )
            return self._dataset(tx.connection, request.dataset)

        with self._database.transaction() as tx:
            return once(tx, request.request_id, request, make, Dataset)

    def GetSnapshot(self, request: messages.GetSnapshotRequest, context: Any) -> Snapshot:
        """Read a snapshot."""
        SNAPSHOT.parse(request.name)
        with self._database.read() as connection:
            found = snapshots.find(connection, request.name)
        if found is None:
            raise resources.snapshot_not_found(request.name)
        return service_messages.snapshot_message(found)

    def ListSnapshots(self, request: Any, context: Any) -> messages.ListSnapshotsResponse:
        """List the snapshots of a dataset or a project."""
        every = request.parent.removesuffix("/datasets/-")
        of_all = every != request.parent and PROJECT.matches(every)
        if not of_all:
            DATASET.parse(request.parent, field="parent")
        wanted = parse_filter(request.filter, ["run"])
        with self._database.read() as connection:
            found, token = snapshots.list_snapshots(
                connection,
                dataset="" if of_all else request.parent,
                project=PROJECT.format(project=resources.project_of(request.parent)),
                run=wanted.get("run", ""),
                page_size=request.page_size,
                page_token=request.page_token,
            )
        shown = [service_messages.snapshot_message(snapshot) for snapshot in found]
        return messages.ListSnapshotsResponse(snapshots=shown, next_page_token=token)

    def _import(self, name: str) -> Import:
        with self._database.read() as connection:
            found = imports.find(connection, name)
            if found is None:
                raise resources.import_not_found(name)
            return service_messages.import_message(found, jobs.job_of(connection, name))

    def _dataset(self, connection: Connection, name: str) -> Dataset:
        found = datasets.find(connection, name)
        if found is None:
            raise resources.dataset_not_found(name)
        stopping = contracts.stopped(connection, [name])
        return service_messages.dataset_message(found, stopping.get(name, ()))


def _rejected_of(connection: Connection, parent: str) -> ColumnElement[bool]:
    if SOURCE.matches(parent):
        return imports.of_source(parent)
    if IMPORT.matches(parent):
        return imports.of_import(parent)
    DATASET.parse(parent, field="parent")
    dataset_id = datasets.id_of(connection, parent)
    if dataset_id is None:
        raise resources.dataset_not_found(parent)
    return imports.of_dataset(dataset_id)
