"""Delimited values with a header line. Delimiter, quotes and escapes are seen from the file's beginning."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from sartor_ingestion.formats.encodings import open_utf8
from sartor_ingestion.formats.rows import MAX_ROW_BYTES, BadRow, FileUnreadable, Row
from sartor_ingestion.rejection import Reason, excerpt

_DELIMITERS = ",;\t|"
_SAMPLE_CHARACTERS = 65_536
_SAMPLE_ROWS = 200


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the rows of a file are written."""

    delimiter: str = ","
    quote: str = '"'
    escape: str = ""
    """What stands before a quote inside quotes; empty: the quote is doubled."""
    named: bool = False
    """The first line is Excel's `sep=;`."""

    def __str__(self) -> str:
        name = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}.get(self.delimiter, self.delimiter)
        return f"{name}, quotes {self.quote}" + (f" escaped by {self.escape}" if self.escape else "")


def read(path: Path) -> Iterator[Row | BadRow]:
    """The rows of a file, streaming. `number` is the line that ends a row; `end` counts characters, about.

    Raises:
        FileUnreadable: NO_HEADER, the first line names no columns, or names one twice.
    """
    csv.field_size_limit(MAX_ROW_BYTES)
    seen = dialect(path)
    with _text(path) as file:
        if seen.named:
            file.readline()
        reader = _reader(file, seen, strict=True)
        header = _header(reader)
        skipped = int(seen.named)
        end = 0
        while True:
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                number = reader.line_num + skipped
                yield BadRow(number, Reason.MALFORMED_CSV, f"cannot be split into fields: {error}", "")
                continue
            if not values:
                continue
            end += sum(map(len, values)) + len(values)
            yield _row(reader.line_num + skipped, header, values, end, seen.delimiter)


def dialect(path: Path) -> Dialect:
    """The dialect of a file."""
    with _text(path) as file:
        return _dialect_of(file)


def _text(path: Path) -> TextIO:
    return io.TextIOWrapper(open_utf8(path), encoding="utf-8-sig", errors="surrogateescape", newline="")


def _reader(file: Any, dialect: Dialect, *, strict: bool) -> Any:
    return csv.reader(
        file,
        delimiter=dialect.delimiter,
        quotechar=dialect.quote,
        escapechar=dialect.escape or None,
        doublequote=not dialect.escape,
        strict=strict,
    )


def _row(number: int, header: list[str], values: list[str], end: int, delimiter: str) -> Row | BadRow:
    raw = delimiter.join(values)
    if len(values) != len(header):
        message = f"the row has {len(values)} fields, the header has {len(header)}"
        return BadRow(number, Reason.COLUMN_COUNT, message, excerpt(raw))
    if any("\udc80" <= c <= "\udcff" for value in values if not value.isascii() for c in value):
        message = "the row is not UTF-8; save the file as UTF-8"
        return BadRow(number, Reason.NOT_UTF8, message, excerpt(raw.encode("utf-8", "surrogateescape")))
    return Row(number, dict(zip(header, values, strict=True)), end)


def _dialect_of(file: TextIO) -> Dialect:
    sample = file.read(_SAMPLE_CHARACTERS)
    first, _, rest = sample.partition("\n")
    if len(first.rstrip("\r")) == 5 and first.startswith("sep="):
        return Dialect(first[4], *_quoting(rest, first[4]), named=True)
    whole = sample if len(sample) < _SAMPLE_CHARACTERS else sample.rpartition("\n")[0] or sample
    candidates = [Dialect(delimiter, *_quoting(whole, delimiter)) for delimiter in _DELIMITERS]
    return max(candidates, key=lambda dialect: _fit(whole, dialect))


def _quoting(sample: str, delimiter: str) -> tuple[str, str]:
    """The quote that fields begin with most often, and its escape where it is never doubled."""
    closed = f"'{delimiter}" in sample or "'\n" in sample
    single = f"{delimiter}'" in sample and closed and '"' not in sample
    quote = "'" if single else '"'
    inside = sample.replace(f"{delimiter}{quote}{quote}", "").count(quote * 2)
    return quote, "\\" if f"\\{quote}" in sample and not inside else ""


def _fit(sample: str, dialect: Dialect) -> tuple[bool, int, float]:
    """Whether most rows of the sample have as many fields as the header, how many, and the share."""
    widths = []
    try:
        for values in _reader(io.StringIO(sample, newline=""), dialect, strict=False):
            if values:
                widths.append(len(values))
            if len(widths) == _SAMPLE_ROWS:
                break
    except csv.Error:
        return False, 0, 0.0
    if not widths or widths[0] < 2:
        return False, 0, 0.0
    share = widths.count(widths[0]) / len(widths)
    return share >= 0.5, widths[0], share


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
