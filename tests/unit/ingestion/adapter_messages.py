"""Messages of other systems after the examples in their documentation.

S3: "Event message structure" of the Amazon S3 user guide. MinIO: its bucket notification guide. Ceph: "Event
record" of its object gateway. Debezium: the PostgreSQL connector's "Data change events". OpenAI: the API
reference of Chat Completions and Responses. OpenTelemetry: "Semantic conventions for generative AI events",
and OTLP's JSON encoding.
"""

from __future__ import annotations

from typing import Any


def _record(source: str, name: str, bucket: str, item: dict[str, Any]) -> dict[str, Any]:
    return {
        "eventVersion": "2.1",
        "eventSource": source,
        "awsRegion": "us-west-2",
        "eventTime": "1970-01-01T00:00:00.000Z",
        "eventName": name,
        "userIdentity": {"principalId": "AIDAJDPLRKLG7UEXAMPLE"},
        "requestParameters": {"sourceIPAddress": "127.0.0.1"},
        "responseElements": {"x-amz-request-id": "C3D13FE58DE4C810"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "testConfigRule",
            "bucket": {"name": bucket, "ownerIdentity": {"principalId": "A3NL1KOZZKExample"}},
            "object": item,
        },
    }


S3 = {
    "Records": [
        _record(
            "aws:s3", "ObjectCreated:Put", "amzn-s3-demo-bucket",
            {
                "key": "red+flower/%C3%A4.jpg", "size": 1024, "eTag": "d41d8cd98f00b204e9800998ecf8427e",
                "versionId": "096fKKXTRTtl3on89fVO", "sequencer": "0055AED6DCD90281E5",
            },
        )
    ]
}  # fmt: skip
MINIO = {
    "EventName": "s3:ObjectCreated:Put",
    "Key": "images/users/ABC.jsonl",
    "Records": [
        _record(
            "minio:s3", "s3:ObjectCreated:Put", "images",
            {
                "key": "users%2FABC.jsonl", "size": 132, "eTag": "b7ce786cd89b182bfd5ae765557bbc37",
                "contentType": "application/json", "userMetadata": {}, "versionId": "1",
                "sequencer": "15612487A9DF732C",
            },
        )
    ],
}  # fmt: skip
CEPH = {
    "Records": [
        _record(
            "ceph:s3", "ObjectCreated:Put", "mybucket1",
            {
                "key": "in/a+b%20c.jsonl", "size": "1024", "etag": "37b51d194a7513e45b56f6524f2d51f2",
                "versionId": "", "sequencer": "F7E6D75DC742D108", "metadata": [], "tags": [],
            },
        )
    ]
}  # fmt: skip

DEBEZIUM_KEY = {"id": 1004}
DEBEZIUM_SCHEMA = {"type": "struct", "optional": False, "name": "inventory.customers.Envelope"}
_CUSTOMER = {"id": 1004, "first_name": "Anne", "last_name": "Kretchmar", "email": "annek@noanswer.org"}
_SOURCE = {
    "version": "3.3.0.Final", "connector": "postgresql", "name": "PostgreSQL_server", "snapshot": False,
    "ts_ms": 1559033904863, "db": "dbserver1", "schema": "inventory", "table": "customers", "txId": 556,
}  # fmt: skip
DEBEZIUM_UPDATE: dict[str, Any] = {
    "before": {"id": 1004},
    "after": {**_CUSTOMER, "first_name": "Anne Marie"},
    "source": _SOURCE,
    "op": "u",
    "ts_ms": 1465584025523,
}
DEBEZIUM_DELETE: dict[str, Any] = {
    "before": {**_CUSTOMER},
    "after": None,
    "source": _SOURCE,
    "op": "d",
    "ts_ms": 1465581902461,
}

OPENAI_PAIR: dict[str, Any] = {
    "request": {
        "model": "gpt-4o",
        "user": "customer-7",
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "Hello!"},
        ],
    },
    "response": {
        "id": "chatcmpl-123",
        "object": "chat.completion",
        "created": 1677652288,
        "model": "gpt-4o-mini",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hello! How can I assist you today?",
                    "refusal": None,
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21},
    },
}
RESPONSES_PAIR: dict[str, Any] = {
    "request": {"model": "gpt-4.1", "instructions": "Be brief.", "input": "Tell me a story."},
    "response": {
        "id": "resp_67ccd2bed1ec8190b14f964abc054267",
        "object": "response",
        "status": "completed",
        "error": None,
        "output": [
            {"type": "reasoning", "summary": []},
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Once upon a time.", "annotations": []}],
            },
        ],
    },
}
CHUNKS: list[dict[str, Any]] = [
    {"id": "chatcmpl-123", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
    {"id": "chatcmpl-123", "choices": [{"index": 0, "delta": {"content": "Hello"}}]},
    {"id": "chatcmpl-123", "choices": [{"index": 0, "delta": {"content": " there"}}]},
    {"id": "chatcmpl-123", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
]

_SPAN = {"traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "00f067aa0ba902b7"}


def _any(value: Any) -> dict[str, Any]:
    """A value as OTLP's JSON writes it."""
    if isinstance(value, dict):
        return {"kvlistValue": {"values": [{"key": k, "value": _any(v)} for k, v in value.items()]}}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_any(item) for item in value]}}
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}


def logs(*records: dict[str, Any]) -> dict[str, Any]:
    """A batch of log records as the collector exports it."""
    resource = {"attributes": [{"key": "service.name", "value": _any("shop")}]}
    return {
        "resourceLogs": [{"resource": resource, "scopeLogs": [{"scope": {}, "logRecords": list(records)}]}]
    }


def _attributes(**values: Any) -> list[dict[str, Any]]:
    return [{"key": key.replace("__", "."), "value": _any(value)} for key, value in values.items()]


def _parts(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "content": text}]


OTEL_DETAILS: dict[str, Any] = {
    **_SPAN,
    "timeUnixNano": "1581452773000000789",
    "eventName": "gen_ai.client.inference.operation.details",
    "attributes": _attributes(
        gen_ai__operation__name="chat",
        gen_ai__request__model="gpt-4",
        gen_ai__response__id="chatcmpl-9",
        gen_ai__system_instructions=_parts("You are a weather bot."),
        gen_ai__input__messages=[{"role": "user", "parts": _parts("Weather in Paris?")}],
        gen_ai__output__messages=[
            {"role": "assistant", "parts": _parts("Rainy, 57°F."), "finish_reason": "stop"}
        ],
    ),
}
OTEL_USER: dict[str, Any] = {
    **_SPAN,
    "attributes": _attributes(event__name="gen_ai.user.message", gen_ai__system="openai"),
    "body": _any({"content": "What's the weather in Paris?"}),
}
OTEL_CHOICE: dict[str, Any] = {
    **_SPAN,
    "eventName": "gen_ai.choice",
    "body": _any({"index": 0, "finish_reason": "stop", "message": {"content": "Rainy, 57°F."}}),
}
