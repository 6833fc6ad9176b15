"""One function for each request, event or job result: validate, change state, write the outbox."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sartor_datasets.manifests import ObjectReference
from sartor_platform import orders, principal
from sartor_platform.errors import InvalidArgument, NotReady
from sartor_platform.jobs import Job, job_of
from sartor_platform.names import new_id, new_run_id
from sartor_platform.orders import Order
from sartor_platform.transaction import Transaction
from sqlalchemy import Connection

from sartor_curation import announcements, resources, store
from sartor_curation.policy import Policy
from sartor_curation.resources import (
    CURATE,
    CURATION,
    POLICY,
    BaseModel,
    Curation,
    DroppedRecord,
    Result,
    Snapshot,
)


def apply_policy(tx: Transaction, name: str, policy: Policy, *, generation: int, etag: str) -> Order:
    """Make or change a policy. It is followed from the next snapshot on."""
    resources.check_policy(name, policy)
    return orders.apply(tx, name, policy.to_spec(), generation, etag=etag)


def snapshot_created(tx: Transaction, snapshot: Snapshot, *, run: str) -> None:
    """Remember the snapshot, and start a curation under each policy for its dataset."""
    store.keep_snapshot(tx, snapshot)
    project = resources.project_of(snapshot.name)
    for order in orders.all_orders(tx.connection, f"projects/{project}/curationPolicies/"):
        if not order.paused and Policy.from_spec(order.spec).dataset == snapshot.dataset:
            _start(tx, order, snapshot.name, run=run, standing_order=order.name, created_by=order.name)


def base_model_ready(tx: Transaction, model: BaseModel) -> None:
    """Remember the base model: curations that wait for it may run."""
    store.keep_base_model(tx, model)


def suite_applied(tx: Transaction, name: str, objects: Sequence[ObjectReference]) -> None:
    """Remember where a suite's items are: curations of its project leave them out of training."""
    store.keep_suite(tx, name, objects)


def create_curation(tx: Transaction, parent: str, policy: str, snapshot: str) -> Curation:
    """Curate a snapshot now, because a client asks: no next stage follows.

    Args:
        snapshot: empty takes the newest of the policy's dataset.
    """
    if resources.project_of(policy) != resources.project_of(parent):
        raise InvalidArgument(f"{policy} is not in {parent}", reason="POLICY_OF_OTHER_PROJECT")
    order = orders.get(tx.connection, policy)
    dataset = Policy.from_spec(order.spec).dataset
    if snapshot:
        found = store.find_snapshot(tx.connection, snapshot)
    else:
        found = store.newest_snapshot(tx.connection, dataset)
    if found is None:
        raise resources.snapshot_not_found(snapshot, dataset)
    if found.dataset != dataset:
        raise InvalidArgument(
            f"{policy} is for {dataset}, but {found.name} is of {found.dataset}",
            reason="SNAPSHOT_OF_OTHER_DATASET",
            metadata={"policy": policy, "snapshot": found.name},
        )
    created = _start(
        tx, order, found.name, run=new_run_id(), standing_order="", created_by=principal.current()
    )
    assert created is not None  # only standing orders are unique
    return created


def get_curation(connection: Connection, name: str) -> Curation:
    """The curation of this name.

    Raises:
        NotFound: CURATION_NOT_FOUND.
    """
    found = store.find_curation(connection, name)
    if found is None:
        raise resources.curation_not_found(name)
    return found


def cancel_curation(tx: Transaction, name: str) -> None:
    """Stop a curation. One that ended cannot be stopped."""
    get_curation(tx.connection, name)
    job = job_of(tx.connection, name)
    assert job is not None  # made in one transaction with the curation
    resources.check_cancellable(name, job.state, job.finished)
    tx.cancel_job(name)


def accept_result(
    tx: Transaction,
    curation: Curation,
    dataset: str,
    result: Result,
    *,
    dropped: Iterator[DroppedRecord],
    splits: Iterator[tuple[str, str, str, str]],
) -> None:
    """The curation succeeded: keep what it shows, dropped and decided, and tell the world.

    Raises:
        NotReady: another curation of the dataset decided splits in between; it is done again with those.
    """
    if not store.remember_splits(tx, dataset, curation.name, splits):
        raise NotReady(
            0.5, "another curation of this dataset decided splits in between; once more with those"
        )
    store.add_dropped(tx, curation.name, dropped)
    store.finish_curation(tx, curation.name, result)
    store.forget_finished_shards(tx, curation.name)
    message = announcements.curation_succeeded(curation, result)
    tx.publish(message, subject=curation.name, run=curation.run, generation=curation.generation)
    tx.notify(curation.name)


def curation_failed(tx: Transaction, job: Job, reason: str, message: str) -> None:
    """The curation came to nothing; the job says why."""
    store.forget_finished_shards(tx, job.resource)
    event = announcements.curation_failed(job.resource, reason, message)
    tx.publish(event, subject=job.resource, run=job.run, generation=job.generation)


def _start(
    tx: Transaction, order: Order, snapshot: str, *, run: str, standing_order: str, created_by: str
) -> Curation | None:
    """The new curation with its job, or None where this revision has curated the snapshot already."""
    project = POLICY.parse(order.name)["project"]
    curation = Curation(
        name=CURATION.format(project=project, curation=new_id()),
        policy=order.name,
        policy_revision=order.revision,
        standing_order=standing_order,
        snapshot=snapshot,
        run=run,
        generation=order.generation,
        create_time=tx.now,
        created_by=created_by,
        result=None,
    )
    if not store.add_curation(tx, curation, f"projects/{project}"):
        return None
    tx.enqueue(
        CURATE,
        resource=curation.name,
        project=project,
        run=run,
        generation=order.generation,
        revision=order.revision,
        parent=snapshot,
    )
    return curation
