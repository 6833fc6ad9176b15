"""Which format a file has, and its rows."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from sartor_ingestion.formats import csv, docx, html, json, jsonl, markdown, parquet, pdf, text
from sartor_ingestion.formats.documents import rows_of
from sartor_ingestion.formats.encodings import detect, is_text
from sartor_ingestion.formats.rows import BadRow, FileUnreadable, Row
from sartor_ingestion.formats.sections import MAX_CHARACTERS, Block

ROWS: dict[str, Callable[[Path], Iterator[Row | BadRow]]] = {
    "jsonl": jsonl.read,
    "json": json.read,
    "csv": csv.read,
    "parquet": parquet.read,
}
"""Formats that hold rows."""

DOCUMENTS: dict[str, Callable[[Path], Iterator[Block | BadRow]]] = {
    "text": text.blocks,
    "markdown": markdown.blocks,
    "html": html.blocks,
    "pdf": pdf.blocks,
    "docx": docx.blocks,
}
"""Formats of which a file is one document."""

FORMATS = (*ROWS, *DOCUMENTS)
ARCHIVE = "archive"
"""What an import of many files is called."""

_SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".tab": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".txt": "text",
    ".text": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".docx": "docx",
}


def decide(path: Path, *, stated: str = "", file_name: str = "", default: str = "") -> str:
    """The format of a file: as stated, else by its name, else the source's default, else by its content.

    Raises:
        FileUnreadable: UNKNOWN_FORMAT.
    """
    suffix = PurePosixPath(file_name).suffix.lower()
    if stated:
        return stated
    if suffix == ".json" or (suffix in (".jsonl", ".ndjson") and _is_list(path)):
        return _kind_of_json(path)
    return _SUFFIXES.get(suffix, "") or default or _by_content(path)


def read(path: Path, data_format: str, max_characters: int = MAX_CHARACTERS) -> Iterator[Row | BadRow]:
    """The rows of a file; those of a document are its passages, see `documents.rows_of`."""
    if data_format in ROWS:
        return ROWS[data_format](path)
    return rows_of(DOCUMENTS[data_format](path), max_characters or MAX_CHARACTERS)


def measure(path: Path, data_format: str) -> int:
    """The whole of a file in the measure of its rows' `end`, for progress."""
    return parquet.count(path) if data_format == "parquet" else path.stat().st_size


def details(path: Path, data_format: str) -> list[str]:
    """What else was seen of a file, for people: its encoding and dialect."""
    if data_format in ("parquet", "pdf", "docx"):
        return []
    found = [f"encoding {detect(path)}"]
    return [*found, f"dialect {csv.dialect(path)}"] if data_format == "csv" else found


def _by_content(path: Path) -> str:
    with path.open("rb") as file:
        beginning = file.read(4096)
    for mark, name in ((b"PAR1", "parquet"), (b"%PDF-", "pdf")):
        if beginning.startswith(mark):
            return name
    if beginning.startswith(b"PK\x03\x04") and zipfile.is_zipfile(path):
        return "docx"
    if not is_text(beginning):
        message = "the file is neither text nor of a format that is known; state its format, or convert it"
        raise FileUnreadable("UNKNOWN_FORMAT", message)
    start = beginning.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start[:1] in (b"{", b"["):
        return _kind_of_json(path)
    lower = start[:512].lower()
    return "html" if lower.startswith((b"<!doctype html", b"<html")) or b"<html" in lower else "text"


def _is_list(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")


def _kind_of_json(path: Path) -> str:
    """jsonl where the first line is a row and another follows it or nothing does; else json."""
    with path.open("rb") as file:
        beginning = file.read(1_048_576).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not beginning.startswith(b"{"):
        return "json"
    first, _, rest = beginning.partition(b"\n")
    if rest.strip():
        return "jsonl" if first.rstrip().endswith(b"}") and rest.lstrip()[:1] == b"{" else "json"
    return "json" if json.holds_rows(first) else "jsonl"
