"""From the records of a snapshot to curated ones and a report, shard by shard. Runs as a library too."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from sartor_datasets.arrow import CURATED_SCHEMA, CuratedRecord, batch_to_curated, records_to_batch
from sartor_datasets.records import Record

from sartor_curation.evaluation_texts import POLICY, EvaluationTexts
from sartor_curation.features import KINDS, SCALARS, SPLITS, hashed
from sartor_curation.global_steps import compare, split
from sartor_curation.index import Index, Memory, Remembered, Texts, read_batch
from sartor_curation.policy import Policy
from sartor_curation.repeated_lines import repeated_in_shards
from sartor_curation.report import Report, make_report
from sartor_curation.shard_work import (
    DroppedRecord,
    Prepare,
    Render,
    dropped_records,
    prepare,
    read_dropped,
    render,
)
from sartor_curation.shards import SHARD_BYTES, Executor, Inline, Processes, Workspace, cut, fingerprint
from sartor_curation.steps.batches import as_arrow
from sartor_curation.steps.lengths import CountTokens
from sartor_curation.steps.outcome import Dropped, rows_of
from sartor_curation.steps.splits import Assigned
from sartor_curation.tally import StepReport

VERSION = 2
"""Of what shards hold: another one makes them anew."""


class Progress(Protocol):
    """Told what comes, how much is done (0 to 1) and how many records are left."""

    def __call__(self, fraction: float, *, stage: str, records: int) -> None: ...


def _silent(fraction: float, *, stage: str, records: int) -> None:
    """Nobody wants to know."""


@dataclass(slots=True)
class Pipeline:
    """One policy applied to one snapshot, in a folder where finished shards stay finished.

    Args:
        source: what the records are, such as a snapshot's name and digest: shards of another source in the
            folder are made anew.
        remembered: what earlier curations of this dataset decided.
    """

    policy: Policy
    folder: Path
    count_tokens: CountTokens
    source: str
    remembered: Memory = field(default_factory=lambda: Memory.of({}))
    suites: Mapping[str, Iterable[str]] = field(default_factory=dict)
    """Texts that models are evaluated on, by the suite's name, besides the policy's own."""
    executor: Executor = field(default_factory=Inline)
    shard_bytes: int = SHARD_BYTES
    progress: Progress = _silent
    prepared: Callable[[int], None] = lambda _number: None
    """Told of each of several shards that was prepared, not found done: that is most of the work."""

    def run(self, batches: Iterable[pa.RecordBatch]) -> Finished:
        """Curate batches of RECORD_SCHEMA, oldest first: of duplicates the oldest stays."""
        workspace = Workspace(self.folder)
        self.progress(0.0, stage="read", records=0)
        of = fingerprint(VERSION, self.source, self.shard_bytes)
        several = self.executor.start if isinstance(self.executor, Processes) else lambda: None
        sizes = cut(workspace, batches, of, self.shard_bytes, several)
        evaluated = self._evaluated()
        made_from = fingerprint(
            VERSION, self.source, self.shard_bytes, self.policy.to_spec(), evaluated.digest()
        )
        self._prepare(workspace, sizes, made_from, evaluated)
        index, notes = _index(workspace, len(sizes), made_from, self.remembered)
        self.progress(0.55, stage="compare", records=len(index))
        dropped, reports = compare(index, self.policy)
        labels = sorted({label for note in notes for label in note["labels"]})
        index.let_signatures_go()
        rendered = self._render(workspace, index, notes, labels, made_from)
        _take_out_too_long(index, workspace, len(sizes))
        self.progress(0.9, stage="splits", records=int(index.alive.sum()))
        assigned, leaks, last = split(index, self.policy)
        dropped["splits"] = leaks
        steps = [*_summed(notes), *reports, *_summed(rendered), last]
        return Finished(workspace, self.policy, index, assigned, dropped, steps, notes)

    def _evaluated(self) -> EvaluationTexts:
        if "decontamination" in self.policy.skipped_steps:
            return EvaluationTexts()
        own = {POLICY: self.policy.evaluation_texts} if self.policy.evaluation_texts else {}
        return EvaluationTexts.of({**own, **self.suites})

    def _prepare(
        self, workspace: Workspace, sizes: Sequence[int], made_from: str, evaluated: EvaluationTexts
    ) -> None:
        workspace.stage("prepared")
        documents_only = self._documents_only(workspace, len(sizes))
        repeated = repeated_in_shards(workspace, sizes, self.policy)
        tasks = [
            Prepare(workspace.folder, number, made_from, self.policy, documents_only, repeated, evaluated)
            for number in range(len(sizes))
        ]
        found = {task.number for task in tasks if workspace.note("prepared", task.number, made_from)}
        for done, number in enumerate(self.executor.run(prepare, tasks), 1):
            if len(tasks) > 1 and number not in found:
                self.prepared(number)
            self.progress(0.05 + 0.5 * done / len(tasks), stage="prepare", records=sum(sizes))

    def _documents_only(self, workspace: Workspace, count: int) -> bool:
        shards = (read_batch(workspace.shard("input", number)) for number in range(count))
        kinds = [set(shard.column("kind").unique().to_pylist()) for shard in shards]
        return bool(kinds) and all(of_shard == {"document"} for of_shard in kinds)

    def _render(
        self,
        workspace: Workspace,
        index: Index,
        notes: Sequence[Mapping[str, Any]],
        labels: Sequence[str],
        made_from: str,
    ) -> list[dict[str, Any]]:
        workspace.stage("rendered")
        tasks: list[Render] = []
        labels = _kept_labels(index, labels)
        for number, (low, high) in enumerate(_ranges(notes)):
            gone = tuple(np.flatnonzero(~index.alive[low:high]).tolist())
            of = fingerprint(made_from, gone, labels)
            tasks.append(Render(workspace.folder, number, of, self.policy, labels, gone, self.count_tokens))
        for done, _ in enumerate(self.executor.run(render, tasks), 1):
            share = 0.65 + 0.25 * done / len(tasks)
            self.progress(share, stage="render", records=int(index.alive.sum()))
        found = [workspace.note("rendered", task.number, task.fingerprint) for task in tasks]
        return [note for note in found if note is not None]


@dataclass(slots=True)
class Finished:
    """What curation made of a snapshot; every record read is either kept or dropped."""

    workspace: Workspace
    policy: Policy
    index: Index
    assigned: Assigned
    by_step: Mapping[str, Sequence[Dropped]]
    steps: Sequence[StepReport]
    notes: Sequence[Mapping[str, Any]]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """What was kept, shard by shard, as batches of CURATED_SCHEMA with `place`, `changed` and `before`
        (the remembered split) at their end."""
        assigned = self.assigned
        splits = np.zeros(len(self.index), dtype=np.uint8)
        cluster = np.zeros(len(self.index), dtype=np.int32)
        splits[assigned.rows], cluster[assigned.rows] = assigned.splits, assigned.cluster
        for number, (low, high) in enumerate(_ranges(self.notes)):
            batch = read_batch(self.workspace.shard("rendered", number))
            places = self.index.scalars["place"][low:high]
            rows = low + np.searchsorted(places, batch.column("place").to_numpy())
            alive = self.index.alive[rows]
            batch, rows = batch.filter(pa.array(alive)), rows[alive]
            found = {
                "split": _SPLITS.take(as_arrow(splits[rows])),
                "cluster": assigned.names.take(as_arrow(cluster[rows])),
                "before": _SPLITS.take(as_arrow(self.index.remembered[rows])),
            }
            columns = [found[name] if name in found else batch.column(name) for name in _CURATED.names]
            yield pa.RecordBatch.from_arrays(columns, schema=_CURATED)

    def dropped(self, wanted: Callable[[str], bool] = lambda _reason: True) -> Iterator[DroppedRecord]:
        """What was dropped for the wanted reasons, in the snapshot's order.

        Args:
            wanted: asked again in each shard.
        """
        rows = {step: rows_of(dropped) for step, dropped in self.by_step.items()}
        orders = {step: np.argsort(of_step, kind="stable") for step, of_step in rows.items()}
        for number, (low, high) in enumerate(_ranges(self.notes)):
            found = read_dropped(self.workspace.shard("prepared", number, "jsonl"))
            found += read_dropped(self.workspace.shard("rendered", number, "jsonl"))
            batch = read_batch(self.workspace.shard("prepared", number))
            for step, dropped in self.by_step.items():
                order = orders[step]
                start, end = np.searchsorted(rows[step][order], (low, high)).tolist()
                those = (dropped[place] for place in order[start:end].tolist())
                mine = [replace(one, row=one.row - low) for one in those if wanted(one.reason.value)]
                found += dropped_records(batch, step, mine)
            yield from sorted(found, key=lambda one: one.place)

    def report(self) -> Report:
        """The report on it."""
        return make_report(self)


_CURATED = pa.schema(
    [
        *CURATED_SCHEMA,
        pa.field("place", pa.int64(), nullable=False),
        pa.field("changed", pa.bool_(), nullable=False),
        pa.field("before", pa.string(), nullable=False),
    ]
)
_SPLITS: pa.Array[Any] = pa.array(SPLITS, pa.string())


@dataclass(frozen=True, slots=True)
class Curated:
    """A small snapshot's outcome, all in memory."""

    records: list[CuratedRecord]
    dropped: list[DroppedRecord]
    report: Report


def curate(
    records: Iterable[Record],
    policy: Policy,
    count_tokens: CountTokens,
    remembered: Mapping[str, Remembered] | None = None,
    progress: Progress = _silent,
) -> Curated:
    """Run all steps over some records, oldest first, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline(
            policy, Path(folder), count_tokens, "records", Memory.of(remembered or {}), progress=progress
        )
        finished = pipeline.run([records_to_batch(list(records))])
        kept = [one for batch in finished.batches() for one in batch_to_curated(batch)]
        return Curated(kept, list(finished.dropped()), finished.report())


def _ranges(notes: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
    """Rows of the index that each prepared shard has."""
    ends = np.cumsum([note["rows"] for note in notes], dtype=np.int64).tolist()
    return list(zip([0, *ends], ends, strict=False))


def _index(
    workspace: Workspace, count: int, made_from: str, remembered: Memory
) -> tuple[Index, list[dict[str, Any]]]:
    found = [workspace.note("prepared", number, made_from) for number in range(count)]
    notes = [note for note in found if note is not None]
    shards = [workspace.shard("prepared", number) for number in range(count)]
    keys = pa.chunked_array([read_batch(shard).column("record_key") for shard in shards], pa.string())
    scalars = [np.load(workspace.shard("prepared", number, "npy")) for number in range(count)]
    names = notes[0]["signatures"] if notes else []
    signatures = {name: _joined(workspace, name, [note["rows"] for note in notes]) for name in names}
    signatures = signatures or {"both": np.zeros((0, 1), dtype=np.uint32)}
    combined = keys.combine_chunks()
    together = np.concatenate(scalars) if scalars else np.zeros(0, dtype=SCALARS)
    codes, clusters = remembered.of_keys(combined)
    texts = Texts(shards, [note["rows"] for note in notes])
    return Index(combined, together, signatures, texts, codes, clusters), notes


def _joined(workspace: Workspace, name: str, rows: Sequence[int]) -> Any:
    """The signatures of all shards in one mapped file."""
    parts = [workspace.shard("prepared", number, f"{name}.npy") for number in range(len(rows))]
    width = np.load(parts[0], mmap_mode="r").shape[1]
    path = workspace.folder / f"{name}.npy"
    joined = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint32, shape=(max(sum(rows), 1), width))
    start = 0
    for part, count in zip(parts, rows, strict=True):
        joined[start : start + count] = np.load(part)
        start += count
    joined.flush()
    return joined


def _kept_labels(index: Index, labels: Sequence[str]) -> list[str]:
    """The labels of records that are alive."""
    labelled = index.rows[index.scalars["kind"][index.rows] == KINDS.index("labelled")]
    alive = set(index.scalars["label"][labelled].tolist())
    return [label for label in labels if hashed(label) in alive]


def _take_out_too_long(index: Index, workspace: Workspace, count: int) -> None:
    places = [
        one.place for n in range(count) for one in read_dropped(workspace.shard("rendered", n, "jsonl"))
    ]
    if places:
        index.alive[np.searchsorted(index.scalars["place"], places)] = False


def _summed(notes: Sequence[Mapping[str, Any]]) -> list[StepReport]:
    """The reports of each step over all shards."""
    total: dict[str, StepReport] = {}
    for note in notes:
        for one in map(StepReport.from_json, note["steps"]):
            total[one.name] = total[one.name].plus(one) if one.name in total else one
    return list(total.values())
