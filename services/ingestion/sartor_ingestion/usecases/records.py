"""Inline records of data events: mapped, counted and kept until they are sealed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from prometheus_client import Counter as Metric
from sartor_datasets.records import Record
from sartor_platform.names import new_id
from sartor_platform.transaction import Transaction

from sartor_ingestion import resources
from sartor_ingestion.contract import Breaches
from sartor_ingestion.mapping import Mapper
from sartor_ingestion.rejection import Reason, Rejected, Rejection, excerpt
from sartor_ingestion.store import arrivals, contracts, datasets, imports, sources
from sartor_ingestion.store.arrivals import Arrival
from sartor_ingestion.store.sources import SourceOnDuty
from sartor_ingestion.usecases.snapshots import cut_if_full

RECORDS = Metric("sartor_ingestion_records", "Rows that came in.", ["way", "outcome"])


@dataclass(frozen=True, slots=True)
class Delivery:
    """The rows of one event. `position` is the event's, each row's is `position#index`."""

    source: str
    rows: Sequence[Any]
    position: str
    time: datetime
    rejections: Sequence[Rejected] = ()
    """Parts of the event that are no rows; they are counted after the rows."""


@dataclass(slots=True)
class _Taken:
    """What one dataset gets of a batch."""

    accepted: list[Arrival] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    contracts: dict[int, tuple[int, Breaches]] = field(default_factory=dict)
    """Of each source with a contract: the rows that came, and the breaches."""


def take_records(tx: Transaction, deliveries: Sequence[Delivery]) -> None:
    """Accept or reject every row of these events.

    Raises:
        NotFound: SOURCE_NOT_FOUND, for the first event whose source does not exist.
    """
    on_duty = sources.sources_on_duty(tx.connection, {delivery.source for delivery in deliveries})
    for delivery in deliveries:
        if delivery.source not in on_duty:
            raise resources.source_not_found(delivery.source)
    take_deliveries(tx, deliveries, on_duty)


def take_deliveries(
    tx: Transaction, deliveries: Sequence[Delivery], on_duty: Mapping[str, SourceOnDuty]
) -> None:
    """As `take_records`, with the sources at hand."""
    taken: dict[int, _Taken] = defaultdict(_Taken)
    for delivery in deliveries:
        source = on_duty[delivery.source]
        _map(source, delivery, taken[source.dataset_id])
    locked = datasets.lock(tx, taken)
    for dataset_id, dataset in locked.items():
        _keep(tx, dataset, taken[dataset_id], on_duty)


def _map(source: SourceOnDuty, delivery: Delivery, taken: _Taken) -> None:
    contract = source.spec.contract
    rows, breaches = taken.contracts.get(source.id, (0, Breaches()))
    if contract.is_set:
        taken.contracts[source.id] = rows + len(delivery.rows), breaches
    mapper = Mapper(source.name, source.spec.mapping, source.subject_secret, contract, breaches)
    for index, row in enumerate(delivery.rows):
        position = f"{delivery.position}#{index}"
        try:
            taken.accepted.append(Arrival(source.id, mapper.record(row, position, delivery.time)))
        except Rejected as error:
            taken.rejected.append(_rejection(source.name, position, error, row))
    for index, fault in enumerate(delivery.rejections, start=len(delivery.rows)):
        taken.rejected.append(_rejection(source.name, f"{delivery.position}#{index}", fault, ""))


def _keep(
    tx: Transaction, dataset: datasets.LockedDataset, taken: _Taken, on_duty: Mapping[str, SourceOnDuty]
) -> None:
    accepted = _within_quotas(tx, dataset.id, taken, on_duty)
    if accepted:
        batch_id = new_id()
        through = arrivals.add_batch(tx, batch_id, dataset.id, len(accepted))
        arrivals.add_arrivals(tx, batch_id, accepted)
        arrivals.count_pending(tx, Counter(arrival.source_id for arrival in accepted))
    for source_id, (rows, breaches) in sorted(taken.contracts.items()):
        contracts.count_rows(tx, source_id, rows, breaches)
    imports.add_rejections(tx, dataset.id, taken.rejected)
    datasets.add_pending(tx, dataset.id, accepted=len(accepted), rejected=len(taken.rejected))
    if accepted:
        cut_if_full(tx, dataset, added=len(accepted), through=through)
    RECORDS.labels("event", "accepted").inc(len(accepted))
    RECORDS.labels("event", "rejected").inc(len(taken.rejected))


def _within_quotas(
    tx: Transaction, dataset_id: int, taken: _Taken, on_duty: Mapping[str, SourceOnDuty]
) -> list[Arrival]:
    """The arrivals that fit into their sources' quotas; the others are rejected."""
    rooms = {
        source.id: sources.rooms_left(tx.connection, source.id, source.spec.quota_records)
        for source in on_duty.values()
        if source.spec.quota_records and source.dataset_id == dataset_id
    }
    counts = Counter(arrival.source_id for arrival in taken.accepted)
    if all(counts[source_id] <= room for source_id, room in rooms.items()):
        return taken.accepted
    known = sources.known_keys(
        tx.connection, dataset_id, [arrivals.key_hash(r.record_key) for r in _records(taken)]
    )
    accepted: list[Arrival] = []
    for arrival in taken.accepted:
        record = arrival.record
        adds = record.op == "upsert" and arrivals.key_hash(record.record_key) not in known
        if adds and arrival.source_id in rooms:
            if not rooms[arrival.source_id]:
                taken.rejected.append(_over_quota(record, on_duty[record.source].spec.quota_records))
                continue
            rooms[arrival.source_id] -= 1
        accepted.append(arrival)
    return accepted


def _records(taken: _Taken) -> Iterator[Record]:
    return (arrival.record for arrival in taken.accepted)


def _over_quota(record: Record, quota: int) -> Rejection:
    message = f"the source holds its {quota} records; raise its quota or withdraw records, then send it again"
    shown = record.text or " ".join(message.content for message in record.messages)
    return Rejection(record.source, record.position, Reason.QUOTA_EXCEEDED, message, excerpt(shown))


def _rejection(source: str, position: str, error: Rejected, row: Any) -> Rejection:
    return Rejection(source, position, error.reason, error.message, excerpt(row))
