"""Parquet files of records: written whole or not at all, read in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from sartor_datasets.arrow import EXCLUSION_SCHEMA, LATER_COLUMNS, RECORD_SCHEMA, with_later_columns

BATCH_ROWS = 4096
"""Rows held in memory at a time."""


class RecordsWriter:
    """Writes batches to `path`. The file appears under its name only when all of it is written."""

    def __init__(self, path: Path, schema: pa.Schema = RECORD_SCHEMA) -> None:
        self.path = path
        self.rows = 0
        self._partial = path.with_name(path.name + ".partial")
        self._schema = schema
        self._writer = pq.ParquetWriter(self._partial, schema, compression="zstd")

    def write(self, batch: pa.RecordBatch) -> None:
        """Add a row group; an empty batch adds none."""
        if batch.num_rows:
            self._writer.write_batch(batch)
            self.rows += batch.num_rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.close()
        if kind is None:
            self._partial.replace(self.path)
        else:
            self._partial.unlink(missing_ok=True)


def write_records(path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema = RECORD_SCHEMA) -> int:
    """Write `batches` to `path` and return the number of rows."""
    with RecordsWriter(path, schema) as writer:
        for batch in batches:
            writer.write(batch)
    return writer.rows


def read_records(path: Path, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """The rows of `path` in their order, at most BATCH_ROWS at a time.

    Columns that came later than the file are empty.
    """
    with pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        of_old_records = "record_id" in names and not set(LATER_COLUMNS) <= set(names)
        there = None if of_old_records else columns
        for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=there, use_threads=False):
            if not of_old_records:
                yield batch
                continue
            whole = with_later_columns(batch)
            yield whole.select(columns) if columns is not None else whole


def write_exclusions(path: Path, exclusions: Iterable[tuple[str, int]]) -> int:
    """Write (segment, row) pairs, in the order given, which must be sorted. Returns how many."""

    def batches() -> Iterator[pa.RecordBatch]:
        segments: list[str] = []
        rows: list[int] = []
        for segment, row in exclusions:
            segments.append(segment)
            rows.append(row)
            if len(rows) == 16 * BATCH_ROWS:
                yield pa.RecordBatch.from_pydict({"segment": segments, "row": rows}, schema=EXCLUSION_SCHEMA)
                segments, rows = [], []
        yield pa.RecordBatch.from_pydict({"segment": segments, "row": rows}, schema=EXCLUSION_SCHEMA)

    return write_records(path, batches(), EXCLUSION_SCHEMA)
