"""Reading a snapshot: every segment it names, less the rows that were superseded or withdrawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from sartor_datasets.manifests import ObjectReference, SnapshotManifest
from sartor_datasets.parquet import read_records

Fetch = Callable[[ObjectReference], Path]
"""Brings an object onto this machine and returns its verified file."""


class SnapshotCorrupt(ValueError):
    """The segments do not hold the rows that the manifest promises."""

    def __init__(self, name: str, promised: int, found: int) -> None:
        super().__init__(f"{name} promises {promised} records, but its segments hold {found}")
        self.name = name
        self.promised = promised
        self.found = found


def read_snapshot(
    manifest: SnapshotManifest, fetch: Fetch, columns: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """The live rows of a snapshot as batches of RECORD_SCHEMA, segment by segment, in bounded memory.

    Args:
        columns: only these; None means all.
    Raises:
        SnapshotCorrupt: at the end, when the number of live rows is not `manifest.record_count`.
    """
    exclusions = fetch(manifest.exclusions) if manifest.exclusions else None
    live = 0
    for segment in manifest.segments:
        excluded = _excluded_rows(exclusions, segment.id)
        start = 0
        for batch in read_records(fetch(segment.object), columns):
            kept = _without(batch, start, excluded)
            start += batch.num_rows
            live += kept.num_rows
            if kept.num_rows:
                yield kept
    if live != manifest.record_count:
        raise SnapshotCorrupt(manifest.name, manifest.record_count, live)


def _excluded_rows(exclusions: Path | None, segment: str) -> npt.NDArray[np.int32]:
    if exclusions is None:
        return np.empty(0, dtype=np.int32)
    table = pq.read_table(exclusions, columns=["row"], filters=[("segment", "=", segment)])
    return np.sort(table["row"].to_numpy())


def _without(batch: pa.RecordBatch, start: int, excluded: npt.NDArray[np.int32]) -> pa.RecordBatch:
    """`batch`, whose first row is row `start` of its segment, less the excluded rows."""
    low, high = np.searchsorted(excluded, [start, start + batch.num_rows])
    if low == high:
        return batch
    mask = np.ones(batch.num_rows, dtype=bool)
    mask[excluded[low:high] - start] = False
    return batch.filter(pa.array(mask))
