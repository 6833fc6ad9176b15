"""The documents of a task: local files by split, as `datasets` reads them."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sartor_evaluation.harness.errors import BadTaskFile

Json = dict[str, Any]


def read_documents(config: Json, file_of: Callable[[str], Path]) -> dict[str, list[Json]]:
    """split -> documents.

    Raises:
        BadTaskFile: the data is not local, or a file is not what `dataset_path` says.
    """
    form = config.get("dataset_path")
    if form not in _READERS:
        known = ", ".join(_READERS)
        raise BadTaskFile(f"dataset_path is {form!r}: only local data is read; known are {known}")
    given = (config.get("dataset_kwargs") or {}).get("data_files")
    if not given:
        raise BadTaskFile("dataset_kwargs.data_files is missing: name the task's local files there")
    by_split = given if isinstance(given, dict) else {"train": given}
    found: dict[str, list[Json]] = {}
    for split, names in by_split.items():
        documents: list[Json] = []
        for name in [names] if isinstance(names, str) else names:
            try:
                documents += _READERS[form](file_of(str(name)))
            except (ValueError, OSError, KeyError) as error:
                if isinstance(error, BadTaskFile):
                    raise
                raise BadTaskFile(f"{name} is not readable as {form}: {error}") from error
        found[str(split)] = documents
    return found


def _json(path: Path) -> Iterator[Json]:
    text = path.read_text("utf-8")
    if text.lstrip().startswith("["):
        yield from json.loads(text)
        return
    for line in text.split("\n"):  # splitlines() would also split at U+2028, which JSON may hold as it is
        if line.strip():
            yield json.loads(line)


def _csv(path: Path) -> Iterator[Json]:
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield {name: _number(value) for name, value in row.items()}


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except (ValueError, TypeError):
            continue
    return text


def _text(path: Path) -> Iterator[Json]:
    for line in path.read_text("utf-8").splitlines():
        yield {"text": line}


def _parquet(path: Path) -> Iterator[Json]:
    import pyarrow.parquet as pq

    rows: list[Json] = pq.read_table(path).to_pylist()
    yield from rows


_READERS: dict[Any, Callable[[Path], Iterator[Json]]] = {
    "json": _json,
    "csv": _csv,
    "parquet": _parquet,
    "text": _text,
}
