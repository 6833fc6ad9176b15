"""Snapshots: cut by count, quiet time, age or request; then sealed by a job."""

from __future__ import annotations

from dataclasses import dataclass

from sartor_datasets.manifests import ObjectReference
from sartor_platform import log, orders
from sartor_platform.errors import FailedPrecondition
from sartor_platform.jobs import Job
from sartor_platform.names import new_run_id
from sartor_platform.transaction import Transaction

from sartor_ingestion import resources
from sartor_ingestion.announcements import snapshot_created, snapshot_unchanged
from sartor_ingestion.resources import project_of
from sartor_ingestion.store import arrivals, contracts, datasets, resolution, snapshots
from sartor_ingestion.store.datasets import LockedDataset
from sartor_ingestion.store.resolution import Changes

SEAL = "seal"
RETRY_AFTER_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class NewSegment:
    """The segment that a seal job wrote."""

    name: str
    reference: ObjectReference
    records: int


def cut_if_full(tx: Transaction, dataset: LockedDataset, *, added: int, through: int) -> None:
    """Cut a snapshot if `added` more records make it full. `through` is the last batch."""
    full = dataset.at_records and dataset.pending_count + added >= dataset.at_records
    if not full or dataset.sealing is not None or dataset.cut_not_before is not None:
        return
    if not contracts.stopped_by(tx.connection, dataset.id):
        _cut(tx, dataset, "at_records", through)


def cut_due(tx: Transaction) -> int:
    """Cut a snapshot of every dataset where it is due. Returns how many."""
    due = datasets.due(tx)
    locked = datasets.lock(tx, [dataset_id for dataset_id, _ in due])
    for dataset_id, cause in due:
        dataset = locked[dataset_id]
        _cut(tx, dataset, cause, dataset.batch_sequence)
    return len(due)


def request_snapshot(
    tx: Transaction, name: str, principal: str, *, accept_breaches: bool = False, run: str = ""
) -> None:
    """Seal what is pending now; nothing to do where all of it is being sealed already.

    Where nothing is pending an event says so, in the run that asked.

    Args:
        run: of the cause that asks, where it has one; a snapshot that must wait for another gets its own.
    Raises:
        NotFound: DATASET_NOT_FOUND.
        FailedPrecondition: DATASET_EMPTY, no record ever came in; CONTRACT_BREACHED.
    """
    dataset_id = datasets.id_of(tx.connection, name)
    if dataset_id is None:
        raise resources.dataset_not_found(name)
    dataset = datasets.lock(tx, [dataset_id])[dataset_id]
    if not dataset.batch_sequence:
        message = f"{name} has no records yet; send data to one of its sources first"
        raise FailedPrecondition(message, reason="DATASET_EMPTY", metadata={"dataset": name})
    stopping = contracts.stopped_by(tx.connection, dataset_id)
    if stopping and not accept_breaches:
        raise resources.contract_breached(name, stopping)
    sealing = snapshots.cut(tx.connection, dataset.sealing) if dataset.sealing is not None else None
    if sealing is not None and sealing.through == dataset.batch_sequence:
        return
    if not dataset.pending_count:
        order = orders.find(tx.connection, dataset.project)
        unchanged = snapshot_unchanged(name, dataset.latest_snapshot)
        tx.publish(unchanged, subject=name, run=run, generation=order.generation if order else 0)
        return
    datasets.request_cut(tx, dataset_id, principal)
    if sealing is None:
        _cut(tx, dataset, "request", dataset.batch_sequence, principal, run)


def _cut(
    tx: Transaction, dataset: LockedDataset, cause: str, through: int, principal: str = "", run: str = ""
) -> None:
    sequence = dataset.sequence + 1
    order = orders.find(tx.connection, dataset.project)
    generation = order.generation if order else 0
    run = run or new_run_id()
    name = f"{dataset.name}/snapshots/{sequence}"
    snapshot_id = snapshots.add_cut(
        tx,
        name=name,
        dataset_id=dataset.id,
        dataset=dataset.name,
        project=dataset.project,
        sequence=sequence,
        parent=dataset.latest_snapshot,
        through=through,
        cause=cause,
        run=run,
        generation=generation,
        created_by=principal or dataset.requested_by or f"rule:{cause}",
    )
    datasets.begin_sealing(tx, dataset.id, snapshot_id)
    contracts.start_over(tx, dataset.id)
    payload = {"snapshot_id": snapshot_id}
    project = project_of(dataset.name)
    tx.enqueue(
        SEAL, resource=name, project=project, run=run, generation=generation, payload=payload, priority=10
    )
    log.get().info("snapshot.cut", snapshot=name, cause=cause, run=run)


def accept_snapshot(
    tx: Transaction,
    snapshot_id: int,
    planned: Changes,
    manifest: ObjectReference,
    segment: NewSegment | None,
    record_count: int,
) -> None:
    """A seal job is done: its snapshot becomes the dataset's newest, unless nothing changed."""
    cut = snapshots.cut(tx.connection, snapshot_id)
    if cut is None:
        raise RuntimeError(f"snapshot {snapshot_id} was sealed or dropped while its job ran")
    changes = resolution.resolve(tx, cut.dataset_id, cut.through)
    if changes != planned:
        raise RuntimeError(f"{cut.name} was staged as {planned}, but is {changes} now")
    own = None
    if segment is not None:
        own = snapshots.add_segment(
            tx, segment.name, cut.dataset_id, segment.reference, segment.records, live=True
        )
    resolution.apply(tx, cut.dataset_id, cut.through, own, cut.sequence)
    arrivals.drop_sealed(tx, cut.dataset_id, cut.through)
    # Only from here on do new records of the dataset wait: what was done above touches none of their rows.
    dataset = datasets.lock(tx, [cut.dataset_id])[cut.dataset_id]
    resolution.count_by_source(tx)
    datasets.sealing_done(tx, cut.dataset_id, consumed=changes.consumed, unchanged=changes.unchanged)
    tx.notify(cut.dataset)
    if not changes.any:
        snapshots.drop_cut(tx, cut.id)
        unchanged = snapshot_unchanged(cut.dataset, dataset.latest_snapshot)
        tx.publish(unchanged, subject=cut.dataset, run=cut.run, generation=cut.generation)
        log.get().info("snapshot.unchanged", dataset=cut.dataset, duplicates=changes.unchanged)
        return
    rejected = dataset.rejected_count - dataset.rejected_in_snapshots
    snapshots.seal(tx, cut.id, manifest, changes, record_count=record_count, rejected_count=rejected)
    datasets.advance(tx, cut.dataset_id, snapshot=cut.name, sequence=cut.sequence, record_count=record_count)
    event = snapshot_created(
        snapshot=cut.name,
        dataset=cut.dataset,
        sequence=cut.sequence,
        manifest=manifest,
        record_count=record_count,
    )
    tx.publish(event, subject=cut.name, run=cut.run, generation=cut.generation)
    log.get().info(
        "snapshot.sealed", snapshot=cut.name, run=cut.run, records=record_count, added=changes.added
    )


def sealing_failed(tx: Transaction, job: Job, reason: str, message: str) -> None:
    """The cut is forgotten; its records stay pending and are due again after a while."""
    cut = snapshots.cut(tx.connection, int(job.payload["snapshot_id"]))
    if cut is not None:
        datasets.sealing_failed(tx, cut.dataset_id, RETRY_AFTER_SECONDS)
        snapshots.drop_cut(tx, cut.id)
        log.get().error("snapshot.not_sealed", snapshot=cut.name, reason=reason, error=message)
