"""From a source's row to a record, by the source's mapping. Pure; standard library only."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from collections.abc import Mapping as AbstractMapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sartor_datasets.records import Record, content_id, withdrawal_id

from sartor_ingestion import shapes
from sartor_ingestion.contract import Breaches, Contract
from sartor_ingestion.formats.json_values import too_deep
from sartor_ingestion.rejection import Reason, Rejected, shown
from sartor_ingestion.shapes import Content, Shape, is_scalar, scalar_of, scalar_text

MAX_RECORD_CHARACTERS = 1_048_576
MAX_KEY_CHARACTERS = 512
KINDS = ("auto", "chat", "prompt_completion", "labelled", "document", "preference")
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
    chosen: str = "chosen"
    rejected: str = "rejected"
    key_may_be_missing: bool = False
    """A row without its key is known by its content; for rows of adapters, not for mappings of people."""
    max_document_characters: int = 0
    """Of a passage of a document; 0 is sections.MAX_CHARACTERS."""


@dataclass(frozen=True, slots=True)
class Mapper:
    """Maps the rows of one source."""

    source: str
    mapping: Mapping
    subject_secret: bytes
    """The project's key for pseudonyms: the same person has the same subject_key throughout a project."""
    contract: Contract = field(default_factory=Contract)
    breaches: Breaches = field(default_factory=Breaches)
    """Of the contract, counted as rows come."""

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
            if self.contract.is_set:
                self._check_contract(row, position)
            return self._upsert(row, position, event_time)
        except UnicodeEncodeError as error:
            raise Rejected(
                Reason.NOT_UTF8, "the text holds half of a surrogate pair, so it is not text"
            ) from error
        except RecursionError as error:
            raise too_deep() from error

    def _check_contract(self, row: Row, position: str) -> None:
        contract = self.contract
        label = shapes.label_field(row, self.mapping)
        found = list(contract.breaches(row, label))
        if not found:
            return
        self.breaches.add(found, position)
        if contract.on_breach != "report":
            raise Rejected(Reason.CONTRACT_BREACH, "; ".join(breach.message for breach in found)[:1000])

    def _withdraws(self, row: Row) -> bool:
        op = row.get(self.mapping.op or "op")
        if isinstance(op, str) and op.strip().lower() in _WITHDRAWALS:
            return True
        if self.mapping.op and op not in (None, "", "upsert"):
            known = "upsert, withdraw or delete"
            raise Rejected(Reason.UNKNOWN_OP, f"field {self.mapping.op!r} must hold {known}, not {shown(op)}")
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
        content = self._content(row)
        attributes = self._attributes(row)
        if content.attributes:
            attributes.update(content.attributes)
        size = len(content.text) + len(content.label) + len(content.chosen) + len(content.rejected)
        size += sum(len(message.content) for message in content.messages)
        size += sum(len(value) for value in attributes.values())
        if size > MAX_RECORD_CHARACTERS:
            raise Rejected(
                Reason.TOO_LARGE, f"the record has {size} characters; at most {MAX_RECORD_CHARACTERS}"
            )
        subject_key = self._subject_key(row)
        record_id = content_id(
            kind=content.kind,
            messages=content.messages,
            text=content.text,
            label=content.label,
            attributes=attributes,
            subject_key=subject_key,
            chosen=content.chosen,
            rejected=content.rejected,
        )
        return Record(
            record_id=record_id,
            record_key=self._key(row) or record_id,
            kind=content.kind,
            messages=content.messages,
            text=content.text,
            label=content.label,
            attributes=attributes,
            subject_key=subject_key,
            source=self.source,
            position=position,
            event_time=event_time,
            chosen=content.chosen,
            rejected=content.rejected,
        )

    def _content(self, row: Row) -> Content:
        mapping = self.mapping
        shape = self._shape(row)
        if shape in (Shape.CHAT, Shape.SHAREGPT):
            named = row.get(mapping.messages) is not None
            turns = next(
                (name for name in shapes.CONVERSATIONS if not named and name in row), mapping.messages
            )
            return shapes.chat(row, turns)
        return _READERS[shape](row, mapping)

    def _shape(self, row: Row) -> Shape:
        """The shape that the mapping states, or else that of the row."""
        mapping = self.mapping
        if mapping.kind == "preference" and row.get(mapping.completion) is not None:
            return Shape.UNPAIRED_PREFERENCE if isinstance(row.get(mapping.label), bool) else Shape.PREFERENCE
        if mapping.kind != "auto":
            return Shape(mapping.kind)
        shape = shapes.shape_of(row, mapping)
        if shape is None:
            known = (
                f"{mapping.messages!r}, {mapping.prompt!r} with {mapping.completion!r}, or {mapping.text!r}"
            )
            fields = ", ".join(repr(name) for name in list(row)[:10]) or "no fields"
            raise Rejected(Reason.KIND_UNDECIDED, f"a row needs {known}; this one has {fields}"[:500])
        return shape

    def _key(self, row: Row) -> str:
        if not self.mapping.key or (self.mapping.key_may_be_missing and self.mapping.key not in row):
            return ""
        key = scalar_of(row, self.mapping.key)
        if not key or len(key) > MAX_KEY_CHARACTERS or "\0" in key:
            limits = f"1 to {MAX_KEY_CHARACTERS} characters, no NUL"
            raise Rejected(Reason.BAD_KEY, f"field {self.mapping.key!r} must be a key of {limits}")
        return key

    def _subject_key(self, row: Row) -> str:
        if not self.mapping.subject or row.get(self.mapping.subject) in (None, ""):
            return ""
        return pseudonym(scalar_of(row, self.mapping.subject), self.subject_secret)

    def _attributes(self, row: Row) -> dict[str, str]:
        found = {}
        for name in self.mapping.attributes:
            value = row.get(name)
            if value is not None:
                found[name] = scalar_text(value) if is_scalar(value) else _json(value)
        return found


_READERS: dict[Shape, Callable[[Row, Mapping], Content]] = {
    Shape.PREFERENCE: shapes.preference,
    Shape.UNPAIRED_PREFERENCE: shapes.unpaired_preference,
    Shape.PROMPT_COMPLETION: shapes.prompt_completion,
    Shape.ALPACA: shapes.alpaca,
    Shape.LABELLED: shapes.labelled,
    Shape.DOCUMENT: shapes.document,
}


def pseudonym(subject: str, secret: bytes) -> str:
    """The subject_key of a person: the same throughout a project, and of no use without its secret."""
    return hmac.new(secret, subject.encode(), hashlib.sha256).hexdigest()[:32]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str)
