"""Curates a staged snapshot. Runs in the child process of a job: it imports pyarrow and tokenizers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from sartor_datasets.arrow import batch_to_records
from sartor_datasets.curated import CuratedWriter
from sartor_datasets.manifests import SnapshotManifest
from sartor_datasets.parquet import write_records
from sartor_datasets.records import Record
from sartor_datasets.snapshots import SnapshotCorrupt, read_snapshot
from sartor_platform.errors import DataLoss

from sartor_curation.pipeline import Curated, curate
from sartor_curation.policy import Policy
from sartor_curation.report_page import render
from sartor_curation.steps.excerpts import excerpt
from sartor_curation.steps.item import shown_text
from sartor_curation.steps.splits import Remembered
from sartor_curation.tokenizer import load_token_counter

if TYPE_CHECKING:
    from sartor_platform.worker import Report

DROPPED_SCHEMA = pa.schema(
    [
        pa.field(name, pa.string(), nullable=False)
        for name in (
            "record_id",
            "record_key",
            "source",
            "position",
            "step",
            "reason",
            "detail",
            "other_key",
            "excerpt",
        )
    ]
)
_ROWS_AT_ONCE = 4096


def curate_snapshot(task: dict[str, Any], folder: Path, report: Report) -> dict[str, Any]:
    """Read what was staged in `folder`, curate it, and leave the results there.

    Leaves: {split}.parquet, dropped.parquet, dropped.jsonl and splits.jsonl for the database, report.json,
    report.html.
    """
    policy = Policy.from_spec(task["policy"])
    report(0.0, stage="read", message="reading the snapshot")
    records = _read(folder, task["snapshot_manifest"])
    curated = curate(
        records,
        policy,
        load_token_counter(Path(task["tokenizer"])),
        dict(_remembered(folder)),
        _Progress(report),
    )
    report(0.95, stage="write", message="writing the curated snapshot")
    curated = replace(curated, report=replace(curated.report, about=task["about"]))
    files = _write(folder, curated)
    return {
        "files": files,
        "input_count": curated.report.read,
        "kept_count": curated.report.kept,
        "dropped_count": curated.report.dropped,
        "dropped_by_reason": curated.report.dropped_by_reason,
        "kept_by_split": {split.split: split.records for split in curated.report.splits},
        "training_tokens": next(s.tokens for s in curated.report.splits if s.split == "train"),
    }


class _Progress:
    """Passes the pipeline's progress on, with the time it will still take if it goes on like this."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._started = time.monotonic()

    def __call__(self, fraction: float, *, stage: str, records: int) -> None:
        elapsed = time.monotonic() - self._started
        eta = elapsed / fraction * (1 - fraction) if fraction > 0.2 else None
        self._report(0.05 + 0.9 * fraction, stage=stage, eta_seconds=eta, records=records)


def _read(folder: Path, manifest: str) -> Iterator[Record]:
    snapshot = SnapshotManifest.from_json(Path(manifest).read_bytes())
    try:
        for batch in read_snapshot(snapshot, lambda reference: folder / "objects" / reference.sha256):
            yield from batch_to_records(batch)
    except SnapshotCorrupt as error:
        raise DataLoss(str(error), reason="SNAPSHOT_CORRUPT", metadata={"snapshot": snapshot.name}) from error


def _remembered(folder: Path) -> Iterator[tuple[str, Remembered]]:
    with (folder / "remembered.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            key, cluster, split = json.loads(line)
            yield key, Remembered(cluster, split)


def _write(folder: Path, curated: Curated) -> list[dict[str, Any]]:
    with CuratedWriter(folder) as writer:
        for record in curated.records:
            writer.write(record)
    _write_dropped(folder, curated)
    _write_splits(folder, curated)
    as_json = curated.report.to_json()
    (folder / "report.json").write_bytes(as_json)
    (folder / "report.html").write_text(render(json.loads(as_json)), encoding="utf-8")
    return [
        {"split": one.split, "path": str(one.path), "records": one.records, "tokens": one.tokens}
        for one in writer.written
    ]


def _write_dropped(folder: Path, curated: Curated) -> None:
    rows: list[dict[str, str]] = []
    for one in curated.dropped:
        record = one.dropped.item.record
        rows.append(
            {
                "record_id": record.record_id,
                "record_key": record.record_key,
                "source": record.source,
                "position": record.position,
                "step": one.step,
                "reason": one.dropped.reason.value,
                "detail": one.dropped.detail,
                "other_key": one.dropped.other_key,
                "excerpt": excerpt(shown_text(record)),
            }
        )
    batches = (
        pa.RecordBatch.from_pylist(rows[start : start + _ROWS_AT_ONCE], schema=DROPPED_SCHEMA)
        for start in range(0, len(rows), _ROWS_AT_ONCE)
    )
    write_records(folder / "dropped.parquet", batches, DROPPED_SCHEMA)
    with (folder / "dropped.jsonl").open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)


def _write_splits(folder: Path, curated: Curated) -> None:
    """Only what is new, or was decided anew: most records keep what is remembered."""
    before = dict(_remembered(folder))
    with (folder / "splits.jsonl").open("w", encoding="utf-8") as lines:
        for one in curated.records:
            known = before.get(one.record.record_key)
            if known is None or known.split != one.split:
                old = known.split if known else ""
                lines.write(json.dumps([one.record.record_key, one.cluster, one.split, old]) + "\n")
