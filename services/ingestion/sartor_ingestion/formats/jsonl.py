"""JSON Lines: one object a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from sartor_ingestion.formats import json_values
from sartor_ingestion.formats.encodings import open_utf8
from sartor_ingestion.formats.rows import MAX_ROW_BYTES, BadRow, Row
from sartor_ingestion.rejection import Reason, Rejected, excerpt

_BOM = b"\xef\xbb\xbf"


def read(path: Path) -> Iterator[Row | BadRow]:
    """The rows of a file, one line in memory at a time. Blank lines are no rows. `end` counts bytes."""
    with open_utf8(path) as file:
        number = 0
        end = 0
        while line := file.readline(MAX_ROW_BYTES + 1):
            number += 1
            end += len(line)
            if len(line) > MAX_ROW_BYTES:
                end += skip_line(file)
                message = f"the line is longer than {MAX_ROW_BYTES} bytes"
                yield BadRow(number, Reason.TOO_LARGE, message, excerpt(line))
                continue
            content = line.removeprefix(_BOM) if number == 1 else line
            if not content.strip():
                continue
            try:
                yield Row(number, parse_object(content), end)
            except Rejected as error:
                yield BadRow(number, error.reason, error.message, excerpt(content))


def parse_object(data: bytes) -> dict[str, Any]:
    """The JSON object in `data`.

    Raises:
        Rejected: NOT_UTF8, MALFORMED_JSON, TOO_DEEP or NOT_AN_OBJECT.
    """
    value = json_values.parse(data)
    if not isinstance(value, dict):
        raise Rejected(Reason.NOT_AN_OBJECT, f"the row must be a JSON object, not {type(value).__name__}")
    return value


def skip_line(file: BinaryIO) -> int:
    """Read on to the end of the line; returns the bytes read."""
    skipped = 0
    while part := file.readline(MAX_ROW_BYTES):
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped
