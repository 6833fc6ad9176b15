"""Proto ↔ domain for the gRPC service."""

from __future__ import annotations

from collections.abc import Mapping as AbstractMapping
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from sartor.common.v1 import object_reference_pb2
from sartor.ingestion.v1 import dataset_pb2, project_pb2, source_pb2
from sartor_platform.jobs import Job, job_status
from sartor_platform.orders import Order, order_revision

from sartor_ingestion import contract_messages, preview_messages
from sartor_ingestion.adapters import DATA_EVENTS
from sartor_ingestion.mapping import Mapping
from sartor_ingestion.resources import (
    DEFAULT_TOPIC,
    Dataset,
    Import,
    RejectedRecord,
    Snapshot,
    SnapshotRule,
    SourceSpec,
    SourceState,
)

_KIND = "RECORD_KIND_"
_FORMAT = "DATA_FORMAT_"
_ADAPTER = "ADAPTER_"
_NAMES = (
    "messages", "prompt", "completion", "system", "text", "label", "key", "subject", "op", "chosen",
    "rejected",
)  # fmt: skip


def data_format(value: int) -> str:
    """The format's name as the domain has it; "" for unspecified."""
    return _enum_name(source_pb2.DataFormat, value, _FORMAT)


def source_spec(source: source_pb2.Source) -> SourceSpec:
    """The specification in a Source; what is left empty takes its default."""
    mapping = source.mapping
    named = {name: getattr(mapping, name) for name in _NAMES if getattr(mapping, name)}
    rule = source.snapshot_rule
    return SourceSpec(
        dataset=source.dataset,
        topic=source.topic or DEFAULT_TOPIC,
        format=data_format(source.format),
        mapping=Mapping(
            kind=_enum_name(source_pb2.RecordKind, mapping.kind, _KIND) or "auto",
            attributes=tuple(mapping.attributes),
            max_document_characters=mapping.max_document_characters,
            **named,
        ),
        quota_records=source.quota_records,
        snapshot_rule=SnapshotRule(
            at_records=rule.at_records, quiet_seconds=rule.quiet_seconds, max_age_seconds=rule.max_age_seconds
        ),
        adapter=_enum_name(source_pb2.Adapter, source.adapter, _ADAPTER) or DATA_EVENTS,
        object_prefixes=tuple(source.object_prefixes),
        tables=tuple(source.tables),
        contract=contract_messages.contract(source.contract),
        keep_lost_rows=source.keep_lost_rows,
    )


def project_message(order: Order) -> project_pb2.Project:
    """A Project of its standing order."""
    return project_pb2.Project(
        name=order.name,
        display_name=order.spec["display_name"],
        project_file=order.spec["project_file"],
        order=order_revision(order),
    )


def source_message(
    name: str, spec: SourceSpec, order: Order | None = None, state: SourceState | None = None
) -> source_pb2.Source:
    """A Source; without an order it was only validated."""
    state = state or SourceState()
    mapping = {field: getattr(spec.mapping, field) for field in _NAMES}
    rule = spec.snapshot_rule
    message = source_pb2.Source(
        name=name,
        dataset=spec.dataset,
        topic=spec.topic,
        format=_enum_value(source_pb2.DataFormat, spec.format, _FORMAT),
        mapping=source_pb2.Mapping(
            kind=_enum_value(source_pb2.RecordKind, spec.mapping.kind, _KIND),
            attributes=spec.mapping.attributes,
            max_document_characters=spec.mapping.max_document_characters,
            **mapping,
        ),
        quota_records=spec.quota_records,
        snapshot_rule=source_pb2.SnapshotRule(
            at_records=rule.at_records, quiet_seconds=rule.quiet_seconds, max_age_seconds=rule.max_age_seconds
        ),
        adapter=_enum_value(source_pb2.Adapter, spec.adapter, _ADAPTER),
        object_prefixes=spec.object_prefixes,
        tables=spec.tables,
        contract=contract_messages.contract_message(spec.contract),
        keep_lost_rows=spec.keep_lost_rows,
        live_count=state.live_count,
        pending_count=state.pending_count,
        breach_count=state.breach_count,
        breaches=contract_messages.breach_messages(state.breaches),
        stopped=state.stopped,
    )
    if order is not None:
        message.order.CopyFrom(order_revision(order))
    return message


def source_of_order(order: Order, state: SourceState | None = None) -> source_pb2.Source:
    """The Source of a standing order."""
    return source_message(order.name, SourceSpec.from_json(order.spec), order, state)


def dataset_message(dataset: Dataset, stopped_by: Sequence[str] = ()) -> dataset_pb2.Dataset:
    """A Dataset."""
    create_time = _timestamp(dataset.create_time)
    return dataset_pb2.Dataset(**_plain(dataset), create_time=create_time, stopped_by=stopped_by)


def snapshot_message(snapshot: Snapshot) -> dataset_pb2.Snapshot:
    """A Snapshot."""
    manifest = object_reference_pb2.ObjectReference(
        uri=snapshot.manifest.uri, sha256=snapshot.manifest.sha256, size_bytes=snapshot.manifest.size_bytes
    )
    plain = _plain(snapshot)
    del plain["manifest"]
    return dataset_pb2.Snapshot(**plain, manifest=manifest, create_time=_timestamp(snapshot.create_time))


def import_message(found: Import, job: Job | None) -> dataset_pb2.Import:
    """An Import with the state of its job."""
    return dataset_pb2.Import(
        name=found.name,
        source=found.source,
        object=object_reference_pb2.ObjectReference(
            uri=found.uri, sha256=found.sha256, size_bytes=found.size_bytes
        ),
        file_name=found.file_name,
        format=_enum_value(source_pb2.DataFormat, found.format, _FORMAT),
        job=job_status(job),
        accepted_count=found.accepted_count,
        rejected_count=found.rejected_count,
        unchanged_count=found.unchanged_count,
        create_time=_timestamp(found.create_time),
        created_by=found.created_by,
        validate_only=found.validate_only,
        preview=preview_messages.preview_message(found.preview),
    )


def rejected_message(rejected: RejectedRecord) -> dataset_pb2.RejectedRecord:
    """A RejectedRecord."""
    return dataset_pb2.RejectedRecord(**_plain(rejected), create_time=_timestamp(rejected.create_time))


def _plain(value: Any) -> dict[str, Any]:
    """The fields of a dataclass but its time."""
    return {name: getattr(value, name) for name in value.__slots__ if name != "create_time"}


def _timestamp(time: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp


def _enum_name(enum: Any, value: int, prefix: str) -> str:
    """CHAT of RECORD_KIND_CHAT as "chat"; "" for unspecified; a number that we do not know as itself."""
    names: AbstractMapping[int, str] = {number: name for name, number in enum.items()}
    name = names.get(value, f"{prefix}{value}").removeprefix(prefix).lower()
    return "" if name == "unspecified" else name


def _enum_value(enum: Any, name: str, prefix: str) -> Any:
    return enum.Value(prefix + (name or "unspecified").upper())
