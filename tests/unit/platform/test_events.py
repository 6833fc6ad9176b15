"""CloudEvents: what is accepted, and what is said of the rest."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from sartor.training.v1.training_events_pb2 import BaseModelReady
from sartor_platform import events
from sartor_platform.events import BadEvent, Event

READY = BaseModelReady.DESCRIPTOR.full_name
REQUIRED = {"ce_specversion": "1.0", "ce_id": "e", "ce_source": "/s", "ce_type": READY}


def decode(headers: dict[str, str], value: bytes | None = b"{}") -> Event:
    return events.decode(
        "t", 1, 2, 1_700_000_000_000, [(key, text.encode()) for key, text in headers.items()], value
    )


def structured(**attributes: Any) -> Event:
    envelope = {"specversion": "1.0", "id": "e", "source": "/s", "type": READY, **attributes}
    return decode({"content-type": events.STRUCTURED}, json.dumps(envelope).encode())


def test_what_is_written_is_read_back() -> None:
    """All attributes survive binary mode."""
    written = events.headers_of(
        event_id="e",
        source="/sartor/training",
        event_type=READY,
        subject="projects/p",
        time=datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC),
        run="r",
        generation=3,
        traceparent="00-" + "1" * 32 + "-" + "2" * 16 + "-01",
    )
    event = events.decode("t", 1, 2, 0, written, b"{}")
    assert (event.id, event.source, event.type, event.subject) == (
        "e",
        "/sartor/training",
        READY,
        "projects/p",
    )
    assert (event.run, event.generation, event.time) == ("r", 3, datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC))
    assert event.traceparent.startswith("00-1")
    assert event.position == "t/1/2"


def test_a_missing_time_is_the_brokers() -> None:
    """The Kafka timestamp, in UTC."""
    assert decode(REQUIRED).time == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


@pytest.mark.parametrize("missing", sorted(REQUIRED))
def test_an_event_without_a_required_attribute_is_bad(missing: str) -> None:
    """The error names the attribute and how to send it."""
    with pytest.raises(BadEvent) as caught:
        decode({key: value for key, value in REQUIRED.items() if key != missing})
    assert caught.value.reason == "BAD_CLOUD_EVENT"
    assert caught.value.metadata["attribute"] == missing[3:]


@pytest.mark.parametrize(
    "headers",
    [
        {**REQUIRED, "ce_specversion": "0.3"},
        {**REQUIRED, "ce_time": "yesterday"},
        {**REQUIRED, "ce_sartorgeneration": "first"},
        {"content-type": "application/cloudevents-batch+json"},
        {},
    ],
)
def test_malformed_attributes_are_bad(headers: dict[str, str]) -> None:
    """Never another exception: a consumer must be able to put it aside."""
    with pytest.raises(BadEvent):
        decode(headers)


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b"\xff\xfe", b'"text"'])
def test_a_structured_event_that_is_no_object_is_bad(value: bytes | None) -> None:
    """Whatever the bytes are."""
    with pytest.raises(BadEvent):
        decode({"content-type": events.STRUCTURED}, value)


def test_structured_data_may_be_json_or_base64() -> None:
    """Both arrive as the bytes they stand for."""
    assert json.loads(structured(data={"digest": "d"}).data) == {"digest": "d"}
    encoded = base64.b64encode(BaseModelReady(digest="d").SerializeToString()).decode()
    event = structured(data_base64=encoded, datacontenttype="application/protobuf")
    assert events.parse(event, BaseModelReady) == BaseModelReady(digest="d")
    with pytest.raises(BadEvent):
        structured(data_base64="not base64!")


def test_unknown_fields_are_ignored_and_wrong_types_are_not() -> None:
    """A newer sender is understood, a wrong one is told."""
    event = structured(data={"digest": "d", "futureField": {"x": 1}})
    assert events.parse(event, BaseModelReady) == BaseModelReady(digest="d")
    for data in ({"digest": 7}, [1], [], "text", 7, None):
        with pytest.raises(BadEvent) as caught:
            events.parse(structured(data=data), BaseModelReady)
        assert caught.value.reason == "BAD_EVENT_DATA"
    with pytest.raises(BadEvent):
        events.parse(decode(REQUIRED, b"\xff"), BaseModelReady)


def test_a_class_is_found_for_the_types_this_process_knows() -> None:
    """And None for others."""
    assert events.message_class(READY) is BaseModelReady
    assert events.message_class("com.example.Unknown") is None
