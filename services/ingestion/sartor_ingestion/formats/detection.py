"""Which format a file has, and its reader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from sartor_ingestion.formats import csv, jsonl, parquet, text
from sartor_ingestion.formats.rows import BadRow, Row

READERS: dict[str, Callable[[Path], Iterator[Row | BadRow]]] = {
    "jsonl": jsonl.read,
    "csv": csv.read,
    "parquet": parquet.read,
    "text": text.read,
}

FORMATS = tuple(READERS)

_SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".txt": "text",
    ".md": "text",
}


def decide(path: Path, *, stated: str = "", file_name: str = "", default: str = "") -> str:
    """The format of a file: as stated, else by its name, else the source's default, else by its content."""
    suffix = PurePosixPath(file_name).suffix.lower()
    return stated or _SUFFIXES.get(suffix, "") or default or _by_content(path)


def _by_content(path: Path) -> str:
    with path.open("rb") as file:
        beginning = file.read(4096)
    if beginning.startswith(b"PAR1"):
        return "parquet"
    if beginning.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        return "jsonl"
    return "text"


def measure(path: Path, data_format: str) -> int:
    """The whole of a file in the measure of its rows' `end`, for progress."""
    return parquet.count(path) if data_format == "parquet" else path.stat().st_size
