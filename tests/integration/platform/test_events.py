"""Events from the outbox of one transaction to the handler of another, on the real broker and database."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from kafka import KafkaProducer
from sartor.training.v1.training_events_pb2 import BaseModelReady
from sartor_platform.consumer import BatchHandler
from sartor_platform.errors import InvalidArgument, Unavailable
from sartor_platform.topics import Topic
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from tests.integration.platform.conftest import Platform, Seen, read_all, until

READY = BaseModelReady.DESCRIPTOR.full_name


def publish(platform: Platform, *names: str) -> None:
    with platform.database.transaction() as tx:
        for name in names:
            tx.publish(BaseModelReady(base_model=name), subject=name, run="run-1", generation=7)


def send(platform: Platform, topic: str, *messages: tuple[dict[str, str], bytes, str]) -> None:
    """Send as another system would: with a plain producer."""
    platform.topics.ensure([topic])
    producer = KafkaProducer(bootstrap_servers=platform.settings.kafka_bootstrap_servers)
    for headers, value, key in messages:
        producer.send(
            topic,
            key=key.encode(),
            value=value,
            headers=[(name, text.encode()) for name, text in headers.items()],
        )
    producer.flush()
    producer.close()


def binary(id_: str, type_: str = READY, **more: str) -> dict[str, str]:
    return {"ce_specversion": "1.0", "ce_id": id_, "ce_source": "/elsewhere", "ce_type": type_, **more}


def test_an_event_arrives_with_all_it_was_published_with(platform: Platform, seen: Seen) -> None:
    """Type, subject, run, generation, trace and message survive the way over Kafka."""
    platform.relay()
    platform.consumer({READY: seen})
    publish(platform, "projects/p/baseModels/b")
    until(lambda: seen.events)
    event = seen.events[0]
    assert (event.type, event.subject, event.run, event.generation) == (
        READY,
        "projects/p/baseModels/b",
        "run-1",
        7,
    )
    assert event.message.base_model == "projects/p/baseModels/b"
    assert event.source == f"/sartor/{platform.service}"
    assert event.traceparent.startswith("00-")
    (record,) = read_all(platform.settings, platform.topic, 1)
    headers = dict(record.headers)
    assert headers["content-type"] == b"application/json"
    assert headers["ce_specversion"] == b"1.0"
    assert record.key == b"projects/p/baseModels/b"
    assert json.loads(record.value) == {"baseModel": "projects/p/baseModels/b"}


def test_an_event_of_a_rolled_back_transaction_is_never_published(platform: Platform, seen: Seen) -> None:
    """The outbox row goes with its transaction."""
    platform.relay()
    platform.consumer({READY: seen})

    def broken_off() -> None:
        with platform.database.transaction() as tx:
            tx.publish(BaseModelReady(base_model="never"), subject="never")
            raise InvalidArgument("no")

    with pytest.raises(InvalidArgument):
        broken_off()
    publish(platform, "after")
    until(lambda: seen.events)
    assert seen.subjects == ["after"]


def test_an_event_seen_twice_is_handled_once(platform: Platform, seen: Seen) -> None:
    """Two messages with one source and id are one event, in one batch or in two."""
    same = (binary("e-1"), b"{}", "k")
    send(platform, platform.topic, same, same, (binary("e-2"), b"{}", "k"))
    platform.consumer({READY: seen})
    until(lambda: len(seen.events) >= 2)
    send(platform, platform.topic, same, (binary("e-3"), b"{}", "k"))
    until(lambda: len(seen.events) >= 3)
    assert [event.id for event in seen.events] == ["e-1", "e-2", "e-3"]


def test_a_batch_handles_each_event_once_and_in_order(platform: Platform, seen: Seen) -> None:
    """Doubles within and across batches are dropped; the order of a key is kept."""
    messages = [(binary(f"e-{number}"), b"{}", f"k{number % 3}") for number in range(300)]
    send(platform, platform.topic, *messages, *messages[:50])
    platform.consumer({READY: BatchHandler(seen.many)})
    until(lambda: len(seen.events) >= 300)
    send(platform, platform.topic, *messages[100:200], (binary("last"), b"{}", "k0"))
    until(lambda: seen.events[-1].id == "last")
    assert len(seen.events) == 301
    for key in range(3):
        numbers = [int(event.id[2:]) for event in seen.events[:-1] if int(event.id[2:]) % 3 == key]
        assert numbers == sorted(numbers)


def test_structured_events_are_read_like_binary_ones(platform: Platform, seen: Seen) -> None:
    """The envelope's attributes and data arrive; fields we do not know are ignored."""
    envelope = {
        "specversion": "1.0",
        "id": "s-1",
        "source": "/elsewhere",
        "type": READY,
        "subject": "projects/p/baseModels/b",
        "sartorrun": "run-2",
        "data": {"baseModel": "projects/p/baseModels/b", "newerField": [1, 2]},
    }
    headers = {"content-type": "application/cloudevents+json; charset=utf-8"}
    send(platform, platform.topic, (headers, json.dumps(envelope).encode(), "k"))
    platform.consumer({READY: seen})
    until(lambda: seen.events)
    assert seen.events[0].message.base_model == "projects/p/baseModels/b"
    assert (seen.events[0].run, seen.events[0].subject) == ("run-2", "projects/p/baseModels/b")


def test_poison_goes_to_the_dead_letters_and_the_consumer_goes_on(platform: Platform, seen: Seen) -> None:
    """Unreadable events, unreadable data and refused events are put aside, each with its reason."""

    def handler(tx: Any, event: Any) -> None:
        if event.id == "refused":
            raise InvalidArgument("this source is closed", reason="SOURCE_CLOSED")
        seen(tx, event)

    send(
        platform,
        platform.topic,
        ({"ce_id": "half"}, b"{}", "k"),
        ({"content-type": "application/cloudevents+json"}, b"{not json", "k"),
        (binary("data"), b"{not json", "k"),
        (binary("refused"), b"{}", "k"),
        (binary("good"), b"{}", "k"),
    )
    platform.relay()
    platform.consumer({READY: handler})
    until(lambda: seen.events)
    letters = read_all(platform.settings, f"{platform.topic}.dlq", 4)
    reasons = [dict(letter.headers)["sartor_reason"].decode() for letter in letters]
    assert sorted(reasons) == ["BAD_CLOUD_EVENT", "BAD_CLOUD_EVENT", "BAD_EVENT_DATA", "SOURCE_CLOSED"]
    refused = next(
        dict(letter.headers) for letter in letters if b"SOURCE_CLOSED" in dict(letter.headers).values()
    )
    assert refused["sartor_message"] == b"this source is closed"
    assert refused["sartor_topic"] == platform.topic.encode()
    assert refused["ce_id"] == b"refused"
    assert {"sartor_partition", "sartor_offset"} <= set(refused)
    assert [event.id for event in seen.events] == ["good"]


def test_a_poisoned_batch_loses_only_the_poison(platform: Platform) -> None:
    """The good events of the batch are handled one by one."""
    kept: list[str] = []

    def handler(tx: Any, events: Any) -> None:
        if any(event.id == "bad" for event in events):
            raise InvalidArgument("bad row", reason="BAD_ROW")
        kept.extend(event.id for event in events)

    messages = [(binary(id_), b"{}", "k") for id_ in ("a", "b", "bad", "c")]
    send(platform, platform.topic, *messages, (binary("d"), b"[", "k"), (binary("e"), b"{}", "k"))
    platform.relay()
    platform.consumer({READY: BatchHandler(handler)})
    until(lambda: len(kept) >= 4)
    assert kept == ["a", "b", "c", "e"]
    letters = read_all(platform.settings, f"{platform.topic}.dlq", 2)
    assert [dict(letter.headers)["sartor_reason"] for letter in letters] == [b"BAD_ROW", b"BAD_EVENT_DATA"]


def test_a_handler_that_keeps_breaking_is_put_aside_without_its_secrets(
    platform: Platform, seen: Seen
) -> None:
    """An unexpected exception is tried again some times, then the event is poison with reason INTERNAL."""
    tries: list[str] = []

    def handler(tx: Any, event: Any) -> None:
        if event.id == "bug":
            tries.append(event.id)
            raise KeyError("password")
        seen(tx, event)

    send(platform, platform.topic, (binary("bug"), b"{}", "k"), (binary("next"), b"{}", "k"))
    platform.relay()
    platform.consumer({READY: handler})
    until(lambda: seen.events)
    (letter,) = read_all(platform.settings, f"{platform.topic}.dlq", 1)
    headers = dict(letter.headers)
    assert headers["sartor_reason"] == b"INTERNAL"
    assert b"password" not in headers["sartor_message"]
    assert len(tries) in (3, 4)  # three times alone, and perhaps once together with others


def test_unknown_types_are_ignored_on_a_service_topic_and_put_aside_on_a_strict_one(
    platform: Platform, seen: Seen
) -> None:
    """Only where every event is meant for us is an unknown type an error."""
    strict = f"{platform.service}.data"
    unknown = binary("u", "com.example.Unknown")
    for topic in (platform.topic, strict):
        send(platform, topic, (unknown, b"{}", "k"), (binary(f"known-{topic}"), b"{}", "k"))
    platform.relay()
    platform.consumer({READY: seen}, [platform.topic, Topic(strict, strict=True)])
    until(lambda: len(seen.events) == 2)
    (letter,) = read_all(platform.settings, f"{strict}.dlq", 1)
    assert dict(letter.headers)["sartor_reason"] == b"UNKNOWN_EVENT_TYPE"
    assert READY.encode() in dict(letter.headers)["sartor_message"]
    assert not platform.rows("SELECT 1 FROM inbox WHERE id = 'u'")


def test_a_transient_fault_pauses_its_partition_and_nothing_is_lost(platform: Platform, seen: Seen) -> None:
    """The event comes again in its order, and the other partitions go on meanwhile."""
    away = threading.Event()
    away.set()

    def handler(tx: Any, event: Any) -> None:
        if event.subject == "waits" and away.is_set():
            raise Unavailable("the store is away")
        seen(tx, event)

    messages = [
        (binary("w-1", ce_subject="waits"), b"{}", "waits"),
        (binary("w-2", ce_subject="waits"), b"{}", "waits"),
    ]
    others = [(binary(f"o-{key}", ce_subject=key), b"{}", key) for key in ("a", "b", "c", "d", "e")]
    send(platform, platform.topic, *messages, *others)
    platform.consumer({READY: handler})
    until(lambda: len(seen.events) >= 2)
    assert "waits" not in seen.subjects
    away.clear()
    # Some were seen twice: in a transaction that was rolled back with a faulty neighbour's, and alone.
    until(lambda: len({event.id for event in seen.events}) == 7)
    waited = [event.id for event in seen.events if event.subject == "waits"]
    assert list(dict.fromkeys(waited)) == ["w-1", "w-2"]


def test_a_database_that_goes_away_under_a_handler_is_transient(platform: Platform) -> None:
    """The session is killed in the middle of the transaction; another session handles the event, once."""
    backends: list[int] = []

    def handler(tx: Any, event: Any) -> None:
        backends.append(tx.connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
        tx.enqueue("kind", resource=event.subject, project="p")
        if len(backends) == 1:
            with platform.database.transaction() as other:
                other.connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": backends[0]})
            with pytest.raises(OperationalError):
                tx.connection.execute(text("SELECT 1"))
            raise OperationalError("gone", None, Exception("gone"))

    send(platform, platform.topic, (binary("e", ce_subject="s"), b"{}", "k"))
    platform.consumer({READY: handler})
    until(lambda: platform.rows("SELECT 1 FROM jobs"))
    assert len(platform.rows("SELECT 1 FROM jobs")) == 1
    assert len(backends) == 2


def test_a_handler_sees_its_event_and_state_and_outbox_commit_together(
    platform: Platform, seen: Seen
) -> None:
    """One event makes a job and another event, once, though it comes twice."""
    platform.relay()
    done = BaseModelReady.DESCRIPTOR.full_name

    def handler(tx: Any, event: Any) -> None:
        if event.run == "second":
            seen(tx, event)
            return
        tx.enqueue("kind", resource=event.subject, project="p", run=event.run)
        tx.publish(BaseModelReady(base_model="x"), subject=event.subject, run="second")

    send(platform, platform.topic, *[(binary("e", ce_subject="s"), b"{}", "k")] * 2)
    platform.consumer({done: handler})
    until(lambda: seen.events)
    assert len(platform.rows("SELECT 1 FROM jobs")) == 1
    assert len(platform.rows("SELECT 1 FROM outbox")) == 1
    assert seen.events[0].message.base_model == "x"


def test_a_long_backlog_is_read_to_its_end(platform: Platform) -> None:
    """More than one poll brings, over all partitions, while partitions are held back in turn."""
    count = 6000
    handled: set[str] = set()

    def handler(_tx: Any, event: Any) -> None:
        handled.add(event.id)

    send(platform, platform.topic, *((binary(f"b-{i}"), b"{}", f"key-{i}") for i in range(count)))
    platform.consumer({READY: handler})
    until(lambda: len(handled) == count, seconds=60)
