"""A user's word about an answer: checked at once, and kept with what the gateway must know of the answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sartor_edge.feedback import FeedbackBuffer
from sartor_edge.feedback_rule import FeedbackRule, Text, rule_of

_KNOWN = {"id", "request_id", "thumbs", "score", "correction", "comment", "messages", "answer"}
_TEXTS = ("id", "request_id", "correction", "comment", "answer")
_MOST_CHARACTERS = 20_000
_MOST_MESSAGES = 100


class BadNote(Exception):
    """What was said has not the form that a gateway takes; the message says what is wrong."""


class BufferFull(Exception):
    """So much waits that no more is kept."""


@dataclass(frozen=True, slots=True)
class Kept:
    """How many notes were kept, and what will not come of them."""

    count: int
    hint: str


def keep_notes(home: Path, notes: Sequence[dict[str, Any]]) -> Kept:
    """Check them all, then keep them all, until `feedback` sends them.

    Args:
        notes: each {"request_id", "thumbs" or "score", "correction", "comment", "messages", "answer"}; the
            last two are what was asked and answered.
    Raises:
        BadNote: nothing was kept.
        BufferFull: not all were kept.
    """
    for number, note in enumerate(notes, 1):
        try:
            _check(note)
        except BadNote as error:
            raise BadNote(f"note {number}: {error}" if len(notes) > 1 else str(error)) from None
    rule, buffer = rule_of(home), FeedbackBuffer(home / "feedback.jsonl")
    for number, note in enumerate([_with_origin(each, rule) for each in notes]):
        if not buffer.add(note):
            waits = f"{number} of {len(notes)} notes were kept"
            raise BufferFull(f"{waits}: what waits fills the buffer. Send it: python -m sartor_edge feedback")
    return Kept(len(notes), _hint(notes, rule))


def read_notes(lines: Iterable[str]) -> list[dict[str, Any]]:
    """Notes as JSON, one a line.

    Raises:
        BadNote.
    """
    notes = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            notes.append(json.loads(line))
        except ValueError as error:
            raise BadNote(f"line {number} is no JSON: {error}") from None
    if not notes:
        raise BadNote("there are no notes; give one JSON object a line")
    return notes


def _check(note: Any) -> None:
    if not isinstance(note, dict):
        raise BadNote("a note is a JSON object")
    unknown = sorted(set(note) - _KNOWN)
    if unknown:
        raise BadNote(f"{unknown[0]!r} is not known; there are {', '.join(sorted(_KNOWN))}")
    for name in _TEXTS:
        if note.get(name) is not None:
            _check_text(note[name], name)
    if not (note.get("request_id") or "").strip():
        raise BadNote("the answer's id is missing: `id` in what the engine answered")
    thumbs, score = note.get("thumbs"), note.get("score")
    if thumbs is not None and (thumbs not in ("up", "down") or score is not None):
        raise BadNote('thumbs are "up" or "down", without a score')
    if score is not None and (
        isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1
    ):
        raise BadNote("a score is a number from 0 to 1")
    if thumbs is None and score is None and not any(_said(note, each) for each in ("correction", "comment")):
        raise BadNote("say something: thumbs, a score, a correction or a comment")
    messages = note.get("messages")
    if messages is not None and (not isinstance(messages, list) or len(messages) > _MOST_MESSAGES):
        raise BadNote(f"messages are a list of at most {_MOST_MESSAGES}")
    for each in messages or []:
        if not isinstance(each, dict) or set(each) != {"role", "content"}:
            raise BadNote("each of the messages has a role and a content, nothing else")
        _check_text(each["role"], "role")
        _check_text(each["content"], "content")


def _check_text(value: Any, name: str) -> None:
    if isinstance(value, str) and len(value) <= _MOST_CHARACTERS and "\x00" not in value:
        try:
            value.encode()
            return
        except UnicodeEncodeError:
            pass  # half of a surrogate pair: told below
    raise BadNote(
        f"{name!r} must be text of at most {_MOST_CHARACTERS} characters, without NUL or broken ones"
    )


def _with_origin(note: dict[str, Any], rule: FeedbackRule) -> dict[str, Any]:
    """As it is sent: with the revision that answered, and with the text where the bundle lets it go along."""
    apart = {"messages", "answer"} | (set() if _said(note, "id") else {"id"})
    told = {name: value for name, value in note.items() if name not in apart and value is not None}
    if not rule.revision:
        return _masked(told, {})
    device: dict[str, Any] = {"revision": rule.revision}
    if rule.text is Text.ALWAYS or (rule.text is Text.CORRECTIONS and _said(note, "correction")):
        device["messages"] = [dict(each) for each in note.get("messages") or []]
        device["answer"] = note.get("answer") or ""
    return {**_masked(told, device), "device": device}


def _hint(notes: Sequence[dict[str, Any]], rule: FeedbackRule) -> str:
    corrected = [each for each in notes if _said(each, "correction")]
    if not rule.revision:
        return "the bundle does not tell its revision: a gateway takes what is said only of its own answers"
    if corrected and rule.text is Text.NEVER:
        return "the bundle lets no text go along, so corrections become no training records"
    if any(not each.get("messages") for each in corrected):
        return "a correction without its question becomes no training record"
    return ""


def _said(note: dict[str, Any], name: str) -> bool:
    return bool((note.get(name) or "").strip())


def _masked(note: dict[str, Any], device: dict[str, Any]) -> dict[str, Any]:
    """With personal data masked here already, where the package that finds it is installed.

    The gateway masks in any case before it stores anything.

    Raises:
        BadNote: it is installed only in part, so nothing could be masked.
    """
    if find_spec("sartor_text") is None:
        return note
    places: list[tuple[dict[str, Any], str]] = [(each, "content") for each in device.get("messages", ())]
    places += [(device, "answer")] if "answer" in device else []
    places += [(note, name) for name in ("correction", "comment") if name in note]
    try:
        from sartor_text.pii import EVERY_KIND
        from sartor_text.pseudonyms import mask

        masked = mask([where[name] for where, name in places], EVERY_KIND).texts
    except ImportError as error:
        text = f"personal data cannot be masked ({error}); install what is missing, or remove sartor-text"
        raise BadNote(text) from error
    for (where, name), text in zip(places, masked, strict=True):
        where[name] = text
    return note
