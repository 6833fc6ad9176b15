"""Log records of OpenTelemetry with GenAI events, in OTLP JSON as the collector's Kafka exporter writes them.

Read are `gen_ai.client.inference.operation.details`, which holds a whole exchange, and the events that came
before it (semantic conventions up to 1.36): one for each message, and `gen_ai.choice` for the answer, put
together by span within one batch of records.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from sartor_ingestion.adapters.messages import KEY, BadMessage, Message, Said, json_of, object_at
from sartor_ingestion.rejection import Reason, Rejected

_DETAILS = "gen_ai.client.inference.operation.details"
_TURNS = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
}
_CHOICE = "gen_ai.choice"


def read(message: Message) -> Said:
    """A row of `messages` for each exchange, with the attributes of its record and resource beside it.

    Raises:
        BadMessage: BAD_MESSAGE, BAD_LOG_RECORDS.
    """
    if message.value is None:
        return Said()
    batch = json_of(message.value, "batch of log records")
    if not isinstance(batch.get("resourceLogs"), list):
        raise BadMessage("BAD_LOG_RECORDS", "OTLP log records lie in `resourceLogs`; this message has none")
    rows: list[Mapping[str, Any]] = []
    rejections: list[Rejected] = []
    spans: dict[tuple[str, str], list[_Record]] = defaultdict(list)
    for record in _records(batch):
        if record.name == _DETAILS:
            try:
                rows.append(_exchange(record))
            except Rejected as error:
                rejections.append(error)
        elif record.name in _TURNS or record.name == _CHOICE:
            spans[record.trace, record.span].append(record)
    for records in spans.values():
        row = _spoken(records)
        if row is not None:
            rows.append(row)
        else:
            problem = "a span's events hold no answer; export the events of a span in one batch"
            rejections.append(Rejected(Reason.BAD_MESSAGES, problem))
    return Said(rows=tuple(rows), rejections=tuple(rejections))


class _Record:
    """A log record with its values plain."""

    def __init__(self, record: Mapping[str, Any], resource: Mapping[str, Any]) -> None:
        attributes = _attributes(record.get("attributes"))
        self.name = str(record.get("eventName") or attributes.get("event.name") or "")
        self.trace = str(record.get("traceId", ""))
        self.span = str(record.get("spanId", ""))
        self.fields = {**resource, **attributes}
        self.body = _plain(record.get("body"))

    def value(self, name: str) -> Any:
        """An attribute, or a member of the body; structured ones may come as JSON text."""
        found = self.fields.get(name)
        if found is None and isinstance(self.body, Mapping):
            found = self.body.get(name, self.body.get(name.removeprefix("gen_ai.")))
        if isinstance(found, str) and found[:1] in ("[", "{"):
            try:
                return json.loads(found)
            except ValueError:
                return found
        return found

    def row(self, turns: list[Any]) -> Mapping[str, Any]:
        """The row of an exchange."""
        kept = {name: value for name, value in self.fields.items() if not isinstance(value, list | dict)}
        identity = self.fields.get("gen_ai.response.id") or ":".join(filter(None, (self.trace, self.span)))
        return {**kept, **({KEY: str(identity)} if identity else {}), "messages": turns}


def _records(batch: Mapping[str, Any]) -> Iterator[_Record]:
    for resource_logs in batch["resourceLogs"]:
        resource = _attributes(object_at(resource_logs, "resource").get("attributes"))
        for scope_logs in _list(resource_logs, "scopeLogs"):
            for record in _list(scope_logs, "logRecords"):
                if isinstance(record, Mapping):
                    yield _Record(record, resource)


def _exchange(record: _Record) -> Mapping[str, Any]:
    asked, answered = record.value("gen_ai.input.messages"), record.value("gen_ai.output.messages")
    if not isinstance(asked, list) or not isinstance(answered, list) or not answered:
        problem = "the event has no messages; let the instrumentation capture message content"
        raise Rejected(Reason.BAD_MESSAGES, problem)
    system = record.value("gen_ai.system_instructions")
    turns = [{"role": "system", "content": system}] if isinstance(system, list) and system else []
    turns += [_turn(each) for each in [*asked, answered[0]]]
    return record.row(turns)


def _turn(message: Any) -> dict[str, Any]:
    parts = message.get("parts") if isinstance(message, Mapping) else None
    content = parts if isinstance(parts, list) else object_at({"m": message}, "m").get("content")
    return {"role": message.get("role") if isinstance(message, Mapping) else None, "content": content}


def _spoken(records: list[_Record]) -> Mapping[str, Any] | None:
    """The exchange that the events of a span tell; None without an answer."""
    turns: list[Any] = []
    answer: Mapping[str, Any] | None = None
    for record in records:
        body = record.body if isinstance(record.body, Mapping) else {}
        if record.name == _CHOICE:
            said = object_at(body, "message").get("content")
            if answer is None and isinstance(said, str) and str(body.get("index", 0)) == "0":
                answer = {"role": "assistant", "content": said}
        else:
            turns.append({"role": body.get("role") or _TURNS[record.name], "content": body.get("content")})
    return records[-1].row([*turns, answer]) if turns and answer else None


def _list(value: Any, name: str) -> list[Any]:
    found = value.get(name) if isinstance(value, Mapping) else None
    return found if isinstance(found, list) else []


def _attributes(pairs: Any) -> dict[str, Any]:
    return {
        str(pair.get("key")): _plain(pair.get("value"))
        for pair in (pairs if isinstance(pairs, list) else [])
        if isinstance(pair, Mapping)
    }


def _plain(value: Any) -> Any:
    """An AnyValue of OTLP as a plain value; 64-bit numbers come as text."""
    if not isinstance(value, Mapping):
        return value
    if "intValue" in value:
        return int(value["intValue"])
    for name in ("stringValue", "boolValue", "doubleValue", "bytesValue"):
        if name in value:
            return value[name]
    if "arrayValue" in value:
        return [_plain(item) for item in _list(value["arrayValue"], "values")]
    return _attributes(object_at(value, "kvlistValue").get("values")) if "kvlistValue" in value else None
