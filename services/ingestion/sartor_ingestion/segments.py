"""Writing segments and exclusions as Parquet. Runs in the child process of a job: it imports pyarrow."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from sartor_datasets import parquet
from sartor_datasets.arrow import records_to_batch
from sartor_datasets.records import Record, from_json

if TYPE_CHECKING:
    from sartor_platform.worker import Report

SEGMENT_RECORDS = 100_000
SEGMENT_CHARACTERS = 268_435_456
_BATCH_RECORDS = 2048
_BATCH_CHARACTERS = 8_388_608
_MAX_CSV_FIELD = 67_108_864


class SegmentWriter:
    """Writes records into `segment-{index}.parquet` files of bounded size, with a bounded buffer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written: list[tuple[Path, int]] = []
        self._writer: parquet.RecordsWriter | None = None
        self._buffer: list[Record] = []
        self._buffered_characters = 0
        self._rows = 0
        self._characters = 0

    def add(self, record: Record) -> tuple[int, int]:
        """Add a record. Returns the index of its segment and its row in it."""
        if self._rows == SEGMENT_RECORDS or self._characters >= SEGMENT_CHARACTERS:
            self._roll()
        place = (len(self.written), self._rows)
        size = len(record.text) + sum(len(message.content) for message in record.messages)
        self._buffer.append(record)
        self._buffered_characters += size
        self._rows += 1
        self._characters += size
        if len(self._buffer) == _BATCH_RECORDS or self._buffered_characters >= _BATCH_CHARACTERS:
            self._flush()
        return place

    def _flush(self) -> None:
        if not self._buffer:
            return
        if self._writer is None:
            self._writer = parquet.RecordsWriter(self.folder / f"segment-{len(self.written)}.parquet")
        self._writer.write(records_to_batch(self._buffer))
        self._buffer = []
        self._buffered_characters = 0

    def _roll(self) -> None:
        self._flush()
        if self._writer is not None:
            self._writer.__exit__(None, None, None)
            self.written.append((self._writer.path, self._writer.rows))
        self._writer = None
        self._rows = self._characters = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._roll()
        elif self._writer is not None:
            self._writer.__exit__(kind, error, traceback)


def seal(task: dict[str, Any], folder: Path, report: Report) -> dict[str, Any]:
    """Write a snapshot's own segment and its exclusions.

    Args:
        task: `rows`, a CSV file with a record in JSON on each line, and `exclusions`, one of segment and row;
            each is "" where there are none. `records` is how many there must be.
    Returns:
        `segment` and `exclusions`, the files written or "", and `records` and `excluded`, their rows.
    """
    csv.field_size_limit(_MAX_CSV_FIELD)
    segment = exclusions = ""
    records = excluded = 0
    if task["rows"]:
        path = folder / "segment.parquet"
        with parquet.RecordsWriter(path) as writer:
            for batch in _batches(Path(task["rows"])):
                writer.write(records_to_batch(batch))
                report(writer.rows / max(task["records"], 1), stage="sealing", records=writer.rows)
        segment, records = str(path), writer.rows
    if task["exclusions"]:
        path = folder / "exclusions.parquet"
        with Path(task["exclusions"]).open(encoding="utf-8", newline="") as file:
            excluded = parquet.write_exclusions(path, ((name, int(row)) for name, row in csv.reader(file)))
        exclusions = str(path)
    if records != task["records"]:
        raise RuntimeError(f"{task['records']} records were staged, but {records} were read")
    return {"segment": segment, "exclusions": exclusions, "records": records, "excluded": excluded}


def _batches(rows: Path) -> Iterator[list[Record]]:
    batch: list[Record] = []
    characters = 0
    with rows.open(encoding="utf-8", newline="") as file:
        for (body,) in csv.reader(file):
            batch.append(from_json(body))
            characters += len(body)
            if len(batch) == _BATCH_RECORDS or characters >= _BATCH_CHARACTERS:
                yield batch
                batch, characters = [], 0
    if batch:
        yield batch
