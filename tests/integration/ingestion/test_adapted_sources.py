"""Messages of other systems become records: their topic decides the adapter."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from kafka import KafkaConsumer
from minio import Minio
from sartor.ingestion.v1 import source_pb2
from sartor.platform.v1 import dead_letter_service_pb2, dead_letter_service_pb2_grpc
from sartor_platform.errors import InvalidArgument
from sartor_platform.grpc_client import call_errors, channel

from tests.integration.ingestion.conftest import WAIT_SECONDS, Ingestion, eventually
from tests.unit.ingestion.adapter_messages import (
    DEBEZIUM_DELETE,
    DEBEZIUM_KEY,
    DEBEZIUM_UPDATE,
    OPENAI_PAIR,
    OTEL_DETAILS,
    logs,
)


@pytest.fixture
def landing(ingestion: Ingestion, unique_name: str) -> Iterator[str]:
    """A bucket that belongs to another system."""
    store: Minio = ingestion.objects
    store.make_bucket(unique_name)
    yield unique_name
    for item in store.list_objects(unique_name, recursive=True):
        store.remove_object(unique_name, str(item.object_name))
    store.remove_bucket(unique_name)


def adapted(ingestion: Ingestion, project: str, adapter: int, **standing: Any) -> str:
    """A source with an adapter; its topic has the project's name."""
    fields = {"adapter": adapter, "mapping": source_pb2.Mapping(), **standing}
    ingestion.apply(project, topic=project, standing=fields)
    eventually(lambda: _exists(ingestion, project), f"topic {project}")
    return project


def _exists(ingestion: Ingestion, topic: str) -> bool:
    consumer = KafkaConsumer(bootstrap_servers=ingestion.servers.kafka_bootstrap_servers)
    try:
        return topic in consumer.topics()
    finally:
        consumer.close()


def letter(ingestion: Ingestion, topic: str) -> dict[str, str]:
    """The headers of the first dead letter of a topic."""
    consumer = KafkaConsumer(
        f"{topic}.dlq",
        bootstrap_servers=ingestion.servers.kafka_bootstrap_servers,
        auto_offset_reset="earliest",
        group_id=None,
    )
    try:
        until = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < until:
            for batch in consumer.poll(500).values():
                return {key: value.decode() for key, value in batch[0].headers}
    finally:
        consumer.close()
    raise AssertionError(f"no dead letter of {topic}")


def dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_a_change_event_supersedes_and_a_delete_withdraws(ingestion: Ingestion, unique_name: str) -> None:
    mapping = source_pb2.Mapping(kind=source_pb2.RECORD_KIND_DOCUMENT, text="first_name", subject="email")
    topic = adapted(
        ingestion, unique_name, source_pb2.ADAPTER_DEBEZIUM, mapping=mapping, tables=["customers"]
    )
    key = dumped({"schema": {}, "payload": DEBEZIUM_KEY})
    first = {**DEBEZIUM_UPDATE, "op": "c", "after": {**DEBEZIUM_UPDATE["after"], "first_name": "Anne"}}
    other = {**first, "after": {**first["after"], "id": 5, "first_name": "Bo"}}
    ingestion.raw(topic, dumped({"schema": {}, "payload": first}), key)
    ingestion.raw(
        topic, dumped({"schema": {}, "payload": other}), dumped({"schema": {}, "payload": {"id": 5}})
    )
    ingestion.pending(unique_name, 2)
    assert sorted(r.text for r in ingestion.read(ingestion.seal(unique_name))) == ["Anne", "Bo"]
    ingestion.raw(topic, dumped({"schema": {}, "payload": DEBEZIUM_UPDATE}), key)
    ingestion.pending(unique_name, 1)
    snapshot = ingestion.seal(unique_name)
    assert sorted(r.text for r in ingestion.read(snapshot)) == ["Anne Marie", "Bo"]
    ingestion.raw(topic, dumped(DEBEZIUM_DELETE), dumped(DEBEZIUM_KEY))
    ingestion.raw(topic, None, dumped(DEBEZIUM_KEY))
    ingestion.pending(unique_name, 1)
    snapshot = ingestion.seal(unique_name)
    assert [r.text for r in ingestion.read(snapshot)] == ["Bo"]
    assert snapshot.withdrawn_count == 1
    states = [
        (trace.state, len(trace.snapshots)) for trace in ingestion.trace(unique_name, record_key="1004")
    ]
    assert states == [("GONE", 1), ("GONE", 1)]


def notification(bucket: str, key: str, tag: str) -> bytes:
    item = {"key": key, "eTag": tag, "sequencer": tag}
    record = {"eventSource": "minio:s3", "eventName": "s3:ObjectCreated:Put"}
    return dumped({"Records": [{**record, "s3": {"bucket": {"name": bucket}, "object": item}}]})


def test_a_bucket_notification_imports_its_object_once(
    ingestion: Ingestion, unique_name: str, landing: str
) -> None:
    topic = adapted(
        ingestion,
        unique_name,
        source_pb2.ADAPTER_S3_NOTIFICATIONS,
        object_prefixes=[f"s3://{landing}/in/"],
    )
    data = b'{"text": "from a bucket"}\n'
    ingestion.objects.put_object(landing, "in/new tickets.jsonl", io.BytesIO(data), len(data))
    for _ in range(3):  # stores notify at least once
        ingestion.raw(topic, notification(landing, "in%2Fnew+tickets.jsonl", "t1"))
    ingestion.raw(topic, notification(landing, "secret%2Fa.jsonl", "t2"))
    ingestion.pending(unique_name, 1)
    assert letter(ingestion, topic)["sartor_reason"] == "OBJECT_NOT_ALLOWED"
    (found,) = ingestion.imports(unique_name)
    assert found.object.uri == f"s3://{landing}/in/new tickets.jsonl"
    ingestion.raw(topic, notification(landing, "in%2Fnew+tickets.jsonl", "t3"))
    eventually(lambda: len(ingestion.imports(unique_name)) == 2, "the import of the changed object")


def test_a_notification_put_aside_is_taken_when_it_is_replayed(
    ingestion: Ingestion, unique_name: str, landing: str
) -> None:
    standing = {"adapter": source_pb2.ADAPTER_S3_NOTIFICATIONS, "mapping": source_pb2.Mapping()}
    topic = adapted(ingestion, unique_name, source_pb2.ADAPTER_S3_NOTIFICATIONS)
    ingestion.objects.put_object(landing, "a.jsonl", io.BytesIO(b'{"text": "late"}'), 16)
    ingestion.raw(topic, notification(landing, "a.jsonl", "t1"))
    name = letter(ingestion, topic)["sartor_dead_letter"]
    ingestion.apply(unique_name, topic=topic, standing={**standing, "object_prefixes": [f"s3://{landing}/"]})
    with channel(ingestion.target) as open_channel:
        letters = dead_letter_service_pb2_grpc.DeadLetterServiceStub(open_channel)
        letters.ReplayDeadLetter(dead_letter_service_pb2.ReplayDeadLetterRequest(name=name))
    ingestion.pending(unique_name, 1)


def test_a_prefix_is_imported_as_one_and_again_only_what_changed(
    ingestion: Ingestion, unique_name: str, landing: str
) -> None:
    source = ingestion.apply(
        unique_name, standing={"mapping": source_pb2.Mapping(), "object_prefixes": [f"s3://{landing}/"]}
    )
    for name, data in (("in/a.jsonl", b'{"text": "a"}\n'), ("in/b.csv", b"text\nb\n"), ("out/c.txt", b"c")):
        ingestion.objects.put_object(landing, name, io.BytesIO(data), len(data))
    done = ingestion.import_objects(source, f"s3://{landing}/in/")
    assert (done.accepted_count, done.format) == (2, source_pb2.DATA_FORMAT_ARCHIVE)
    assert ingestion.import_objects(source, f"s3://{landing}/in/").accepted_count == 0
    ingestion.objects.put_object(landing, "in/b.csv", io.BytesIO(b"text\nchanged\n"), 13)
    assert ingestion.import_objects(source, f"s3://{landing}/in/").accepted_count == 1
    records = ingestion.read(ingestion.seal(unique_name))
    assert sorted(record.text for record in records) == ["a", "changed"]  # what b.csv lost is withdrawn
    assert sorted(record.position.partition("#")[2] for record in records) == ["a.jsonl:1", "b.csv:2"]
    ingestion.publish("ObjectPublished", {"source": source, "object": {"uri": f"s3://{landing}/out/"}})
    ingestion.pending(unique_name, 1)
    nothing = ingestion.import_objects(source, f"s3://{landing}/empty/")
    assert nothing.job.error.reason == "PREFIX_EMPTY"


def test_requests_and_log_events_become_conversations(ingestion: Ingestion, unique_name: str) -> None:
    sent = {
        f"{unique_name}-r": (source_pb2.ADAPTER_OPENAI_REQUESTS, OPENAI_PAIR),
        f"{unique_name}-e": (source_pb2.ADAPTER_OTEL_GENAI, logs(OTEL_DETAILS)),
    }
    mapping = source_pb2.Mapping(subject="user", attributes=["model"])
    for project, (adapter, _) in sent.items():
        ingestion.apply(project, topic=project, standing={"adapter": adapter, "mapping": mapping})
    for project, (_, value) in sent.items():
        eventually(lambda topic=project: _exists(ingestion, topic), f"topic {project}")  # type: ignore[misc]
        ingestion.raw(project, dumped(value))
    for project in sent:
        ingestion.pending(project, 1)
        (record,) = ingestion.read(ingestion.seal(project))
        assert (record.kind, record.messages[-1].role) == ("chat", "assistant")
    assert len(ingestion.trace(f"{unique_name}-r", subject="customer-7")) == 1


def test_poison_on_an_adapted_topic_is_put_aside_and_what_follows_is_taken(
    ingestion: Ingestion, unique_name: str
) -> None:
    topic = adapted(ingestion, unique_name, source_pb2.ADAPTER_OPENAI_REQUESTS)
    ingestion.raw(topic, b"\x00 no JSON", b"k")
    ingestion.raw(topic, dumped(OPENAI_PAIR), b"other")
    ingestion.pending(unique_name, 1)
    headers = letter(ingestion, topic)
    assert headers["sartor_reason"] == "BAD_MESSAGE"


def test_an_adapter_needs_a_topic_of_its_own(ingestion: Ingestion, unique_name: str) -> None:
    with pytest.raises(InvalidArgument) as error, call_errors():
        ingestion.apply(unique_name, standing={"adapter": source_pb2.ADAPTER_DEBEZIUM})
    assert [violation.field for violation in error.value.violations] == ["source.topic"]


def removal(bucket: str, key: str, event: str = "s3:ObjectRemoved:Delete", **fields: str) -> bytes:
    item = {"key": key, **fields}
    return dumped({"Records": [{"eventName": event, "s3": {"bucket": {"name": bucket}, "object": item}}]})


def put(ingestion: Ingestion, bucket: str, key: str, *texts: str) -> None:
    data = "".join(json.dumps({"text": one, "id": one}) + "\n" for one in texts).encode()
    ingestion.objects.put_object(bucket, key, io.BytesIO(data), len(data))


def texts_now(ingestion: Ingestion, project: str) -> list[str]:
    return sorted(record.text for record in ingestion.read(ingestion.seal(project)))


def test_what_an_object_loses_is_withdrawn_and_what_was_removed_goes(
    ingestion: Ingestion, unique_name: str, landing: str
) -> None:
    """What another object still holds stays, and so does everything where the source says so."""
    prefixes = [f"s3://{landing}/in/"]
    topic = adapted(ingestion, unique_name, source_pb2.ADAPTER_S3_NOTIFICATIONS, object_prefixes=prefixes)
    put(ingestion, landing, "in/a.jsonl", "one", "two", "shared")
    put(ingestion, landing, "in/b.jsonl", "three", "shared")
    ingestion.raw(topic, notification(landing, "in/a.jsonl", "v1"))
    ingestion.pending(unique_name, 3)
    ingestion.raw(topic, notification(landing, "in/b.jsonl", "v1"))
    ingestion.pending(unique_name, 5)
    assert texts_now(ingestion, unique_name) == ["one", "shared", "three", "two"]
    put(ingestion, landing, "in/a.jsonl", "two", "four")
    ingestion.raw(topic, notification(landing, "in/a.jsonl", "v2"))
    ingestion.pending(unique_name, 3)  # two rows, and one withdrawal
    assert texts_now(ingestion, unique_name) == ["four", "shared", "three", "two"]
    ingestion.raw(topic, removal(landing, "in/a.jsonl"))
    ingestion.pending(unique_name, 2)
    assert texts_now(ingestion, unique_name) == ["shared", "three"]
    ingestion.raw(
        topic, removal(landing, "in/b.jsonl", "s3:ObjectRemoved:DeleteMarkerCreated", versionId="m1")
    )
    ingestion.pending(unique_name, 2)
    assert texts_now(ingestion, unique_name) == []


def test_a_version_with_rejected_rows_withdraws_nothing(
    ingestion: Ingestion, unique_name: str, landing: str
) -> None:
    """A file that is half broken must not empty a dataset."""
    prefixes = [f"s3://{landing}/in/"]
    topic = adapted(ingestion, unique_name, source_pb2.ADAPTER_S3_NOTIFICATIONS, object_prefixes=prefixes)
    put(ingestion, landing, "in/a.jsonl", "one", "two")
    ingestion.raw(topic, notification(landing, "in/a.jsonl", "v1"))
    ingestion.pending(unique_name, 2)
    broken = b'{"text": "one", "id": "one"}\n{"text": 3\n'
    ingestion.objects.put_object(landing, "in/a.jsonl", io.BytesIO(broken), len(broken))
    ingestion.raw(topic, notification(landing, "in/a.jsonl", "v2"))
    ingestion.pending(unique_name, 3)
    assert texts_now(ingestion, unique_name) == ["one", "two"]
    ingestion.raw(topic, removal(landing, "in/a.jsonl", versionId="another"))  # an old version, for good
    ingestion.raw(topic, removal(landing, "in/a.jsonl", versionId="v2"))
    ingestion.pending(unique_name, 2)
    assert texts_now(ingestion, unique_name) == []


def test_many_notified_objects_are_few_imports(ingestion: Ingestion, unique_name: str, landing: str) -> None:
    """And each of them can be removed on its own, even one that was gone before it was read."""
    prefixes = [f"s3://{landing}/in/"]
    topic = adapted(ingestion, unique_name, source_pb2.ADAPTER_S3_NOTIFICATIONS, object_prefixes=prefixes)
    names = [f"in/{number:02}.jsonl" for number in range(40)]
    for name in names[1:]:
        put(ingestion, landing, name, name)
    records = [json.loads(notification(landing, name, "v1"))["Records"][0] for name in names]
    ingestion.raw(topic, dumped({"Records": records}))
    ingestion.pending(unique_name, 39)
    assert len(ingestion.imports(unique_name)) == 1
    assert texts_now(ingestion, unique_name) == names[1:]
    ingestion.raw(
        topic, dumped({"Records": [json.loads(removal(landing, n))["Records"][0] for n in names[:39]]})
    )
    ingestion.pending(unique_name, 38)
    assert texts_now(ingestion, unique_name) == names[39:]
