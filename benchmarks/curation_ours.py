"""Our side of the benchmarks of curation, in a process of its own: the pipeline as a job runs it.

    python -m benchmarks.curation_ours near_duplicates|filters|corpus FOLDER WORKERS

Prints one JSON line as curation_peers.py does.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json as pj
from sartor_curation.curation_job import write_dropped, write_memory, write_splits
from sartor_curation.pipeline import Finished, Pipeline
from sartor_curation.policy import OPTIONAL, Policy, Preset
from sartor_curation.shards import Processes
from sartor_curation.steps.batches import as_arrow
from sartor_datasets.arrow import RECORD_SCHEMA, records_to_batch
from sartor_datasets.records import Record

_FILTERS = ("gopher_repetition", "gopher_quality", "c4_quality")
_BLOCK_BYTES = 4 << 20
_EMPTY = records_to_batch(
    [
        Record(
            record_id="",
            record_key="",
            kind="document",
            attributes={},
            source="",
            position="",
            event_time=datetime(2026, 1, 1, tzinfo=UTC),
        )
    ]
)


def near_duplicates(folder: Path, workers: int) -> float:
    """Only near duplicates: what the peers do."""
    return _run(folder, workers, [name for name in OPTIONAL if name != "near_duplicates"])


def corpus(folder: Path, workers: int) -> float:
    """Every step of the preset, and all that a job leaves: splits, dropped records, memory and report."""
    started = time.perf_counter()
    finished = _curate(folder, workers, [], False)
    write_dropped(folder / "ours", finished)
    write_memory(folder / "ours", finished)
    (folder / "ours" / "report.json").write_bytes(finished.report().to_json())
    return time.perf_counter() - started


def filters(folder: Path, workers: int) -> float:
    """Gopher's repetition and quality rules and C4's, the latter as in the paper."""
    return _run(
        folder, workers, [name for name in OPTIONAL if name not in _FILTERS], whole_sentences_only=True
    )


def _run(folder: Path, workers: int, skipped: Sequence[str], *, whole_sentences_only: bool = False) -> float:
    started = time.perf_counter()
    finished = _curate(folder, workers, skipped, whole_sentences_only)
    ids = [key for batch in finished.batches() for key in batch.column("record_key").to_pylist()]
    (folder / "ours.ids").write_text("\n".join(map(str, ids)))
    return time.perf_counter() - started


def _curate(folder: Path, workers: int, skipped: Sequence[str], whole_sentences_only: bool) -> Finished:
    policy = Policy(
        dataset="projects/bench/datasets/corpus",
        base_model="projects/bench/baseModels/none",
        preset=Preset.CORPUS,
        languages=("en",),
        whole_sentences_only=whole_sentences_only,
        skipped_steps=tuple(skipped),
    )
    work = folder / "ours"
    work.mkdir(exist_ok=True)
    with Processes(workers) as executor:
        pipeline = Pipeline(policy, work / "shards", count_words, "corpus", executor=executor)
        finished = pipeline.run(read(folder / "input"))
    write_splits(work, finished)
    return finished


def count_words(texts: Sequence[str]) -> list[int]:
    """Stands for a tokenizer, which no peer runs."""
    return [text.count(" ") for text in texts]


def read(folder: Path) -> Iterator[pa.RecordBatch]:
    """JSON lines of id and text as records."""
    schema = pa.schema([("id", pa.string()), ("text", pa.string())])
    parse = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    for path in sorted(folder.glob("*.jsonl")):
        options = pj.ReadOptions(block_size=_BLOCK_BYTES)
        for batch in pj.open_json(path, read_options=options, parse_options=parse):
            yield _records(batch)


def _records(batch: pa.RecordBatch) -> pa.RecordBatch:
    count = batch.num_rows
    none = _EMPTY.take(as_arrow(np.zeros(count, dtype=np.int64)))
    columns: dict[str, Any] = {
        "record_id": batch.column("id"),
        "record_key": batch.column("id"),
        "op": pa.repeat("upsert", count),
        "text": batch.column("text"),
        "source": pa.repeat("projects/bench/sources/jsonl", count),
        "position": batch.column("id"),
    }
    arrays = [columns.get(name, none.column(name)) for name in RECORD_SCHEMA.names]
    return pa.RecordBatch.from_arrays(arrays, schema=RECORD_SCHEMA)


OURS = {one.__name__: one for one in (near_duplicates, filters, corpus)}

if __name__ == "__main__":
    print(json.dumps({"seconds": OURS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))}))
