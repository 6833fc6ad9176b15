"""A mapping for rows that nobody has described yet, guessed from the names of their fields. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sartor_ingestion.mapping import Mapping as SourceMapping
from sartor_ingestion.shapes import shape_of

_PAIRS = (
    ("question", "answer"), ("query", "response"), ("query", "answer"), ("prompt", "response"),
    ("prompt", "answer"),
    ("instruction", "response"), ("instruction", "answer"), ("input", "output"), ("request", "response"),
    ("question", "response"), ("source", "target"), ("frage", "antwort"), ("user", "assistant"),
)  # fmt: skip
_TEXTS = (
    "text", "sentence", "content", "body", "message", "review", "comment", "description", "document",
    "article",
    "utterance", "query", "question", "summary", "nachricht", "betreff",
)  # fmt: skip
_LABELS = (
    "label", "labels", "category", "categories", "class", "intent", "topic", "sentiment", "target", "tag",
    "tags",
    "kategorie", "queue",
)  # fmt: skip
_KEYS = (
    "id",
    "_id",
    "uuid",
    "guid",
    "key",
    "record_id",
    "ticket_id",
    "row_id",
    "message_id",
    "doc_id",
    "url",
)
_PEOPLE = (
    "customer_id", "user_id", "customer", "customer_email", "email", "person_id", "kundennummer",
    "account_id",
)  # fmt: skip
_ATTRIBUTES = ("language", "lang", "split", "group", "locale", "source")


def suggest(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The part of a source's `mapping` that would read these rows; what needs no mapping is not in it.

    Empty where the fields' names tell nothing.
    """
    names = {name.lower(): name for row in rows for name in row if isinstance(name, str)}
    found: dict[str, Any] = {}
    if rows and sum(shape_of(row, SourceMapping()) is None for row in rows) > len(rows) // 2:
        found = _content(names)
        if not found:
            return {}
    for field, known in (("key", _KEYS), ("subject", _PEOPLE)):
        name = next((names[word] for word in known if word in names), "")
        if name and name not in found.values() and _is_key(field, name, rows):
            found[field] = name
    attributes = [names[word] for word in _ATTRIBUTES if word in names and names[word] not in found.values()]
    return {**found, "attributes": attributes} if attributes else found


def _content(names: Mapping[str, str]) -> dict[str, Any]:
    for question, answer in _PAIRS:
        if question in names and answer in names:
            return {"kind": "prompt_completion", "prompt": names[question], "completion": names[answer]}
    text = next((names[word] for word in _TEXTS if word in names), "")
    label = next((names[word] for word in _LABELS if word in names and names[word] != text), "")
    if text and label:
        return {"kind": "labelled", "text": text, "label": label}
    return {"kind": "document", "text": text} if text else {}


def _is_key(field: str, name: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a field tells rows apart. Of people, several rows may be about the same."""
    values = [str(row[name]) for row in rows if row.get(name) not in (None, "")]
    return bool(values) and (field == "subject" or len(values) == len(set(values)) == len(rows))
