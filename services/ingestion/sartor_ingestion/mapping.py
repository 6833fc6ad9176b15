"""From a source's row to a record, by the source's mapping. Pure; standard library only."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping as AbstractMapping
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sartor_datasets.records import ROLES, Message, Record, content_id, withdrawal_id

from sartor_ingestion.rejection import Reason, Rejected

MAX_RECORD_CHARACTERS = 1_048_576
MAX_KEY_CHARACTERS = 512
KINDS = ("auto", "chat", "prompt_completion", "labelled", "document")
_WITHDRAWALS = ("withdraw", "delete")

Row = AbstractMapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """Which field of a row holds what. An empty `key`, `subject` or `system` means that there is none."""

    kind: str = "auto"
    messages: str = "messages"
    prompt: str = "prompt"
    completion: str = "completion"
    system: str = ""
    text: str = "text"
    label: str = "label"
    key: str = ""
    subject: str = ""
    op: str = ""
    attributes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mapper:
    """Maps the rows of one source."""

    source: str
    mapping: Mapping
    subject_secret: bytes
    """The project's key for pseudonyms: the same person has the same subject_key throughout a project."""

    def record(self, row: Any, position: str, event_time: datetime) -> Record:
        """The record of a row.

        Raises:
            Rejected: the row cannot become a record; nothing else is raised, whatever the row holds.
        """
        if not isinstance(row, AbstractMapping):
            raise Rejected(Reason.NOT_AN_OBJECT, "a row must be an object with named fields")
        try:
            if self._withdraws(row):
                return self._withdrawal(row, position, event_time)
            return self._upsert(row, position, event_time)
        except UnicodeEncodeError as error:
            raise Rejected(
                Reason.NOT_UTF8, "the text holds half of a surrogate pair, so it is not text"
            ) from error

    def _withdraws(self, row: Row) -> bool:
        op = row.get(self.mapping.op or "op")
        if isinstance(op, str) and op.strip().lower() in _WITHDRAWALS:
            return True
        if self.mapping.op and op not in (None, "", "upsert"):
            known = "upsert, withdraw or delete"
            raise Rejected(
                Reason.UNKNOWN_OP, f"field {self.mapping.op!r} must hold {known}, not {_shown(op)}"
            )
        return False

    def _withdrawal(self, row: Row, position: str, event_time: datetime) -> Record:
        key = self._key(row)
        if not key:
            message = "a withdrawal needs a key, but the source's mapping names no key field; set mapping.key"
            raise Rejected(Reason.FIELD_MISSING, message)
        return Record(
            record_id=withdrawal_id(key),
            record_key=key,
            op="withdraw",
            kind="document",
            attributes={},
            source=self.source,
            position=position,
            event_time=event_time,
        )

    def _upsert(self, row: Row, position: str, event_time: datetime) -> Record:
        kind, messages, text, label = self._content(row)
        attributes = self._attributes(row)
        size = len(text) + len(label) + sum(len(m.content) for m in messages)
        size += sum(len(value) for value in attributes.values())
        if size > MAX_RECORD_CHARACTERS:
            raise Rejected(
                Reason.TOO_LARGE, f"the record has {size} characters; at most {MAX_RECORD_CHARACTERS}"
            )
        subject_key = self._subject_key(row)
        record_id = content_id(
            kind=kind,
            messages=messages,
            text=text,
            label=label,
            attributes=attributes,
            subject_key=subject_key,
        )
        return Record(
            record_id=record_id,
            record_key=self._key(row) or record_id,
            kind=kind,
            messages=messages,
            text=text,
            label=label,
            attributes=attributes,
            subject_key=subject_key,
            source=self.source,
            position=position,
            event_time=event_time,
        )

    def _content(self, row: Row) -> tuple[str, tuple[Message, ...], str, str]:
        """Kind, messages, text and label of a row."""
        mapping = self.mapping
        kind = self._decide(row) if mapping.kind == "auto" else mapping.kind
        if kind == "chat":
            return "chat", _messages(_present(row, mapping.messages)), "", ""
        if kind == "prompt_completion":
            turns = [
                Message("user", _text(row, mapping.prompt)),
                Message("assistant", _text(row, mapping.completion)),
            ]
            if mapping.system and row.get(mapping.system):
                turns.insert(0, Message("system", _text(row, mapping.system)))
            return "chat", tuple(turns), "", ""
        if kind == "labelled":
            return "labelled", (), _text(row, mapping.text), _scalar(row, mapping.label)
        return "document", (), _text(row, mapping.text), ""

    def _decide(self, row: Row) -> str:
        """The kind of a row by the fields that it has."""
        mapping = self.mapping

        def has(*names: str) -> bool:
            return all(row.get(name) is not None for name in names)

        if has(mapping.messages):
            return "chat"
        if has(mapping.prompt, mapping.completion):
            return "prompt_completion"
        if has(mapping.text, mapping.label):
            return "labelled"
        if has(mapping.text):
            return "document"
        known = f"{mapping.messages!r}, {mapping.prompt!r} with {mapping.completion!r}, or {mapping.text!r}"
        fields = ", ".join(repr(name) for name in list(row)[:10]) or "no fields"
        raise Rejected(Reason.KIND_UNDECIDED, f"a row needs {known}; this one has {fields}"[:500])

    def _key(self, row: Row) -> str:
        if not self.mapping.key:
            return ""
        key = _scalar(row, self.mapping.key)
        if not key or len(key) > MAX_KEY_CHARACTERS or "\0" in key:
            limits = f"1 to {MAX_KEY_CHARACTERS} characters, no NUL"
            raise Rejected(Reason.BAD_KEY, f"field {self.mapping.key!r} must be a key of {limits}")
        return key

    def _subject_key(self, row: Row) -> str:
        if not self.mapping.subject or row.get(self.mapping.subject) in (None, ""):
            return ""
        subject = _scalar(row, self.mapping.subject)
        return hmac.new(self.subject_secret, subject.encode(), hashlib.sha256).hexdigest()[:32]

    def _attributes(self, row: Row) -> dict[str, str]:
        found = {}
        for name in self.mapping.attributes:
            value = row.get(name)
            if value is not None:
                found[name] = _scalar_text(value) if _is_scalar(value) else _json(value)
        return found


def _present(row: Row, name: str) -> Any:
    value = row.get(name)
    if value is None:
        fields = ", ".join(repr(field) for field in list(row)[:10]) or "no fields"
        raise Rejected(Reason.FIELD_MISSING, f"the row has no field {name!r}; it has {fields}"[:500])
    return value


def _text(row: Row, name: str) -> str:
    value = _present(row, name)
    if not isinstance(value, str):
        raise Rejected(Reason.FIELD_TYPE, f"field {name!r} must be text, not {_shown(value)}")
    return value


def _scalar(row: Row, name: str) -> str:
    value = _present(row, name)
    if not _is_scalar(value):
        raise Rejected(Reason.FIELD_TYPE, f"field {name!r} must be text or a number, not {_shown(value)}")
    return _scalar_text(value)


def _is_scalar(value: Any) -> bool:
    return not isinstance(value, AbstractMapping | list | tuple)


def _scalar_text(value: Any) -> str:
    """Text of a value: 5 and 5.0 are both "5", since JSON does not tell them apart."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _messages(value: Any) -> tuple[Message, ...]:
    """The turns of a chat; in CSV they come as JSON text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise Rejected(Reason.BAD_MESSAGES, "the messages are text, but not JSON") from error
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise Rejected(
            Reason.BAD_MESSAGES, f"the messages must be a list with at least one turn, not {_shown(value)}"
        )
    return tuple(_message(i, turn) for i, turn in enumerate(value))


def _message(index: int, turn: Any) -> Message:
    if not isinstance(turn, AbstractMapping):
        raise Rejected(Reason.BAD_MESSAGES, f"message {index} must be an object with role and content")
    role, content = turn.get("role"), turn.get("content")
    if role not in ROLES:
        raise Rejected(
            Reason.BAD_MESSAGES, f"message {index} must have a role of {', '.join(ROLES)}, not {_shown(role)}"
        )
    if not isinstance(content, str):
        raise Rejected(
            Reason.BAD_MESSAGES, f"the content of message {index} must be text, not {_shown(content)}"
        )
    return Message(role, content)


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    text = repr(value) if isinstance(value, str | int | float) else type(value).__name__
    return text if len(text) <= 60 else text[:59] + "…"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)
