"""Why a row is not accepted: every reason is named, counted and shown with the row's position."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

EXCERPT_CHARACTERS = 200


class Reason(StrEnum):
    """The reasons for rejecting a row. Constant: clients compare with them."""

    MALFORMED_JSON = "MALFORMED_JSON"
    """The line is not JSON."""
    TOO_DEEP = "TOO_DEEP"
    """The row is JSON with more levels of lists and objects than a record may have."""
    MALFORMED_CSV = "MALFORMED_CSV"
    """The line cannot be split into fields."""
    NOT_AN_OBJECT = "NOT_AN_OBJECT"
    """The row is JSON, but not an object with named fields."""
    NOT_UTF8 = "NOT_UTF8"
    """The bytes are not UTF-8, or the text holds half a surrogate pair."""
    COLUMN_COUNT = "COLUMN_COUNT"
    """The CSV row has more or fewer fields than the header."""
    FIELD_MISSING = "FIELD_MISSING"
    """A field that the mapping needs is absent or null."""
    FIELD_TYPE = "FIELD_TYPE"
    """A field holds another type than the mapping needs."""
    KIND_UNDECIDED = "KIND_UNDECIDED"
    """The mapping's kind is auto, and the row has the fields of no kind."""
    BAD_MESSAGES = "BAD_MESSAGES"
    """The messages are not a list of turns with a known role and text."""
    BAD_KEY = "BAD_KEY"
    """The key is empty, longer than 512 characters or contains NUL."""
    UNKNOWN_OP = "UNKNOWN_OP"
    """The mapped op field holds neither upsert nor withdraw nor delete."""
    TOO_LARGE = "TOO_LARGE"
    """The row is larger than a record may be."""
    UNSAFE_MEMBER = "UNSAFE_MEMBER"
    """A member of an archive is a link or device, leads out of its folder, or is packed too often."""
    MEMBER_UNREADABLE = "MEMBER_UNREADABLE"
    """A member of an archive is broken, encrypted or of no format that is known."""
    CONTRACT_BREACH = "CONTRACT_BREACH"
    """The row breaks a rule of the source's contract."""
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    """The source already holds as many records as its quota allows."""


class Rejected(Exception):
    """A row that cannot become a record: `reason` for machines, the message for people."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class Rejection:
    """A rejected row as it is kept."""

    source: str
    position: str
    reason: Reason
    message: str
    excerpt: str


def excerpt(row: Any) -> str:
    """The beginning of a row for people: at most EXCERPT_CHARACTERS of printable text."""
    if isinstance(row, bytes):
        text = row[: 4 * EXCERPT_CHARACTERS].decode("utf-8", "replace")
    elif isinstance(row, str):
        text = row[: 2 * EXCERPT_CHARACTERS]
    else:
        try:
            text = json.dumps(row, ensure_ascii=False, default=str)
        except (RecursionError, ValueError):
            text = "(nested too deep to be shown)"
    text = "".join(c if c.isprintable() else " " for c in text[: 2 * EXCERPT_CHARACTERS]).strip()
    return text if len(text) <= EXCERPT_CHARACTERS else text[: EXCERPT_CHARACTERS - 1] + "…"


def shown(value: Any) -> str:
    """A value for a message: short, and by its type where it is long in itself."""
    if value is None:
        return "null"
    text = repr(value) if isinstance(value, str | int | float) else type(value).__name__
    return text if len(text) <= 60 else text[:59] + "…"
