"""Data events become records, records become snapshots: over the real broker, database and object store."""

from __future__ import annotations

import json

import pytest
from kafka import KafkaConsumer
from sartor.common.v1 import job_status_pb2
from sartor_datasets.records import Record

from tests.integration.ingestion.conftest import Ingestion, eventually

NOBODY = "projects/nobody/sources/s"


def texts(records: list[Record]) -> dict[str, str]:
    return {record.record_key: record.text for record in records}


@pytest.mark.parametrize("structured", [False, True], ids=["binary", "structured"])
def test_inline_records_reach_a_snapshot(ingestion: Ingestion, unique_name: str, structured: bool) -> None:
    source = ingestion.apply(unique_name)
    rows = [
        {"id": 12345678901234567, "text": "Grüße", "label": "x", "customer": "Eva", "language": "de"},
        {"id": "b", "prompt": "q", "completion": "a"},
    ]
    ingestion.records(source, *rows, structured=structured)
    ingestion.pending(unique_name, 2)
    snapshot = ingestion.seal(unique_name)
    one, two = sorted(ingestion.read(snapshot), key=lambda record: record.record_key)
    assert (one.record_key, one.kind, one.text, one.label) == ("12345678901234567", "labelled", "Grüße", "x")
    assert one.attributes == {"language": "de"}
    assert len(one.subject_key) == 32
    assert one.source == source
    topic, _, rest = one.position.partition("/")
    assert topic == "sartor.data"
    assert rest.endswith("#0")
    assert [message.content for message in two.messages] == ["q", "a"]
    assert (snapshot.sequence, snapshot.record_count, snapshot.added_count) == (1, 2, 2)
    assert snapshot.cause == "request"
    assert len(snapshot.run) == 26
    assert snapshot.created_by == "local"


def test_a_correction_supersedes_and_a_withdrawal_removes(ingestion: Ingestion, unique_name: str) -> None:
    source = ingestion.apply(unique_name)
    ingestion.records(source, *({"id": i, "text": f"text {i}"} for i in range(5)))
    ingestion.pending(unique_name, 5)
    first = ingestion.seal(unique_name)
    changes = [{"id": 1, "text": "corrected"}, {"id": 2, "op": "withdraw"}, {"id": 9, "text": "new"}]
    ingestion.records(source, *changes)
    ingestion.pending(unique_name, 3)
    second = ingestion.seal(unique_name)
    assert texts(ingestion.read(second)) == {
        "0": "text 0", "1": "corrected", "3": "text 3", "4": "text 4", "9": "new",
    }  # fmt: skip
    assert len(ingestion.read(first)) == 5
    assert second.parent == first.name
    assert second.run != first.run
    counts = (second.record_count, second.added_count, second.superseded_count, second.withdrawn_count)
    assert counts == (5, 1, 1, 1)


def test_what_changes_again_before_the_seal_is_sealed_once(ingestion: Ingestion, unique_name: str) -> None:
    source = ingestion.apply(unique_name)
    rows = [{"id": "a", "text": f"version {i}"} for i in range(4)]
    ingestion.records(source, *rows, {"id": "b", "text": "b"}, {"id": "b", "op": "delete"})
    ingestion.pending(unique_name, 6)
    snapshot = ingestion.seal(unique_name)
    assert texts(ingestion.read(snapshot)) == {"a": "version 3"}
    assert ingestion.dataset(unique_name).pending_count == 0


def test_a_redelivered_event_does_nothing(ingestion: Ingestion, unique_name: str) -> None:
    source = ingestion.apply(unique_name)
    event_id = ingestion.records(source, {"id": 1, "text": "t"})
    ingestion.records(source, {"id": 1, "text": "t"}, event_id=event_id)
    ingestion.records(source, {"id": 2, "text": "t"})
    ingestion.pending(unique_name, 2)
    assert ingestion.seal(unique_name).record_count == 2


def test_the_same_records_in_a_new_event_make_no_snapshot(ingestion: Ingestion, unique_name: str) -> None:
    source = ingestion.apply(unique_name, quiet_seconds=0.5)
    rows = [{"id": i, "text": f"text {i}"} for i in range(3)]
    ingestion.records(source, *rows)
    ingestion.snapshot(unique_name, 1)
    ingestion.records(source, *rows)
    unchanged(ingestion, f"projects/{unique_name}/datasets/d")
    assert ingestion.dataset(unique_name).pending_count == 0
    assert len(ingestion.snapshots(unique_name)) == 1
    ingestion.records(source, *rows, {"id": 7, "text": "new"})
    assert len(ingestion.read(ingestion.snapshot(unique_name, 2))) == 4


def test_quiet_time_and_count_and_age_each_cut(ingestion: Ingestion, unique_name: str) -> None:
    quiet, full, old = (f"{unique_name}{letter}" for letter in "qfo")
    rules = {quiet: {"quiet_seconds": 0.6}, full: {"at_records": 3}, old: {"max_age_seconds": 0.6}}
    for project, rule in rules.items():
        source = ingestion.apply(project, **rule)
        ingestion.records(source, {"id": 1, "text": "a"}, {"id": 2, "text": "b"})
    assert ingestion.snapshot(quiet, 1).cause == "quiet"
    assert ingestion.snapshot(old, 1).cause == "max_age"
    assert ingestion.dataset(full).pending_count == 2
    ingestion.records(f"projects/{full}/sources/s", {"id": 3, "text": "c"})
    assert ingestion.snapshot(full, 1).cause == "at_records"


def test_a_snapshot_can_be_asked_for_by_event(ingestion: Ingestion, unique_name: str) -> None:
    source = ingestion.apply(unique_name)
    ingestion.records(source, {"id": 1, "text": "a"})
    ingestion.pending(unique_name, 1)
    ingestion.publish("SnapshotRequested", {"dataset": f"projects/{unique_name}/datasets/d"})
    assert ingestion.snapshot(unique_name, 1).created_by == "event:/test"


def test_who_asks_for_a_snapshot_is_told_that_nothing_is_new(ingestion: Ingestion, unique_name: str) -> None:
    """With the newest one: where nothing is pending, and where all that is pending was there already."""
    source = ingestion.apply(unique_name)
    dataset = f"projects/{unique_name}/datasets/d"
    ingestion.records(source, {"id": 1, "text": "a"})
    ingestion.pending(unique_name, 1)
    newest = ingestion.seal(unique_name)
    attributes = {"specversion": "1.0", "source": "/test", "type": "sartor.ingestion.v1.SnapshotRequested"}
    for run, repeated in (("run-without", False), ("run-with-the-same", True)):
        if repeated:
            ingestion.records(source, {"id": 1, "text": "a"})
            ingestion.pending(unique_name, 1)
        headers = {**attributes, "id": f"{unique_name}-{run}", "sartorrun": run}
        sent = [(f"ce_{name}", value.encode()) for name, value in headers.items()]
        sent.append(("content-type", b"application/json"))
        body = json.dumps({"dataset": dataset}).encode()
        ingestion.producer.send("sartor.data", body, key=b"k", headers=sent).get(20)
        assert unchanged(ingestion, dataset, run) == {"dataset": dataset, "snapshot": newest.name}
    assert len(ingestion.snapshots(unique_name)) == 1


def unchanged(ingestion: Ingestion, dataset: str, run: str = "") -> dict[str, str]:
    """The SnapshotUnchanged of a dataset, and of this run if one is named."""
    consumer = KafkaConsumer(
        "sartor.ingestion.v1",
        bootstrap_servers=ingestion.servers.kafka_bootstrap_servers,
        auto_offset_reset="earliest",
        group_id=None,
    )

    def look() -> dict[str, str] | None:
        for batch in consumer.poll(500).values():
            for message in batch:
                headers = {key: value.decode(errors="replace") for key, value in message.headers}
                ours = headers.get("ce_subject") == dataset and run in ("", headers.get("ce_sartorrun"))
                if ours and headers["ce_type"] == "sartor.ingestion.v1.SnapshotUnchanged":
                    found: dict[str, str] = json.loads(message.value)
                    return found
        return None

    try:
        return eventually(look, f"it is told that nothing is new in {dataset}")
    finally:
        consumer.close()


def test_a_source_may_have_a_topic_of_its_own(ingestion: Ingestion, unique_name: str) -> None:
    topic = f"their.{unique_name}"
    source = ingestion.apply(unique_name, topic=topic)
    eventually(lambda: ingestion.producer.partitions_for(topic), f"topic {topic}")
    ingestion.records(source, {"id": 1, "text": "a"}, topic=topic)
    ingestion.pending(unique_name, 1)


def test_rows_that_do_not_fit_are_kept_with_their_reason(ingestion: Ingestion, unique_name: str) -> None:
    source = ingestion.apply(unique_name)
    bad = [{"id": 2, "question": "no mapped field"}, {"text": "no key"}]
    ingestion.records(source, {"id": 1, "text": "good"}, *bad)
    ingestion.pending(unique_name, 1)
    last, first = ingestion.rejected(source)
    assert (first.reason, last.reason) == ("KIND_UNDECIDED", "FIELD_MISSING")
    assert first.position.startswith("sartor.data/")
    assert first.position.endswith("#1")
    assert "'question'" in first.message
    assert "no mapped field" in first.excerpt
    assert len(ingestion.rejected(f"projects/{unique_name}/datasets/d")) == 2
    assert ingestion.dataset(unique_name).rejected_count == 2
    assert ingestion.seal(unique_name).rejected_count == 2


def test_a_quota_lets_corrections_in_and_rejects_what_is_more(ingestion: Ingestion, unique_name: str) -> None:
    source = ingestion.apply(unique_name, quota=3)
    ingestion.records(source, *({"id": i, "text": "old"} for i in range(3)))
    ingestion.pending(unique_name, 3)
    ingestion.seal(unique_name)
    ingestion.records(source, {"id": 1, "text": "corrected"}, {"id": 8, "text": "too many"})
    ingestion.pending(unique_name, 1)
    (rejected,) = ingestion.rejected(source)
    assert (rejected.reason, rejected.excerpt) == ("QUOTA_EXCEEDED", "too many")
    assert texts(ingestion.read(ingestion.seal(unique_name)))["1"] == "corrected"


@pytest.mark.parametrize(
    ("type_", "data", "reason"),
    [
        ("RecordsPublished", {"source": NOBODY, "records": [{"text": "t"}]}, "SOURCE_NOT_FOUND"),
        ("RecordsPublished", {"source": "what?", "records": []}, "BAD_RESOURCE_NAME"),
        ("RecordsPublished", "{no json", "BAD_EVENT_DATA"),
        ("RecordsPublished", {"source": "projects/p/sources/s", "records": ["no object"]}, "BAD_EVENT_DATA"),
        ("SnapshotRequested", {"dataset": "projects/nobody/datasets/d"}, "DATASET_NOT_FOUND"),
        ("ObjectPublished", {"source": NOBODY, "object": {"uri": "s3://b/k"}}, "SOURCE_NOT_FOUND"),
        ("ObjectPublished", {"source": NOBODY, "object": {"uri": "k"}}, "BAD_OBJECT_REFERENCE"),
        ("SomethingElse", {}, "UNKNOWN_EVENT_TYPE"),
    ],
)
def test_an_event_that_can_never_work_goes_to_the_dead_letters_and_stops_nobody(
    ingestion: Ingestion, unique_name: str, type_: str, data: object, reason: str
) -> None:
    source = ingestion.apply(unique_name)
    ingestion.records(source, {"id": 1, "text": "before"})
    event_id = ingestion.publish(type_, data)
    ingestion.records(source, {"id": 2, "text": "after"})
    headers = ingestion.dead_letter(event_id)
    assert reason in headers.values(), headers
    assert "Traceback" not in json.dumps(headers)
    ingestion.pending(unique_name, 2)


def test_a_published_object_is_read_under_the_sources_mapping(ingestion: Ingestion, unique_name: str) -> None:
    source = ingestion.apply(unique_name, quiet_seconds=0.5)
    data = (
        b'{"id": 1, "text": "one"}\n{"id": 2, \n{"id": 3, "question": "?"}\n{"id": 1, "text": "corrected"}\n'
    )
    reference = ingestion.put(f"{unique_name}/inbox/rows.jsonl", data)
    ingestion.publish("ObjectPublished", {"source": source, "object": reference})
    snapshot = ingestion.snapshot(unique_name, 1)
    assert texts(ingestion.read(snapshot)) == {"1": "corrected"}
    (found,) = ingestion.imports(unique_name)
    assert found.job.state == job_status_pb2.JOB_STATE_SUCCEEDED
    assert (found.accepted_count, found.rejected_count) == (2, 2)
    reasons = {rejected.position: rejected.reason for rejected in ingestion.rejected(found.name)}
    assert reasons == {f"{found.name}#2": "MALFORMED_JSON", f"{found.name}#3": "KIND_UNDECIDED"}


def test_an_object_without_a_digest_is_read_and_gets_one(ingestion: Ingestion, unique_name: str) -> None:
    source = ingestion.apply(unique_name)
    reference = ingestion.put(f"{unique_name}/rows.csv", b"id,text\n1,a\n2,b\n")
    ingestion.publish("ObjectPublished", {"source": source, "object": {"uri": reference["uri"]}})
    ingestion.pending(unique_name, 2)
    (found,) = ingestion.imports(unique_name)
    assert (found.object.sha256, found.object.size_bytes) == (reference["sha256"], reference["sizeBytes"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"uri": "gone.jsonl"}, "OBJECT_NOT_FOUND"), ({"sha256": "0" * 64}, "DIGEST_MISMATCH")],
    ids=["gone", "other-digest"],
)
def test_an_object_that_is_not_there_or_another_fails_its_import(
    ingestion: Ingestion, unique_name: str, change: dict[str, str], reason: str
) -> None:
    source = ingestion.apply(unique_name)
    reference = ingestion.put(f"{unique_name}/rows.jsonl", b'{"id": 1, "text": "a"}')
    if "uri" in change:
        change = {"uri": reference["uri"].replace("rows.jsonl", change["uri"])}
    ingestion.publish("ObjectPublished", {"source": source, "object": {**reference, **change}})

    def failed() -> object:
        found = ingestion.imports(unique_name)
        return [item for item in found if item.job.state == job_status_pb2.JOB_STATE_FAILED]

    eventually(failed, "the failed import")
    (found,) = ingestion.imports(unique_name)
    assert found.job.error.reason == reason
    assert found.object.uri in found.job.error.message
    assert ingestion.dataset(unique_name).pending_count == 0


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("s3://{bucket}/other/rows.jsonl", "OBJECT_OF_ANOTHER_PROJECT"),
        ("s3://{bucket}/{project}/../other/rows.jsonl", "BAD_OBJECT_URI"),
        ("s3://foreign-bucket/rows.jsonl", "OBJECT_NOT_ALLOWED"),
        ("http://169.254.169.254/latest/meta-data", "BAD_OBJECT_URI"),
        ("file:///etc/passwd", "BAD_OBJECT_URI"),
    ],
)
def test_an_object_out_of_the_sources_reach_is_not_read(
    ingestion: Ingestion, unique_name: str, uri: str, reason: str
) -> None:
    source = ingestion.apply(unique_name)
    uri = uri.format(bucket=ingestion.servers.s3_bucket, project=unique_name)
    event_id = ingestion.publish("ObjectPublished", {"source": source, "object": {"uri": uri}})
    assert reason in ingestion.dead_letter(event_id).values()
