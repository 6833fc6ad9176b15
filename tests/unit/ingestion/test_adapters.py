"""Facts about messages of other systems, written as their own documentation shows them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sartor_ingestion.adapters import debezium, openai_requests, otel_genai, s3_notifications
from sartor_ingestion.adapters.messages import BadMessage, Message, ObjectNotice, Said

from tests.unit.ingestion.adapter_messages import (
    CEPH,
    CHUNKS,
    DEBEZIUM_DELETE,
    DEBEZIUM_KEY,
    DEBEZIUM_SCHEMA,
    DEBEZIUM_UPDATE,
    MINIO,
    OPENAI_PAIR,
    OTEL_CHOICE,
    OTEL_DETAILS,
    OTEL_USER,
    RESPONSES_PAIR,
    S3,
    logs,
)


def message(value: Any, key: Any = None) -> Message:
    return Message(
        None if key is None else json.dumps(key).encode(),
        None if value is None else json.dumps(value).encode(),
    )


def notices(value: Any) -> tuple[ObjectNotice, ...]:
    return s3_notifications.read(message(value)).objects


def test_keys_of_s3_and_minio_are_unescaped_and_those_of_ceph_are_raw() -> None:
    assert notices(S3) == (
        ObjectNotice("s3://amzn-s3-demo-bucket/red flower/ä.jpg", "096fKKXTRTtl3on89fVO", 1024),
    )
    assert notices(MINIO) == (ObjectNotice("s3://images/users/ABC.jsonl", "1", 132),)
    assert notices(CEPH) == (
        ObjectNotice("s3://mybucket1/in/a+b%20c.jsonl", "37b51d194a7513e45b56f6524f2d51f2", 1024),
    )


def test_a_size_that_is_missing_is_found_out_later() -> None:
    value = json.loads(json.dumps(S3))
    del value["Records"][0]["s3"]["object"]["size"]
    assert notices(value)[0].size_bytes == 0


@pytest.mark.parametrize(
    ("given", "event", "version"),
    [
        (S3, "ObjectRemoved:Delete", "096fKKXTRTtl3on89fVO"),
        (S3, "ObjectRemoved:DeleteMarkerCreated", ""),
        (S3, "LifecycleExpiration:DeleteMarkerCreated", ""),
        (MINIO, "s3:ObjectRemoved:Delete", "1"),
        (MINIO, "s3:ObjectRemoved:DeleteMarkerCreated", ""),
        (CEPH, "ObjectRemoved:Delete", ""),
        (CEPH, "s3:ObjectRemoved:DeleteMarkerCreated", ""),
        (CEPH, "s3:ObjectLifecycle:Expiration:Current", ""),
    ],
)
def test_a_removal_is_understood_in_every_spelling(given: Any, event: str, version: str) -> None:
    """A version is named where one was removed for good, not where a marker hides them all."""
    value = json.loads(json.dumps(given))
    value["Records"][0]["eventName"] = event
    (written,), (removed,) = notices(given), notices(value)
    assert removed == ObjectNotice(written.uri, version, removed=True)


@pytest.mark.parametrize(
    "name",
    [
        "s3:ObjectAccessed:Get",
        "s3:ObjectRemoved:NoOP",
        "s3:ObjectLifecycle:Expiration:NonCurrent",
        "ObjectAcl:Put",
    ],
)
def test_what_neither_writes_nor_removes_says_nothing(name: str) -> None:
    value = json.loads(json.dumps(MINIO))
    value["Records"][0]["eventName"] = name
    assert notices(value) == ()
    assert notices({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"}) == ()


@pytest.mark.parametrize(
    "value", [{}, {"Records": 1}, {"Records": [{"eventName": "ObjectCreated:Put", "s3": {}}]}]
)
def test_a_notification_without_records_or_key_is_bad(value: Any) -> None:
    with pytest.raises(BadMessage) as error:
        notices(value)
    assert error.value.reason == "BAD_NOTIFICATION"


def wrapped(payload: Any) -> Any:
    return {"schema": DEBEZIUM_SCHEMA, "payload": payload}


@pytest.mark.parametrize("wrap", [wrapped, lambda payload: payload])
@pytest.mark.parametrize("op", ["c", "u", "r"])
def test_a_change_leaves_the_row_as_it_is_now(wrap: Any, op: str) -> None:
    said = debezium.read(message(wrap({**DEBEZIUM_UPDATE, "op": op}), wrap(DEBEZIUM_KEY)))
    assert said.rows == ({**DEBEZIUM_UPDATE["after"], "_key": "1004"},)


@pytest.mark.parametrize("wrap", [wrapped, lambda payload: payload])
def test_a_deletion_and_its_tombstone_withdraw_by_the_key(wrap: Any) -> None:
    (row,) = debezium.read(message(wrap(DEBEZIUM_DELETE), wrap(DEBEZIUM_KEY))).rows
    assert (row["op"], row["_key"], row["id"]) == ("withdraw", "1004", 1004)
    (tombstone,) = debezium.read(message(None, wrap(DEBEZIUM_KEY))).rows
    assert tombstone == {"id": 1004, "_key": "1004", "op": "withdraw"}
    assert debezium.read(Message(None, None)) == Said()


def test_a_key_of_several_columns_is_one_text_whatever_their_order() -> None:
    def key(columns: Any) -> str:
        return str(debezium.read(message(DEBEZIUM_UPDATE, columns)).rows[0]["_key"])

    assert key({"a": 1, "b": "x"}) == key({"b": "x", "a": 1}) == '{"a":1,"b":"x"}'


def test_flattened_changes_are_known_by_their_marks() -> None:
    row = {"id": 1004, "email": "annek@noanswer.org"}
    assert debezium.read(message({**row, "__deleted": "false"}, DEBEZIUM_KEY)).rows == (
        {**row, "_key": "1004"},
    )
    (gone,) = debezium.read(message({**row, "__deleted": "true"}, DEBEZIUM_KEY)).rows
    assert (gone["op"], gone["_key"]) == ("withdraw", "1004")


def test_other_tables_say_nothing() -> None:
    for name in ("customers", "inventory.customers", "dbserver1.customers"):
        assert len(debezium.read(message(DEBEZIUM_UPDATE, DEBEZIUM_KEY), ("orders", name)).rows) == 1
    assert debezium.read(message(DEBEZIUM_UPDATE, DEBEZIUM_KEY), ("orders",)) == Said()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"op": "t", "before": None, "after": None}, "TRUNCATE_NOT_SUPPORTED"),
        ({"op": "u", "before": None, "after": None}, "BAD_CHANGE_EVENT"),
        ({"op": "x", "after": {}}, "BAD_CHANGE_EVENT"),
        ({"op": "d", "before": None}, "BAD_CHANGE_EVENT"),
        ([], "BAD_MESSAGE"),
    ],
)
def test_changes_that_cannot_be_followed_are_bad(change: Any, reason: str) -> None:
    with pytest.raises(BadMessage) as error:
        debezium.read(message(change))
    assert error.value.reason == reason


def test_a_request_and_its_response_are_one_conversation() -> None:
    (row,) = openai_requests.read(message(OPENAI_PAIR)).rows
    assert row["messages"] == [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "Hello! How can I assist you today?"},
    ]
    assert (row["_key"], row["user"], row["model"]) == ("chatcmpl-123", "customer-7", "gpt-4o")
    batch = {"custom_id": "r1", "request": {"method": "POST", "body": OPENAI_PAIR["request"]}}
    reply = {"status_code": 200, "body": OPENAI_PAIR["response"]}
    assert openai_requests.read(message({**batch, "response": reply})).rows == (row,)


def test_responses_and_streamed_answers_are_read_too() -> None:
    (row,) = openai_requests.read(message(RESPONSES_PAIR)).rows
    assert [turn["content"] for turn in row["messages"]] == [
        "Be brief.",
        "Tell me a story.",
        "Once upon a time.",
    ]
    (row,) = openai_requests.read(message({"request": OPENAI_PAIR["request"], "response": CHUNKS})).rows
    assert row["messages"][-1] == {"role": "assistant", "content": "Hello there"}


@pytest.mark.parametrize(
    "response",
    [
        {"error": {"message": "rate limit"}},
        {"status_code": 500, "body": {"choices": []}},
        {"choices": [{"message": {"content": None, "tool_calls": []}}]},
        {"choices": [{"message": {"content": None, "refusal": "no"}}]},
    ],
)
def test_an_answer_without_text_is_a_rejected_row_and_no_poison(response: Any) -> None:
    said = openai_requests.read(message({"request": OPENAI_PAIR["request"], "response": response}))
    assert (said.rows, len(said.rejections)) == ((), 1)


@pytest.mark.parametrize("pair", [{}, {"request": {}}, {"request": {"model": "m"}, "response": {"id": "1"}}])
def test_a_message_that_is_no_pair_is_bad(pair: Any) -> None:
    with pytest.raises(BadMessage):
        openai_requests.read(message(pair))


def test_the_details_event_is_an_exchange() -> None:
    (row,) = otel_genai.read(message(logs(OTEL_DETAILS))).rows
    assert [turn["role"] for turn in row["messages"]] == ["system", "user", "assistant"]
    assert row["messages"][1]["content"][0]["content"] == "Weather in Paris?"
    assert (row["_key"], row["service.name"], row["gen_ai.request.model"]) == ("chatcmpl-9", "shop", "gpt-4")


def test_the_older_events_of_a_span_are_put_together() -> None:
    said = otel_genai.read(message(logs(OTEL_USER, {"eventName": "http.request"}, OTEL_CHOICE)))
    (row,) = said.rows
    assert row["messages"] == [
        {"role": "user", "content": "What's the weather in Paris?"},
        {"role": "assistant", "content": "Rainy, 57°F."},
    ]
    assert row["_key"] == "4bf92f3577b34da6a3ce929d0e0e4736:00f067aa0ba902b7"
    assert len(otel_genai.read(message(logs(OTEL_USER))).rejections) == 1


@pytest.mark.parametrize(
    "reader", [s3_notifications.read, debezium.read, openai_requests.read, otel_genai.read]
)
@pytest.mark.parametrize(
    "value", [b"", b"{", b"[1]", b"\xff", b'{"a":' * 100 + b"1" + b"}" * 100, b"[" * 100_000, b"null"]
)
def test_poison_is_bad_and_nothing_else_is_raised(reader: Any, value: bytes) -> None:
    with pytest.raises(BadMessage) as error:
        reader(Message(b"{}", value))
    assert error.value.reason.isupper()
