"""The visible table: event type → use case. Data events come from other systems, on the sources' topics."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from google.protobuf.json_format import MessageToDict
from sartor.ingestion.v1 import ingestion_events_pb2 as messages
from sartor_datasets.manifests import ObjectReference
from sartor_datasets.strict_json import ManifestInvalid
from sartor_platform.consumer import BatchHandler, Handler
from sartor_platform.errors import FieldViolation, InvalidArgument
from sartor_platform.events import Event
from sartor_platform.runtime import Runtime
from sartor_platform.topics import Topic
from sartor_platform.transaction import Transaction

from sartor_ingestion import service_messages
from sartor_ingestion.adapters.messages import Message
from sartor_ingestion.reach import Reach
from sartor_ingestion.resources import DATASET, DEFAULT_TOPIC, SOURCE
from sartor_ingestion.store import sources
from sartor_ingestion.usecases import foreign, imports, records, snapshots

FOREIGN = "sartor.ingestion.foreign"
"""What messages of other systems count as."""
_NO_DIGEST = "0" * 64


def handlers(runtime: Runtime) -> Mapping[str, Handler | BatchHandler]:
    """Event type → use case."""
    return {
        messages.RecordsPublished.DESCRIPTOR.full_name: BatchHandler(take_records),
        messages.ObjectPublished.DESCRIPTOR.full_name: partial(start_import, Reach.of(runtime.settings)),
        messages.SnapshotRequested.DESCRIPTOR.full_name: request_snapshot,
        FOREIGN: BatchHandler(partial(take_foreign, Reach.of(runtime.settings)), limit=200),
    }


def topics(runtime: Runtime) -> Sequence[Topic]:
    """The default topic and those of the sources. Strict: a type we do not know is the sender's mistake.

    On the topic of a source with an adapter, messages that are no CloudEvents are for the adapter.
    """
    with runtime.database.read() as connection:
        named = sources.topics(connection)
    return [
        Topic(name, strict=True, foreign=FOREIGN if named.get(name) else "")
        for name in sorted({DEFAULT_TOPIC, *named})
    ]


def take_records(tx: Transaction, events: Sequence[Event]) -> None:
    """RecordsPublished: small records inline."""
    records.take_records(tx, [_delivery(event) for event in events])


def take_foreign(reach: Reach, tx: Transaction, events: Sequence[Event]) -> None:
    """Messages of other systems, for the sources with an adapter on their topic."""
    foreign.take_messages(
        tx,
        [
            foreign.ForeignMessage(
                event.topic,
                Message(event.key or None, None if event.is_tombstone else event.data),
                event.position,
                event.time,
            )
            for event in events
        ],
        reach,
    )


def start_import(reach: Reach, tx: Transaction, event: Event) -> None:
    """ObjectPublished: a file that lies in an object store."""
    published: messages.ObjectPublished = event.message
    SOURCE.parse(published.source, field="source")
    found = published.object
    try:
        ObjectReference(found.uri, found.sha256 or _NO_DIGEST, found.size_bytes)
    except ManifestInvalid as error:
        violation = FieldViolation(f"object.{error.path}", error.problem)
        raise InvalidArgument(
            f"the object is not usable: {error}", reason="BAD_OBJECT_REFERENCE", violations=[violation]
        ) from error
    arriving = imports.Arriving(
        source=published.source,
        uri=found.uri,
        sha256=found.sha256,
        size_bytes=found.size_bytes,
        file_name=PurePosixPath(found.uri).name,
        format=service_messages.data_format(published.format),
    )
    imports.start_import(tx, arriving, _sender(event), reach)


def request_snapshot(tx: Transaction, event: Event) -> None:
    """SnapshotRequested: seal what is pending now."""
    dataset = event.message.dataset
    DATASET.parse(dataset, field="dataset")
    snapshots.request_snapshot(tx, dataset, _sender(event), run=event.run)


def _delivery(event: Event) -> records.Delivery:
    source = event.message.source
    SOURCE.parse(source, field="source")
    return records.Delivery(source, _rows(event), event.position, event.time)


def _rows(event: Event) -> Sequence[Any]:
    """The rows as they were sent: a Struct would turn whole numbers into floating point ones."""
    if "json" in event.headers["content-type"]:
        rows: list[Any] = json.loads(event.data).get("records", [])
        return rows
    return [MessageToDict(record) for record in event.message.records]


def _sender(event: Event) -> str:
    return f"event:{event.source}"[:200]
