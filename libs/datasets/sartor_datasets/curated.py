"""Curated snapshots: one Parquet file a split, written by curation, read by training and evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa

from sartor_datasets.arrow import CURATED_SCHEMA, CuratedRecord, curated_to_batch
from sartor_datasets.manifests import SPLITS, CuratedManifest
from sartor_datasets.parquet import BATCH_ROWS, RecordsWriter, read_records
from sartor_datasets.snapshots import Fetch


@dataclass(frozen=True, slots=True)
class WrittenSplit:
    """What CuratedWriter wrote for one split; with its uploaded object it becomes a CuratedFile."""

    split: str
    path: Path
    records: int
    tokens: int


class CuratedWriter:
    """Writes curated records into `{folder}/{split}.parquet`, buffering at most BATCH_ROWS a split."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._writers: dict[str, RecordsWriter] = {}
        self._buffers: dict[str, list[CuratedRecord]] = {split: [] for split in SPLITS}
        self._tokens = dict.fromkeys(SPLITS, 0)

    def write(self, record: CuratedRecord) -> None:
        """Add a record to the file of its split."""
        buffer = self._buffers[record.split]
        buffer.append(record)
        self._tokens[record.split] += record.tokens
        if len(buffer) == BATCH_ROWS:
            self._flush(record.split)

    @property
    def written(self) -> list[WrittenSplit]:
        """The splits that got records. Complete once the writer is closed."""
        return [WrittenSplit(s, w.path, w.rows, self._tokens[s]) for s, w in self._writers.items()]

    def _flush(self, split: str) -> None:
        if not self._buffers[split]:
            return
        if split not in self._writers:
            self._writers[split] = RecordsWriter(self.folder / f"{split}.parquet", CURATED_SCHEMA)
        self._writers[split].write(curated_to_batch(self._buffers[split]))
        self._buffers[split] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            for split in SPLITS:
                self._flush(split)
        for writer in self._writers.values():
            writer.__exit__(kind, error, traceback)


def read_curated(
    manifest: CuratedManifest, split: str, fetch: Fetch, columns: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of one split as batches of CURATED_SCHEMA (`arrow.batch_to_curated` makes records of them).

    An empty split gives no batch.
    """
    file = manifest.file(split)
    if file is not None:
        yield from read_records(fetch(file.object), columns)


def read_curated_folder(
    folder: Path, split: str, columns: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """As `read_curated`, from a folder that holds `{split}.parquet`: what a job's child finds staged."""
    path = folder / f"{split}.parquet"
    if path.exists():
        yield from read_records(path, columns)
