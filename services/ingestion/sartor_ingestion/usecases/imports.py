"""Imports: a file is on its way into a dataset, was read, or could not be read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sartor_datasets.manifests import ObjectReference
from sartor_platform import log
from sartor_platform.jobs import Job
from sartor_platform.names import new_id
from sartor_platform.transaction import Transaction

from sartor_ingestion import resources
from sartor_ingestion.contract import Breaches
from sartor_ingestion.reach import Reach
from sartor_ingestion.rejection import Rejection
from sartor_ingestion.resources import IMPORT, Import, project_of
from sartor_ingestion.store import (
    arrivals,
    contracts,
    datasets,
    imports,
    known_objects,
    object_rows,
    snapshots,
    sources,
)
from sartor_ingestion.store.sources import SourceOnDuty
from sartor_ingestion.usecases.records import RECORDS
from sartor_ingestion.usecases.snapshots import cut_if_full

IMPORT_JOB = "import"


@dataclass(frozen=True, slots=True)
class Arriving:
    """A file that lies in an object store. An empty sha256 is not verified, only recorded."""

    source: str
    uri: str
    sha256: str
    size_bytes: int
    file_name: str
    format: str = ""
    validate_only: bool = False
    objects: Sequence[tuple[str, str]] = ()
    """Of several objects below `uri`: address and version of each."""


@dataclass(frozen=True, slots=True)
class ReadFile:
    """What an import job made of its file. Its records wait in the batch `batch_id`."""

    batch_id: str
    abandoned_batch_ids: Sequence[str]
    """Batches that earlier attempts may have staged."""
    reference: ObjectReference
    format: str
    segments: Sequence[tuple[str, ObjectReference, int]]
    """Name, object and rows of each."""
    accepted: int
    rejected: int
    unchanged: int
    rejections: Sequence[Rejection]
    """The first of the rejected rows; all are counted."""
    breaches: Breaches
    """Of the source's contract."""
    objects: Mapping[str, str]
    """Of a prefix: the objects that were read, with their versions."""
    rows_of: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Of each object: how its rows' positions begin."""
    broken: Collection[str] = ()
    """Those of these objects of which rows were rejected: nobody knows what they lost."""
    preview: Mapping[str, Any] | None = None


def on_duty(tx: Transaction, name: str) -> SourceOnDuty:
    """Raises NotFound: SOURCE_NOT_FOUND."""
    found = sources.sources_on_duty(tx.connection, [name])
    if name not in found:
        raise resources.source_not_found(name)
    return found[name]


def start_import(tx: Transaction, file: Arriving, created_by: str, reach: Reach) -> Import:
    """Leave a file for an import job.

    Raises:
        NotFound: SOURCE_NOT_FOUND.
        InvalidArgument: BAD_OBJECT_URI.
        PermissionDenied: OBJECT_OF_ANOTHER_PROJECT, OBJECT_NOT_ALLOWED.
    """
    source = on_duty(tx, file.source)
    reach.check(file.uri, source.name, source.spec.object_prefixes)
    project = project_of(source.name)
    name = IMPORT.format(project=project, import_id=new_id())
    imports.add_import(
        tx,
        name=name,
        project=project,
        source=source,
        uri=file.uri,
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        file_name=file.file_name,
        data_format=file.format,
        created_by=created_by,
        validate_only=file.validate_only,
    )
    if not file.validate_only:
        datasets.add_open_imports(tx, source.dataset_id, 1)
    payload = {"import": name, **({"objects": [list(one) for one in file.objects]} if file.objects else {})}
    tx.enqueue(IMPORT_JOB, resource=name, project=project, revision=source.revision, payload=payload)
    return get_import(tx, name)


def get_import(tx: Transaction, name: str) -> Import:
    """An import that exists."""
    found = imports.find(tx.connection, name)
    if found is None:
        raise resources.import_not_found(name)
    return found


def accept_import(tx: Transaction, name: str, read: ReadFile) -> None:
    """The file was read: its records are pending from now on, unless it was only looked at."""
    if read.preview is not None:
        _finish(tx, name, read)
        return
    source_id, dataset_id = imports.target_of(tx.connection, name)
    dataset = datasets.lock(tx, [dataset_id])[dataset_id]
    lost = _withdraw_lost(tx, name, read, source_id, dataset_id)
    if read.accepted + lost:
        through = arrivals.add_batch(tx, read.batch_id, dataset_id, read.accepted + lost)
        for index, (segment, reference, rows) in enumerate(read.segments):
            snapshots.add_segment(
                tx,
                segment,
                dataset_id,
                reference,
                rows,
                batch_id=read.batch_id,
                batch_index=index,
                batch_sequence=through,
            )
        arrivals.count_pending(tx, {source_id: read.accepted + lost})
    imports.add_rejections(tx, dataset_id, read.rejections, name)
    _finish(tx, name, read)
    contracts.count_rows(tx, source_id, read.accepted + read.rejected, read.breaches)
    known_objects.remember(tx, source_id, read.objects)
    arrivals.drop_staged(tx, read.abandoned_batch_ids)
    datasets.add_open_imports(tx, dataset_id, -1)
    datasets.add_pending(tx, dataset_id, accepted=read.accepted + lost, rejected=read.rejected)
    if read.accepted + lost:
        cut_if_full(tx, dataset, added=read.accepted + lost, through=through)
    if get_import(tx, name).created_by.startswith("event:"):
        removed = known_objects.removed(tx.connection, source_id, list(read.rows_of))
        withdraw_removed(tx, source_id, dataset_id, removed, f"{name}#")  # while they were being read
    RECORDS.labels("import", "accepted").inc(read.accepted)
    RECORDS.labels("import", "rejected").inc(read.rejected)
    log.get().info("import.done", name=name, accepted=read.accepted, rejected=read.rejected, lost=lost)


def _withdraw_lost(tx: Transaction, name: str, read: ReadFile, source_id: int, dataset_id: int) -> int:
    """Withdraw what these objects held before and hold no more; remember what they hold now."""
    found = get_import(tx, name)
    source = sources.source_at(tx.connection, found.source, found.source_revision)
    uris = [uri for uri in read.rows_of if uri not in read.broken]
    lost = 0
    if not source.spec.keep_lost_rows:
        lost = object_rows.withdraw_lost(
            tx, source_id, dataset_id, uris, batch_id=read.batch_id, first=read.accepted, position=f"{name}#"
        )
        object_rows.forget(tx, source_id, uris)
    object_rows.remember(tx, source_id, read.batch_id, read.rows_of)
    return lost


def withdraw_removed(
    tx: Transaction, source_id: int, dataset_id: int, uris: Sequence[str], position: str
) -> None:
    """Withdraw all that these objects held, in a batch of its own; the caller has locked the dataset."""
    if not uris:
        return
    batch_id = new_id()
    lost = object_rows.withdraw_lost(tx, source_id, dataset_id, uris, batch_id=batch_id, position=position)
    object_rows.forget(tx, source_id, uris)
    if lost:
        through = arrivals.add_batch(tx, batch_id, dataset_id, lost)
        arrivals.count_pending(tx, {source_id: lost})
        datasets.add_pending(tx, dataset_id, accepted=lost, rejected=0)
        cut_if_full(tx, datasets.lock(tx, [dataset_id])[dataset_id], added=lost, through=through)
    log.get().info("objects.removed", objects=len(uris), withdrawn=lost)


def _finish(tx: Transaction, name: str, read: ReadFile) -> None:
    imports.finish_import(
        tx,
        name,
        sha256=read.reference.sha256,
        size_bytes=read.reference.size_bytes,
        data_format=read.format,
        accepted=read.accepted,
        rejected=read.rejected,
        unchanged=read.unchanged,
        preview=read.preview,
    )


def import_failed(tx: Transaction, job: Job, reason: str, message: str) -> None:
    """The import stays, failed, and what its attempts left is deleted."""
    name = str(job.payload["import"])
    _, dataset_id = imports.target_of(tx.connection, name)
    if not get_import(tx, name).validate_only:
        datasets.add_open_imports(tx, dataset_id, -1)
    arrivals.drop_staged(tx, batch_ids(job))
    log.get().warning("import.failed", name=name, reason=reason, error=message)


def batch_ids(job: Job) -> list[str]:
    """The batches that the attempts of a job so far may have staged; the last is this attempt's."""
    return [f"{job.id}-{attempt}" for attempt in range(1, max(job.attempt, 1) + 1)]
