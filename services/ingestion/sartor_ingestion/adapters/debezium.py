"""Change events of Debezium in JSON: creations, updates and reads are upserts, deletions withdraw.

With and without the schema wrapper (`value.converter.schemas.enable`), and flattened by its
ExtractNewRecordState. See "Connectors" in Debezium's documentation: a change event's key is the row's primary
key, its value has `op`, `before`, `after` and `source`; a deletion is followed by a tombstone of its key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sartor_ingestion.adapters.messages import KEY, BadMessage, Message, Said, json_of, object_at

_UPSERTS = ("c", "u", "r")
_LONE = "_value"


def read(message: Message, tables: Sequence[str] = (), op_field: str = "op") -> Said:
    """The row that a change leaves, or its withdrawal; nothing for other tables' changes.

    Args:
        tables: as `schema.table` or `table`; empty takes all.
        op_field: the field by which the source's mapping knows a withdrawal.
    Raises:
        BadMessage: BAD_MESSAGE, BAD_CHANGE_EVENT, TRUNCATE_NOT_SUPPORTED.
    """
    key = _key(message.key)
    if message.value is None:
        # After a compaction of the topic the tombstone may be all that tells of the deletion.
        return Said(rows=(_withdrawal(key, {}, op_field),)) if key and not tables else Said()
    change = _payload(json_of(message.value, "change event"))
    if not tables or _is_of(change, tables):
        return _said(change, key, op_field)
    return Said()


def _said(change: Mapping[str, Any], key: Mapping[str, Any], op_field: str) -> Said:
    op = change.get("op")
    if "after" not in change and "before" not in change:
        return _flattened(change, key, op_field)
    if op in _UPSERTS:
        after = change.get("after")
        if not isinstance(after, Mapping):
            raise BadMessage("BAD_CHANGE_EVENT", f"a change event of op {op!r} must have the row in `after`")
        return Said(rows=(_identified(after, key),))
    if op == "d":
        return Said(rows=(_withdrawal(key, object_at(change, "before"), op_field),))
    if op == "t":
        message = "a TRUNCATE withdraws no single record; withdraw them by their keys"
        raise BadMessage("TRUNCATE_NOT_SUPPORTED", message)
    if op == "m":  # a message in the log of PostgreSQL
        return Said()
    raise BadMessage("BAD_CHANGE_EVENT", f"a change event's op is c, u, d, r, t or m, not {op!r}")


def _flattened(row: Mapping[str, Any], key: Mapping[str, Any], op_field: str) -> Said:
    """A row alone, as ExtractNewRecordState leaves it, with `__op` or `__deleted` where it adds them."""
    if row.get("op") in ("m", "t"):
        return _said({**row, "after": None}, key, op_field)
    plain = {name: value for name, value in row.items() if not name.startswith("__")}
    if str(row.get("__deleted", "")).lower() == "true" or row.get("__op") == "d":
        return Said(rows=(_withdrawal(key, plain, op_field),))
    return Said(rows=(_identified(plain, key),))


def _identified(row: Mapping[str, Any], key: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row with its primary key as one text, for sources that name no key field."""
    return {**row, KEY: _text(key)} if key else row


def _withdrawal(key: Mapping[str, Any], before: Mapping[str, Any], op_field: str) -> Mapping[str, Any]:
    if not key and not before:
        raise BadMessage(
            "BAD_CHANGE_EVENT", "a deletion must name its row by the message's key or in `before`"
        )
    return {**_identified({**before, **key}, key), op_field: "withdraw"}


def _text(key: Mapping[str, Any]) -> str:
    """A key of one column as its value, of several as JSON."""
    values = list(key.values())
    if len(values) == 1 and isinstance(values[0], str | int):
        return str(values[0])
    return json.dumps(dict(sorted(key.items())), ensure_ascii=False, separators=(",", ":"))


def _key(raw: bytes | None) -> dict[str, Any]:
    """The primary key's columns; empty for a table without one."""
    if not raw:
        return {}
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadMessage(
            "BAD_CHANGE_EVENT", "the message's key is not JSON; use Debezium's JSON converter"
        ) from error
    payload = _payload(found) if isinstance(found, dict) else found
    if isinstance(payload, dict):
        return payload
    return {} if payload is None else {_LONE: payload}


def _payload(message: dict[str, Any]) -> Any:
    """What is in the schema wrapper, or the message where there is none."""
    if message.keys() <= {"schema", "payload"} and "payload" in message:
        payload = message["payload"]
        return {} if payload is None else payload
    return message


def _is_of(change: Mapping[str, Any], tables: Sequence[str]) -> bool:
    source = object_at(change, "source")
    table = str(source.get("table") or source.get("collection") or change.get("__table") or "")
    return any(
        name in tables for name in (table, f"{source.get('schema')}.{table}", f"{source.get('db')}.{table}")
    )
