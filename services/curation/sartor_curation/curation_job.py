"""Curates a staged snapshot. Runs in the child process of a job: it imports pyarrow and tokenizers."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
from sartor_datasets.arrow import CURATED_SCHEMA
from sartor_datasets.manifests import SPLITS, SnapshotManifest
from sartor_datasets.parquet import RecordsWriter
from sartor_datasets.snapshots import SnapshotCorrupt, read_snapshot
from sartor_platform.errors import DataLoss

from sartor_curation.dataset_card import render_card
from sartor_curation.evaluation_texts import GENERAL, general_texts, texts_of_files
from sartor_curation.features import SPLITS as SPLIT_CODES
from sartor_curation.index import Memory
from sartor_curation.pipeline import Finished, Pipeline
from sartor_curation.policy import Policy, Runtime
from sartor_curation.report import Report as CurationReport
from sartor_curation.report_page import render
from sartor_curation.shards import Executor, Processes
from sartor_curation.tokenizer import TokenCounter

if TYPE_CHECKING:
    from sartor_platform.worker import Report

_DROPPED_NAMES = (
    "record_id", "record_key", "source", "position", "step", "reason", "detail", "other_key", "excerpt",
)  # fmt: skip
DROPPED_SCHEMA = pa.schema([pa.field(name, pa.string(), nullable=False) for name in _DROPPED_NAMES])
_ROWS_AT_ONCE = 4096


def curate_snapshot(task: dict[str, Any], folder: Path, report: Report) -> dict[str, Any]:
    """Read what was staged in `folder`, curate it, and leave the results there.

    Leaves: {split}.parquet, dropped.parquet, dropped.jsonl and splits.jsonl for the database, report.json,
    report.html, card.md.
    """
    manifest = SnapshotManifest.from_json(Path(task["snapshot_manifest"]).read_bytes())
    remembered = read_memory(folder / "remembered.jsonl")
    policy = Policy.from_spec(task["policy"])
    with _executor(policy, task) as executor:
        pipeline = Pipeline(
            policy=policy,
            folder=folder / "shards",
            count_tokens=TokenCounter(Path(task["tokenizer"])),
            source=manifest.name,
            remembered=remembered,
            suites=_suites(task),
            executor=executor,
            shard_bytes=int(task["shard_bytes"]),
            progress=_Progress(report),
            prepared=lambda number: report.send({"type": "shard", "number": number}),
        )
        finished = pipeline.run(_read(folder, manifest))
    report(0.95, stage="write", message="writing the curated snapshot")
    files = write_splits(folder, finished)
    write_dropped(folder, finished)
    write_memory(folder, finished)
    shown = replace(finished.report(), about=task["about"])
    _write_report(folder, shown)
    return {
        "files": files,
        "input_count": shown.read,
        "kept_count": shown.kept,
        "dropped_count": shown.dropped,
        "dropped_by_reason": shown.dropped_by_reason,
        "kept_by_split": {split.split: split.records for split in shown.splits},
        "training_tokens": next(s.tokens for s in shown.splits if s.split == "train"),
    }


def _suites(task: Mapping[str, Any]) -> dict[str, list[str]]:
    """The texts of the general suite and of the project's own."""
    own = {name: list(texts_of_files([*map(Path, paths)])) for name, paths in task["suites"].items()}
    return {f"the {GENERAL} suite": general_texts(), **own}


def _executor(policy: Policy, task: Mapping[str, Any]) -> AbstractContextManager[Executor]:
    """Who works on the shards, as the policy wants it."""
    if policy.runtime is Runtime.RAY:
        from sartor_curation.ray_runtime import OnRay

        return OnRay(str(task["ray_address"]))
    return Processes(int(task["processes"]) or len(os.sched_getaffinity(0)))


class _Progress:
    """Passes the pipeline's progress on, with the time it will still take if it goes on like this."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._started = time.monotonic()

    def __call__(self, fraction: float, *, stage: str, records: int) -> None:
        elapsed = time.monotonic() - self._started
        eta = elapsed / fraction * (1 - fraction) if fraction > 0.2 else None
        self._report(0.05 + 0.9 * fraction, stage=stage, eta_seconds=eta, records=records)


def _read(folder: Path, snapshot: SnapshotManifest) -> Iterator[pa.RecordBatch]:
    try:
        yield from read_snapshot(snapshot, lambda reference: folder / "objects" / reference.sha256)
    except SnapshotCorrupt as error:
        raise DataLoss(str(error), reason="SNAPSHOT_CORRUPT", metadata={"snapshot": snapshot.name}) from error


def read_memory(path: Path) -> Memory:
    """What earlier curations decided, from lines of JSON: key, cluster and split."""
    names = ("key", "cluster", "split")
    if not path.stat().st_size:
        return Memory.of({})
    schema = pa.schema([(name, pa.string()) for name in names])
    table = pj.read_json(path, parse_options=pj.ParseOptions(explicit_schema=schema))
    keys, clusters, splits = (table.column(name).combine_chunks() for name in names)
    codes = pc.index_in(splits, value_set=pa.array(SPLIT_CODES)).to_numpy().astype(np.uint8)
    return Memory(keys, clusters, codes)


def write_splits(folder: Path, finished: Finished) -> list[dict[str, Any]]:
    """Write {split}.parquet of CURATED_SCHEMA for each split that has records; what they hold."""
    files: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        writers: dict[str, RecordsWriter] = {}
        for batch in finished.batches():
            for split in SPLITS:
                mine = batch.filter(pc.equal(batch.column("split"), pa.scalar(split))).select(
                    CURATED_SCHEMA.names
                )
                if not mine.num_rows:
                    continue
                path = folder / f"{split}.parquet"
                if split not in writers:
                    writers[split] = stack.enter_context(RecordsWriter(path, CURATED_SCHEMA))
                    files[split] = {"split": split, "path": str(path), "records": 0, "tokens": 0}
                for start in range(0, mine.num_rows, _ROWS_AT_ONCE):
                    writers[split].write(mine.slice(start, _ROWS_AT_ONCE))
                files[split]["records"] += mine.num_rows
                files[split]["tokens"] += pc.sum(mine.column("tokens")).as_py()
    return list(files.values())


def _write_report(folder: Path, report: CurationReport) -> None:
    as_json = report.to_json()
    (folder / "report.json").write_bytes(as_json)
    (folder / "report.html").write_text(render(json.loads(as_json)), encoding="utf-8")
    (folder / "card.md").write_text(render_card(json.loads(as_json)), encoding="utf-8")


def write_dropped(folder: Path, finished: Finished) -> None:
    path = folder / "dropped.parquet"
    with (
        (folder / "dropped.jsonl").open("w", encoding="utf-8") as lines,
        RecordsWriter(path, DROPPED_SCHEMA) as writer,
    ):
        rows: list[dict[str, Any]] = []
        for one in finished.dropped():
            rows.append({name: getattr(one, name) for name in _DROPPED_NAMES})
            lines.write(json.dumps(rows[-1]) + "\n")
            if len(rows) == _ROWS_AT_ONCE:
                writer.write(pa.RecordBatch.from_pylist(rows, schema=DROPPED_SCHEMA))
                rows.clear()
        writer.write(pa.RecordBatch.from_pylist(rows, schema=DROPPED_SCHEMA))


def write_memory(folder: Path, finished: Finished) -> None:
    """Only what is new, or was decided anew: most records keep what is remembered."""
    with (folder / "splits.jsonl").open("w", encoding="utf-8") as lines:
        for batch in finished.batches():
            new = batch.filter(pc.not_equal(batch.column("split"), batch.column("before")))
            names = ("record_key", "cluster", "split", "before")
            columns = [new.column(name).to_pylist() for name in names]
            lines.writelines(json.dumps(row) + "\n" for row in zip(*columns, strict=True))
