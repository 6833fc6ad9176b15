"""Comma-separated values with a header line; semicolon and tab are recognised by the header."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from sartor_ingestion.formats.rows import MAX_ROW_BYTES, BadRow, FileUnreadable, Row
from sartor_ingestion.rejection import Reason, excerpt

_DELIMITERS = ",;\t"


def read(path: Path) -> Iterator[Row | BadRow]:
    """The rows of a file, streaming. `number` is the line that ends a row; `end` counts characters, about.

    Raises:
        FileUnreadable: NO_HEADER, the first line names no columns, or names one twice.
    """
    csv.field_size_limit(MAX_ROW_BYTES)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        delimiter = _delimiter(file)
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        header = _header(reader)
        end = 0
        while True:
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield BadRow(
                    reader.line_num, Reason.MALFORMED_CSV, f"cannot be split into fields: {error}", ""
                )
                continue
            if not values:
                continue
            end += sum(map(len, values)) + len(values)
            yield _row(reader.line_num, header, values, end, delimiter)


def _row(number: int, header: list[str], values: list[str], end: int, delimiter: str) -> Row | BadRow:
    raw = delimiter.join(values)
    if len(values) != len(header):
        message = f"the row has {len(values)} fields, the header has {len(header)}"
        return BadRow(number, Reason.COLUMN_COUNT, message, excerpt(raw))
    if any("\udc80" <= c <= "\udcff" for value in values if not value.isascii() for c in value):
        message = "the row is not UTF-8; save the file as UTF-8"
        return BadRow(number, Reason.NOT_UTF8, message, excerpt(raw.encode("utf-8", "surrogateescape")))
    return Row(number, dict(zip(header, values, strict=True)), end)


def _delimiter(file: TextIO) -> str:
    """The delimiter that the header line holds most often."""
    line = file.readline(MAX_ROW_BYTES)
    file.seek(0)
    return max(_DELIMITERS, key=line.count)


def _header(reader: Iterator[list[str]]) -> list[str]:
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise FileUnreadable("NO_HEADER", f"the header line cannot be read: {error}") from error
    if not any(header):
        raise FileUnreadable("NO_HEADER", "the file has no header line; its first line must name the columns")
    if len(set(header)) != len(header):
        raise FileUnreadable("NO_HEADER", f"the header names a column twice: {', '.join(header)}")
    return header
