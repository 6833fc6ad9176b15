"""CloudEvents 1.0 on Kafka: binary and structured mode are read, binary is written; data is proto3 JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sartor_platform.errors import InvalidArgument

if TYPE_CHECKING:
    from google.protobuf.message import Message

STRUCTURED = "application/cloudevents+json"
LAST_SECOND = 253_402_300_799.0
_PROTOBUF = ("application/protobuf", "application/x-protobuf")


class BadEvent(InvalidArgument):
    """The Kafka message is no CloudEvent we can read."""

    default_reason = "BAD_CLOUD_EVENT"


@dataclass(frozen=True, slots=True)
class Event:
    """One event as a handler sees it.

    `message` is the parsed data where `type` is a message this process knows.
    """

    id: str
    source: str
    type: str
    subject: str
    time: datetime
    run: str
    generation: int
    traceparent: str
    topic: str
    partition: int
    offset: int
    headers: Mapping[str, str]
    data: bytes
    message: Any = field(default=None, compare=False)
    key: bytes = b""
    is_tombstone: bool = False
    """The message had no value at all: its key was deleted."""

    @property
    def position(self) -> str:
        """Where it lies in the log: `topic/partition/offset`."""
        return f"{self.topic}/{self.partition}/{self.offset}"


def headers_of(
    *,
    event_id: str,
    source: str,
    event_type: str,
    subject: str,
    time: datetime,
    run: str,
    generation: int,
    traceparent: str,
) -> list[tuple[str, bytes]]:
    """The Kafka headers of an event in binary mode."""
    attributes = {
        "content-type": "application/json",
        "ce_specversion": "1.0",
        "ce_id": event_id,
        "ce_source": source,
        "ce_type": event_type,
        "ce_subject": subject,
        "ce_time": time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "ce_sartorrun": run,
        "ce_sartorgeneration": str(generation) if generation else "",
        "ce_traceparent": traceparent,
    }
    return [(key, value.encode()) for key, value in attributes.items() if value]


def decode(
    topic: str,
    partition: int,
    offset: int,
    timestamp_ms: int,
    headers: Sequence[tuple[str, bytes]],
    value: bytes | None,
) -> Event:
    """The event in a Kafka message; its data is not parsed yet (see `with_message`).

    Raises:
        BadEvent: a required attribute is missing or malformed.
    """
    texts = {key.lower(): (raw or b"").decode("utf-8", "replace") for key, raw in headers}
    content_type = texts.get("content-type", "").split(";")[0].strip().lower()
    if content_type.startswith("application/cloudevents"):
        if content_type != STRUCTURED:
            raise BadEvent(f"structured events must be {STRUCTURED}, not {content_type}")
        attributes, data, content_type = _structured(value)
    else:
        attributes = {key[3:]: text for key, text in texts.items() if key.startswith("ce_")}
        data = value or b""
    for name in ("specversion", "id", "source", "type"):
        if not attributes.get(name):
            raise BadEvent(
                f"the event lacks its attribute {name!r}: send it as the header ce_{name} (binary mode)"
                f" or as a member of a {STRUCTURED} value",
                metadata={"attribute": name},
            )
    for name, content in attributes.items():
        if not _is_plain(content):
            raise BadEvent(
                f"the attribute {name!r} holds a NUL or half a surrogate pair; send plain UTF-8",
                metadata={"attribute": name},
            )
    if not attributes["specversion"].startswith("1."):
        raise BadEvent(f"CloudEvents {attributes['specversion']} is not supported; send specversion 1.0")
    return Event(
        id=attributes["id"],
        source=attributes["source"],
        type=attributes["type"],
        subject=attributes.get("subject", ""),
        time=_time(attributes.get("time", ""), timestamp_ms),
        run=attributes.get("sartorrun", ""),
        generation=_whole_number(attributes.get("sartorgeneration", "")),
        traceparent=attributes.get("traceparent", "") or texts.get("traceparent", ""),
        topic=topic,
        partition=partition,
        offset=offset,
        headers={**texts, "content-type": content_type or "application/json"},
        data=data,
    )


def is_cloud_event(headers: Sequence[tuple[str, bytes]]) -> bool:
    """Whether a Kafka message says that it is a CloudEvent, in either mode."""
    return any(
        key.lower().startswith("ce_")
        or (key.lower() == "content-type" and (value or b"").lower().startswith(b"application/cloudevents"))
        for key, value in headers
    )


def foreign(record: Any, event_type: str) -> Event:
    """The event in a Kafka message of another system: it is what it is, known by where it lies.

    Its time is part of its id, because a topic that was lost and made again begins at offset 0 again.
    """
    return Event(
        id=f"{record.partition}/{record.offset}/{record.timestamp}",
        source=f"kafka:{record.topic}",
        type=event_type,
        subject="",
        time=datetime.fromtimestamp(min(max(record.timestamp, 0) / 1000, 253_402_300_799.0), UTC),
        run="",
        generation=0,
        traceparent="",
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        headers={"content-type": "application/octet-stream"},
        data=record.value or b"",
        key=record.key or b"",
        is_tombstone=record.value is None,
    )


def message_class(event_type: str) -> type[Message] | None:
    """The generated class of an event type, where this process has imported it."""
    from google.protobuf import descriptor_pool, message_factory

    try:
        return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(event_type))
    except KeyError:
        return None


def parse(event: Event, kind: type[Message]) -> Message:
    """The event's data as a message. Unknown fields are ignored, so that senders may be newer than we are.

    Raises:
        BadEvent: BAD_EVENT_DATA.
    """
    from google.protobuf.json_format import ParseDict, ParseError
    from google.protobuf.message import DecodeError

    try:
        if event.headers["content-type"] in _PROTOBUF:
            return kind.FromString(event.data)
        plain = json.loads(event.data)
        if not isinstance(plain, dict):  # protobuf's own parser takes any text for an empty message
            raise TypeError("it is no JSON object")
        return ParseDict(plain, kind(), ignore_unknown_fields=True)
    except (ParseError, DecodeError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise BadEvent(
            f"the data is no {kind.DESCRIPTOR.full_name}: {error}", reason="BAD_EVENT_DATA"
        ) from error


def _structured(value: bytes | None) -> tuple[dict[str, str], bytes, str]:
    try:
        envelope = json.loads(value or b"")
    except (ValueError, RecursionError) as error:
        raise BadEvent(f"the structured event is no JSON: {error}") from error
    if not isinstance(envelope, dict):
        raise BadEvent("the structured event is no JSON object")
    data: Any = envelope.pop("data", None)
    encoded = envelope.pop("data_base64", None)
    attributes = {key: str(item) for key, item in envelope.items() if item is not None}
    content_type = attributes.pop("datacontenttype", "application/json").split(";")[0].strip().lower()
    if encoded is not None:
        import base64
        import binascii

        try:
            return attributes, base64.b64decode(encoded, validate=True), content_type
        except (binascii.Error, TypeError, ValueError) as error:
            raise BadEvent(f"data_base64 is no base64: {error}") from error
    as_text = isinstance(data, str) and "json" not in content_type
    try:
        raw = data.encode() if as_text else json.dumps(data).encode()
    except UnicodeEncodeError as error:
        raise BadEvent(f"the data holds half a surrogate pair: {error}") from error
    return attributes, b"" if data is None else raw, content_type


def _time(text: str, timestamp_ms: int) -> datetime:
    if not text:
        return datetime.fromtimestamp(min(max(timestamp_ms, 0) / 1000, LAST_SECOND), UTC)
    try:
        parsed = datetime.fromisoformat(text)
        parsed.astimezone(UTC)  # the first and the last year do not have every hour in every zone
    except (ValueError, OverflowError) as error:
        raise BadEvent(f"the attribute time is no RFC 3339 timestamp: {text!r}") from error
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def _is_plain(value: str) -> bool:
    """Whether PostgreSQL can keep it as text."""
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False


def _whole_number(text: str) -> int:
    try:
        number = int(text or "0")
        if not 0 <= number < 2**63:
            raise ValueError(number)
        return number
    except ValueError as error:
        raise BadEvent(f"the attribute sartorgeneration is no whole number: {text!r}") from error
