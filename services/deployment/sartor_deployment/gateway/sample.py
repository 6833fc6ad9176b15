"""Question and answer of a sampled request as text, with the personal data masked before anything is kept."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, TypeGuard

from sartor_text.pii import EVERY_KIND
from sartor_text.pseudonyms import mask

MOST_CHARACTERS = 20_000
"""Of one text that is kept."""
CLASSIFIED = "classification"
"""Marks the question of a classification: what corrects it is a label."""


def storable(text: str) -> str:
    """The text without what no database column takes: NUL, and halves of surrogate pairs."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def is_storable(value: Any) -> TypeGuard[str]:
    """Whether it is text that can be kept as it is: not too long, and `storable` changes nothing in it."""
    return isinstance(value, str) and len(value) <= MOST_CHARACTERS and storable(value) == value


def masked_json(value: Any) -> Any:
    """The value with personal data and secrets in its strings replaced by kind and number, as [EMAIL_1].

    One number for one value in all of them.
    """
    return _with_strings(value, iter(mask(list(_strings(value)), EVERY_KIND).texts))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield storable(value[:MOST_CHARACTERS])
    elif isinstance(value, list | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)


def _with_strings(value: Any, texts: Iterator[str]) -> Any:
    """The value with these texts in the places of its strings, in the order of `_strings`."""
    if isinstance(value, str):
        return next(texts)
    if isinstance(value, list):
        return [_with_strings(each, texts) for each in value]
    if isinstance(value, dict):
        return {storable(key): _with_strings(each, texts) for key, each in value.items()}
    return value


def question_of(body: bytes) -> Any:
    """The messages of a chat, or the prompt of a completion or the text of a classification as one."""
    asked = json.loads(body)
    if "messages" in asked:
        return [{"role": str(m.get("role", "")), "content": _said(m)} for m in asked["messages"]]
    if "input" in asked:  # to be classified: of several texts the first
        given = asked["input"]
        text = given[0] if isinstance(given, list) and given else given
        return [{"role": "user", "content": text, "kind": CLASSIFIED}]
    return [{"role": "user", "content": asked.get("prompt", "")}]


def _said(message: dict[str, Any]) -> Any:
    """What a message says: its content, and in its place or below it the calls it makes."""
    content = message.get("content")
    calls = _calls(message.get("tool_calls") or ())
    if not calls:
        return "" if content is None else content
    return f"{content}\n{calls}" if content and isinstance(content, str) else calls


def answer_text(body: bytes) -> str:
    """The text of an answer, whole or streamed, with the calls it makes; of several (`n`) the first."""
    if not body.startswith(b"data:"):
        if label := _label(body):
            return label
        return "".join(str(_said(_message(choice)) or choice.get("text") or "") for choice in _choices(body))
    events = (line[5:] for line in body.split(b"\n") if line.startswith(b"data:"))
    text, calls = "", dict[int, dict[str, Any]]()
    for choice in (choice for event in events for choice in _choices(event)):
        delta = _message(choice)
        text += str(delta.get("content") or choice.get("text") or "")
        for piece in delta.get("tool_calls") or ():
            whole = calls.setdefault(piece.get("index", 0), {"name": "", "arguments": ""})
            for key, value in (piece.get("function") or {}).items():
                whole[key] = f"{whole.get(key, '')}{value}"
    return str(_said({"content": text, "tool_calls": [{"function": each} for each in calls.values()]}))


def agreement(one: str, other: str) -> float:
    """F1 of the words of two answers, 0 to 1; 1 where both are empty."""
    mine, theirs = Counter(one.casefold().split()), Counter(other.casefold().split())
    if not mine and not theirs:
        return 1.0
    return 2 * (mine & theirs).total() / (mine.total() + theirs.total())


def _calls(calls: Iterable[Any]) -> str:
    """One line a call: `name arguments`."""
    functions = (each.get("function") or {} for each in calls)
    return "\n".join(f"{each.get('name', '')} {each.get('arguments', '')}" for each in functions)


def _message(choice: Any) -> dict[str, Any]:
    said = choice.get("message") or choice.get("delta") or {}
    return said if isinstance(said, dict) else {}


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
    choices = value.get("choices", []) if isinstance(value, dict) else []
    return [choice for choice in choices if not choice.get("index")]  # of several answers the first
