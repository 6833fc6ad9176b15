"""The visible table of events and the use case of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sartor.common.v1 import object_reference_pb2
from sartor.evaluation.v1 import evaluation_events_pb2
from sartor.ingestion.v1 import ingestion_events_pb2
from sartor.training.v1 import training_events_pb2
from sartor_datasets.manifests import ObjectReference
from sartor_datasets.strict_json import ManifestInvalid
from sartor_platform.errors import InvalidArgument
from sartor_platform.events import Event
from sartor_platform.inbox import BatchHandler, Handler
from sartor_platform.runtime import Runtime
from sartor_platform.transaction import Transaction

from sartor_curation import usecases
from sartor_curation.resources import BASE_MODEL, DATASET, SNAPSHOT, SUITE, BaseModel, Snapshot


def topics(_runtime: Runtime) -> Sequence[str]:
    """Where the events of this table come from."""
    return ["sartor.ingestion.v1", "sartor.training.v1", "sartor.evaluation.v1"]


def handlers(_runtime: Runtime) -> Mapping[str, Handler | BatchHandler]:
    """Event type → use case."""
    return {
        ingestion_events_pb2.SnapshotCreated.DESCRIPTOR.full_name: snapshot_created,
        training_events_pb2.BaseModelReady.DESCRIPTOR.full_name: base_model_ready,
        evaluation_events_pb2.SuiteApplied.DESCRIPTOR.full_name: suite_applied,
    }


def snapshot_created(tx: Transaction, event: Event) -> None:
    """SnapshotCreated: there is new data to curate."""
    message: ingestion_events_pb2.SnapshotCreated = event.message
    SNAPSHOT.parse(message.snapshot, field="snapshot")
    DATASET.parse(message.dataset, field="dataset")
    snapshot = Snapshot(
        name=message.snapshot,
        dataset=message.dataset,
        sequence=message.sequence,
        manifest=_reference(message.manifest),
        record_count=message.record_count,
    )
    usecases.snapshot_created(tx, snapshot, run=event.run)


def base_model_ready(tx: Transaction, event: Event) -> None:
    """BaseModelReady: its tokenizer may be used."""
    message: training_events_pb2.BaseModelReady = event.message
    BASE_MODEL.parse(message.base_model, field="base_model")
    model = BaseModel(name=message.base_model, digest=message.digest, manifest=_reference(message.manifest))
    usecases.base_model_ready(tx, model)


def suite_applied(tx: Transaction, event: Event) -> None:
    """SuiteApplied: what it asks is not trained on from now on."""
    message: evaluation_events_pb2.SuiteApplied = event.message
    SUITE.parse(message.suite, field="suite")
    usecases.suite_applied(tx, message.suite, [_reference(one) for one in message.objects])


def _reference(message: object_reference_pb2.ObjectReference) -> ObjectReference:
    try:
        return ObjectReference(message.uri, message.sha256, message.size_bytes)
    except ManifestInvalid as error:
        raise InvalidArgument(
            f"the event's manifest is no object reference: {error}", reason="BAD_OBJECT_REFERENCE"
        ) from error
