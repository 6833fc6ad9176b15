"""Contracts of sources, previews of imports, and the way back from a record."""

from __future__ import annotations

import gzip
import json

import pytest
from sartor.ingestion.v1 import dataset_pb2, source_pb2
from sartor.ingestion.v1 import ingestion_service_pb2 as messages
from sartor_platform.errors import FailedPrecondition, InvalidArgument
from sartor_platform.grpc_client import call_errors

from tests.integration.ingestion.conftest import Ingestion, eventually


def contract(action: int, share: float = 0.0) -> dict[str, object]:
    rules = [
        source_pb2.FieldRule(field="id", required=True, type=source_pb2.FIELD_TYPE_INTEGER, at_least=1),
        source_pb2.FieldRule(field="text", max_characters=20),
    ]
    made = source_pb2.Contract(fields=rules, labels=["good", "bad"], on_breach=action, max_breach_share=share)
    return {"contract": made}


ROWS = [
    {"id": 1, "text": "fine", "label": "good"},
    {"id": 0, "text": "too small", "label": "good"},
    {"id": 2, "text": "x" * 21, "label": "ugly"},
]


@pytest.mark.parametrize(
    ("action", "taken"), [(source_pb2.BREACH_ACTION_REJECT, 1), (source_pb2.BREACH_ACTION_REPORT, 3)]
)
def test_a_breach_is_counted_by_rule_and_shown(
    ingestion: Ingestion, unique_name: str, action: int, taken: int
) -> None:
    source = ingestion.apply(unique_name, standing=contract(action))
    ingestion.records(source, *ROWS)
    ingestion.upload(source, "\n".join(map(json.dumps, ROWS[1:])).encode(), "rows.jsonl")
    eventually(lambda: ingestion.source(source).breach_count == 4, "four breaches")
    found = ingestion.source(source)
    assert {each.rule: each.count for each in found.breaches} == {
        "id.at_least": 2, "text.max_characters": 2, "labels": 2,
    }  # fmt: skip
    assert not found.stopped
    assert {row.reason for row in ingestion.rejected(source)} <= {"CONTRACT_BREACH"}
    assert ingestion.dataset(unique_name).pending_count == (1 if taken == 1 else 5)


def test_a_contract_may_stop_snapshots_until_somebody_accepts(ingestion: Ingestion, unique_name: str) -> None:
    source = ingestion.apply(unique_name, standing=contract(source_pb2.BREACH_ACTION_STOP, 0.4), at_records=2)
    ingestion.records(source, ROWS[0], ROWS[1])
    eventually(lambda: ingestion.source(source).stopped, "the stop")
    ingestion.records(source, {"id": 3, "text": "c", "label": "bad"}, ROWS[2], ROWS[2])
    ingestion.pending(unique_name, 2)  # full, and yet not sealed
    assert ingestion.dataset(unique_name).stopped_by == [source]
    listed = messages.ListDatasetsRequest(parent=f"projects/{unique_name}")
    assert ingestion.client.ListDatasets(listed).datasets[0].stopped_by == [source]
    name = f"projects/{unique_name}/datasets/d"
    with pytest.raises(FailedPrecondition) as error, call_errors():
        ingestion.client.RequestSnapshot(messages.RequestSnapshotRequest(dataset=name))
    assert error.value.reason == "CONTRACT_BREACHED"
    assert not ingestion.snapshots(unique_name)
    ingestion.client.RequestSnapshot(messages.RequestSnapshotRequest(dataset=name, accept_breaches=True))
    assert ingestion.snapshot(unique_name, 1).record_count == 2
    assert not ingestion.source(source).stopped


def test_good_rows_lift_a_stop_by_themselves(ingestion: Ingestion, unique_name: str) -> None:
    source = ingestion.apply(unique_name, standing=contract(source_pb2.BREACH_ACTION_STOP, 0.4), at_records=2)
    ingestion.records(source, ROWS[0], ROWS[1])
    eventually(lambda: ingestion.source(source).stopped, "the stop")
    ingestion.records(source, {"id": 3, "text": "c", "label": "bad"})
    assert ingestion.snapshot(unique_name, 1).record_count == 2


def test_a_contract_that_makes_no_sense_is_refused(ingestion: Ingestion, unique_name: str) -> None:
    rule = source_pb2.FieldRule(field="", at_least=2, at_most=1)
    made = source_pb2.Contract(fields=[rule], max_breach_share=1.5)
    with pytest.raises(InvalidArgument) as error, call_errors():
        ingestion.apply(unique_name, standing={"contract": made})
    assert len(error.value.violations) == 3


def test_a_preview_shows_all_and_keeps_nothing(ingestion: Ingestion, unique_name: str) -> None:
    source = ingestion.apply(unique_name, standing={"mapping": source_pb2.Mapping()})
    rows = [{"question": f"Q{n}", "answer": "A", "ticket_id": n} for n in range(30)]
    data = gzip.compress("\n".join(map(json.dumps, rows)).encode())
    done = ingestion.upload(source, data, "rows.jsonl.gz", validate_only=True)
    assert (done.format, done.accepted_count, done.rejected_count) == (source_pb2.DATA_FORMAT_JSONL, 0, 30)
    seen = done.preview
    assert list(seen.details) == ["in a gzip", "encoding utf-8"]
    assert [(each.shape, each.count) for each in seen.shapes] == [("unknown", 30)]
    assert (seen.suggested_mapping.prompt, seen.suggested_mapping.key) == ("question", "ticket_id")
    assert [record.messages[0].content for record in seen.records] == [f"Q{n}" for n in range(5)]
    assert dict(seen.rejected_by_reason) == {"KIND_UNDECIDED": 30}
    assert len(seen.rejected) == 20
    dataset = ingestion.dataset(unique_name)
    assert (dataset.pending_count, dataset.rejected_count) == (0, 0)
    assert not ingestion.rejected(source)


def test_a_preview_of_rows_that_fit_shows_the_records_they_would_be(
    ingestion: Ingestion, unique_name: str
) -> None:
    source = ingestion.apply(unique_name)
    done = ingestion.upload(source, b'{"id": 1, "text": "t", "label": "l"}', "rows.jsonl", validate_only=True)
    (record,) = done.preview.records
    assert (record.kind, record.record_key, record.text, record.label) == ("labelled", "1", "t", "l")
    assert done.accepted_count == 1
    assert ingestion.dataset(unique_name).pending_count == 0


def test_a_record_is_traced_to_its_row_and_to_every_snapshot(ingestion: Ingestion, unique_name: str) -> None:
    source = ingestion.apply(unique_name)
    rows = [{"id": n, "text": f"t{n}", "customer": f"c{n}"} for n in range(3)]
    done = ingestion.upload(source, "\n".join(map(json.dumps, rows)).encode(), "tickets.jsonl")
    (waiting,) = ingestion.trace(unique_name, record_key="1")
    assert (waiting.state, waiting.row, waiting.file_name) == ("PENDING", "2", "tickets.jsonl")
    first = ingestion.seal(unique_name)
    ingestion.records(source, {"id": 1, "text": "corrected", "customer": "c1"})
    ingestion.pending(unique_name, 1)
    second = ingestion.seal(unique_name)
    new, old = ingestion.trace(unique_name, record_key="1")
    assert (new.state, list(new.snapshots)) == ("LIVE", [second.name])
    assert new.position.startswith("sartor.data/")
    assert (old.state, list(old.snapshots)) == ("GONE", [first.name])
    assert (getattr(old, "import"), old.object.uri, old.row) == (done.name, done.object.uri, "2")
    _holds(ingestion, old)
    _holds(ingestion, new)
    assert [t.record_id for t in ingestion.trace(unique_name, record_id=old.record_id[:10])] == [
        old.record_id
    ]
    of_person = ingestion.trace(unique_name, subject="c1")
    assert [trace.record_id for trace in of_person] == [new.record_id, old.record_id]
    assert {trace.subject_key for trace in of_person} != {"c1"}
    assert not ingestion.trace(unique_name, subject="c9")


def test_a_trace_needs_exactly_one_thing_to_look_for(ingestion: Ingestion, unique_name: str) -> None:
    ingestion.apply(unique_name)
    for wanted in ({}, {"record_key": "a", "subject": "b"}, {"record_id": "xyz"}):
        with pytest.raises(InvalidArgument) as error, call_errors():
            ingestion.trace(unique_name, **wanted)
        assert error.value.reason == "BAD_TRACE"


def _holds(ingestion: Ingestion, trace: dataset_pb2.RecordTrace) -> None:
    """The row that a trace names is the record's."""
    from sartor_datasets import parquet
    from sartor_datasets.arrow import batch_to_records
    from sartor_datasets.manifests import ObjectReference

    found = trace.segment_object
    path = ingestion.fetch(ObjectReference(found.uri, found.sha256, found.size_bytes))
    records = [record for batch in parquet.read_records(path) for record in batch_to_records(batch)]
    assert records[trace.segment_row].record_id == trace.record_id
