"""Question and answer of a sampled request as text, with the personal data masked before anything is kept."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from sartor_text.pii import find_pii

_MOST_CHARACTERS = 20_000
CLASSIFIED = "classification"
"""Marks the question of a classification: what corrects it is a label."""


def masked(text: str) -> str:
    """The text with each finding replaced by kind and number, as [EMAIL_1]; one number for one value."""
    counts: Counter[str] = Counter()
    places: dict[tuple[str, str], str] = {}
    pieces, at = [], 0
    text = storable(text[:_MOST_CHARACTERS])
    for finding in find_pii(text):
        key = (finding.kind.value, finding.value)
        if key not in places:
            counts[finding.kind.value] += 1
            places[key] = f"[{finding.kind.value}_{counts[finding.kind.value]}]"
        pieces += [text[at : finding.start], places[key]]
        at = finding.end
    return "".join([*pieces, text[at:]])


def storable(text: str) -> str:
    """The text without what no database column takes: NUL, and halves of surrogate pairs."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def masked_json(value: Any) -> Any:
    """The same with every string in it."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, list):
        return [masked_json(each) for each in value]
    if isinstance(value, dict):
        return {storable(key): masked_json(each) for key, each in value.items()}
    return value


def question_of(body: bytes) -> Any:
    """The messages of a chat, or the prompt of a completion or the text of a classification as one."""
    asked = json.loads(body)
    if "messages" in asked:
        return [{"role": str(m.get("role", "")), "content": m.get("content", "")} for m in asked["messages"]]
    if "input" in asked:  # to be classified: of several texts the first
        given = asked["input"]
        text = given[0] if isinstance(given, list) and given else given
        return [{"role": "user", "content": text, "kind": CLASSIFIED}]
    return [{"role": "user", "content": asked.get("prompt", "")}]


def answer_text(body: bytes) -> str:
    """The text of an answer, whole or streamed."""
    if not body.startswith(b"data:"):
        if label := _label(body):
            return label
        return "".join(_content(choice) for choice in _choices(body))
    events = (line[5:] for line in body.split(b"\n") if line.startswith(b"data:"))
    return "".join(_content(choice) for event in events for choice in _choices(event))


def _label(body: bytes) -> str:
    """What was said of the first text that was to be classified."""
    try:
        data = json.loads(body).get("data") or [{}]
    except (ValueError, AttributeError):
        return ""
    first = data[0] if isinstance(data, list) and isinstance(data[0], dict) else {}
    return f"{first['value']:g}" if "value" in first else "|".join(first.get("labels", ()))


def _choices(data: bytes) -> list[Any]:
    try:
        value = json.loads(data)
    except ValueError:
        return []  # the stream's last line, [DONE], or a line that broke off
    return value.get("choices", []) if isinstance(value, dict) else []


def _content(choice: Any) -> str:
    said = choice.get("message") or choice.get("delta") or {}
    return str(said.get("content") or choice.get("text") or "")
