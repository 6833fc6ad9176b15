"""Domain → proto of previews and of traces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sartor.common.v1 import object_reference_pb2
from sartor.ingestion.v1 import dataset_pb2, source_pb2
from sartor_datasets.manifests import ObjectReference

from sartor_ingestion.contract import BreachCount
from sartor_ingestion.contract_messages import breach_messages
from sartor_ingestion.resources import Import, RecordTrace


def preview_message(preview: Mapping[str, Any] | None) -> dataset_pb2.ImportPreview | None:
    """An ImportPreview, where the import only looked and has ended."""
    if preview is None:
        return None
    breaches = {rule: BreachCount(*count) for rule, count in preview["breaches"]["by_rule"].items()}
    return dataset_pb2.ImportPreview(
        file_count=preview["files"],
        details=preview["details"],
        shapes=[dataset_pb2.ShapeCount(shape=s, count=n) for s, n in preview["shapes"].items()],
        fields=preview["fields"],
        suggested_mapping=_mapping(preview["suggested_mapping"]),
        records=[_record(record) for record in preview["records"]],
        rejected_by_reason=preview["rejected_by_reason"],
        breaches=breach_messages(breaches),
        rejected=[
            dataset_pb2.RejectedRecord(**{**row, "reason": str(row["reason"])}) for row in preview["rejected"]
        ],
    )


def trace_message(trace: RecordTrace, imports: Mapping[str, Import]) -> dataset_pb2.RecordTrace:
    """A RecordTrace, with the import that its position names."""
    place, _, row = trace.position.partition("#")
    found = imports.get(place)
    return dataset_pb2.RecordTrace(
        record_id=trace.record_id,
        source=trace.source,
        position=trace.position,
        object=_reference(ObjectReference(found.uri, found.sha256, found.size_bytes)) if found else None,
        file_name=found.file_name if found else "",
        row=row,
        state=trace.state,
        segment=trace.segment,
        segment_object=_reference(trace.segment_object) if trace.segment_object else None,
        segment_row=trace.segment_row,
        dataset=trace.dataset,
        snapshots=trace.snapshots,
        subject_key=trace.subject_key,
        **{"import": found.name if found else ""},
    )


def _mapping(suggested: Mapping[str, Any]) -> source_pb2.Mapping | None:
    if not suggested:
        return None
    kind = f"RECORD_KIND_{suggested.get('kind', 'unspecified').upper()}"
    plain = {name: value for name, value in suggested.items() if name != "kind"}
    return source_pb2.Mapping(kind=source_pb2.RecordKind.Value(kind), **plain)


def _record(record: Mapping[str, Any]) -> dataset_pb2.PreviewRecord:
    turns = [dataset_pb2.PreviewMessage(**turn) for turn in record["messages"]]
    return dataset_pb2.PreviewRecord(**{**record, "messages": turns})


def _reference(found: ObjectReference) -> object_reference_pb2.ObjectReference:
    return object_reference_pb2.ObjectReference(
        uri=found.uri, sha256=found.sha256, size_bytes=found.size_bytes
    )
