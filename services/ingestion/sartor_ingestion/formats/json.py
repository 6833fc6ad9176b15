"""JSON documents: a list of objects, objects one after another, or one object that holds the list."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from sartor_ingestion.formats import json_values
from sartor_ingestion.formats.encodings import open_utf8
from sartor_ingestion.formats.rows import MAX_ROW_BYTES, BadRow, FileUnreadable, Row
from sartor_ingestion.rejection import Reason, Rejected, excerpt
from sartor_ingestion.shapes import ROW_FIELDS

MAX_DOCUMENT_BYTES = 67_108_864
"""Of one object that holds all rows: it is read whole. Lists of objects may be of any size."""
_READ_CHARACTERS = 262_144
_SPACE = " \t\r\n"


def read(path: Path) -> Iterator[Row | BadRow]:
    """The objects of a file, a few in memory at a time; `number` counts them. `end` counts characters.

    Raises:
        FileUnreadable: MALFORMED_JSON where the document breaks off or is no JSON, ROW_TOO_LARGE.
    """
    with io.TextIOWrapper(open_utf8(path), encoding="utf-8-sig", errors="replace") as file:
        values = _Values(file)
        listed = values.opens_list()
        for number, value in enumerate(values, start=1):
            if number == 1 and not listed and isinstance(value, dict) and values.at_end():
                yield from _unwrapped(value, values.position)
                return
            yield _row(number, value, values.position)


def holds_rows(text: bytes) -> bool:
    """Whether a JSON text is one object that is no row itself, but holds a list of them."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and bool(_lists(document))


def _lists(document: dict[str, Any]) -> list[list[Any]]:
    if ROW_FIELDS & document.keys():
        return []
    return [
        item for item in document.values() if isinstance(item, list) and item and isinstance(item[0], dict)
    ]


def _unwrapped(document: dict[str, Any], end: int) -> Iterator[Row | BadRow]:
    """The rows of a document that is one object: of the longest list of objects in it, or itself."""
    lists = _lists(document)
    if not lists:
        yield _row(1, document, end)
        return
    rows = max(lists, key=len)
    for number, value in enumerate(rows, start=1):
        yield _row(number, value, end * number // len(rows))


def _row(number: int, value: Any, end: int) -> Row | BadRow:
    try:
        json_values.check_depth(value)
    except Rejected as error:
        return BadRow(number, error.reason, error.message, "")
    if isinstance(value, dict):
        return Row(number, value, end)
    message = f"the row must be a JSON object, not {type(value).__name__}"
    return BadRow(number, Reason.NOT_AN_OBJECT, message, excerpt(value))


class _Values:
    """The values of a list, or those that follow one another, decoded as they come."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._at = 0
        self._before = 0
        self._ended = False
        self._listed = False
        self._closed = False
        self._decoder = json.JSONDecoder(parse_constant=json_values.refuse_constant)

    @property
    def position(self) -> int:
        """Characters read so far."""
        return self._before + self._at

    def opens_list(self) -> bool:
        """Step into the list, where the document is one."""
        self._listed = self._next() == "["
        self._at += self._listed
        return self._listed

    def at_end(self) -> bool:
        """Whether no further value follows."""
        return not self._next()

    def __iter__(self) -> Iterator[Any]:
        first = True
        while following := self._next():
            if self._closed:
                raise _malformed(self.position, "something follows the list")
            if self._listed and following == "]":
                self._at += 1
                self._closed = True
                continue
            if self._listed and not first:
                if following != ",":
                    raise _malformed(self.position, "a comma is missing")
                self._at += 1
                self._next()
            yield self._value()
            first = False
        if self._listed and not self._closed:
            raise _malformed(self.position, "the list is not closed; the file may be cut off")

    def _value(self) -> Any:
        limit = MAX_ROW_BYTES if self._listed else MAX_DOCUMENT_BYTES
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except RecursionError as error:
                raise FileUnreadable(
                    "MALFORMED_JSON", "the document is nested too deep to be read"
                ) from error
            except ValueError as error:
                held = len(self._text) - self._at
                if self._ended or held > limit:
                    if held > limit and not self._ended:
                        raise FileUnreadable(
                            "ROW_TOO_LARGE", f"a value is larger than {limit} characters; send JSON Lines"
                        ) from error
                    raise _malformed(self.position, str(error)) from error
                self._fill(max(held, _READ_CHARACTERS))
                continue
            self._at = end
            return value

    def _next(self) -> str:
        """The next character that is not space, without taking it; "" at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if self._ended:
                return ""
            self._fill(_READ_CHARACTERS)

    def _fill(self, characters: int) -> None:
        more = self._file.read(characters)
        self._ended = not more
        self._before += self._at
        self._text, self._at = self._text[self._at :] + more, 0


def _malformed(position: int, problem: str) -> FileUnreadable:
    return FileUnreadable("MALFORMED_JSON", f"the file is no JSON from character {position}: {problem}")
