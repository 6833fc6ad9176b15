"""What a record is: one thing to learn from, with its identity and its way here. Standard library only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

Op = Literal["upsert", "withdraw"]
Kind = Literal["chat", "labelled", "document", "preference"]
Role = Literal["system", "user", "assistant"]
OPS: tuple[str, ...] = get_args(Op)
KINDS: tuple[str, ...] = get_args(Kind)
ROLES: tuple[str, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; `role` is one of ROLES."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record as it came in. A later record with the same `record_key` supersedes it."""

    record_id: str
    """SHA-256 in hex of the content, as `content_id` makes it."""
    record_key: str
    """Identity at the source; the record_id where the source gives none."""
    op: str = "upsert"
    kind: str
    messages: tuple[Message, ...] = ()
    """The turns of a chat, or those that a preference answers; else empty."""
    text: str = ""
    """The text of a labelled record or a document, else empty."""
    label: str = ""
    """The label of a labelled record, else empty."""
    attributes: Mapping[str, str]
    """Carried through as the source gave them: language, intent, group, split and the like."""
    subject_key: str = ""
    """The pseudonym of the person it is about, or empty."""
    source: str
    """projects/{project}/sources/{source}"""
    position: str
    """Where it stood: `sartor.data/3/1024#2` (event, index) or `import:{id}#17` (row)."""
    event_time: datetime
    """When it happened, in UTC."""
    chosen: str = ""
    """The better answer of a preference, else empty. Empty too where only a worse one is known."""
    rejected: str = ""
    """The worse answer of a preference, else empty. Empty too where only a better one is known."""


def content_id(
    *,
    kind: str,
    messages: Sequence[Message] = (),
    text: str = "",
    label: str = "",
    attributes: Mapping[str, str],
    subject_key: str = "",
    chosen: str = "",
    rejected: str = "",
) -> str:
    """SHA-256 in hex of the canonical JSON of what a reader could learn from: not of key, position or time.

    Two deliveries of the same content have the same id, so the second one adds nothing.
    Raises:
        UnicodeEncodeError: the text holds a lone surrogate and so is not text.
    """
    content = [kind, [[m.role, m.content] for m in messages], text, label, dict(attributes), subject_key]
    if chosen or rejected:  # so that the ids of all other kinds stay what they were before there were any
        content += [chosen, rejected]
    canonical = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def withdrawal_id(record_key: str) -> str:
    """The record_id of a withdrawal: it has no content, only the key that it takes away."""
    return hashlib.sha256(b"withdraw\0" + record_key.encode()).hexdigest()


def to_json(record: Record) -> str:
    """One line of ASCII JSON without NUL, fit for a text column; `from_json` gives the record back."""
    fields = [
        record.record_id,
        record.record_key,
        record.op,
        record.kind,
        [[message.role, message.content] for message in record.messages],
        record.text,
        record.label,
        dict(record.attributes),
        record.subject_key,
        record.source,
        record.position,
        record.event_time.astimezone(UTC).isoformat(),
    ]
    if record.chosen or record.rejected:
        fields += [record.chosen, record.rejected]
    return json.dumps(fields, separators=(",", ":"))


def from_json(line: str | bytes) -> Record:
    """The record that `to_json` wrote."""
    fields: list[Any] = json.loads(line)
    record_id, key, op, kind, messages, text, label, attributes, subject_key = fields[:9]
    source, position, time, *pair = fields[9:]
    chosen, rejected = pair or ("", "")
    return Record(
        record_id=record_id,
        record_key=key,
        op=op,
        kind=kind,
        messages=tuple(Message(role, content) for role, content in messages),
        text=text,
        label=label,
        attributes=attributes,
        subject_key=subject_key,
        source=source,
        position=position,
        event_time=datetime.fromisoformat(time),
        chosen=chosen,
        rejected=rejected,
    )
