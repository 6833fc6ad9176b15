"""What is done to one shard on its own: prepare it before records are compared, render it after."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sartor_curation.evaluation_texts import EvaluationTexts
from sartor_curation.features import features_of
from sartor_curation.index import read_batch, write_batch
from sartor_curation.plan import local_steps
from sartor_curation.policy import Policy
from sartor_curation.shards import Workspace
from sartor_curation.steps.batches import Rows, with_columns
from sartor_curation.steps.excerpts import excerpt
from sartor_curation.steps.instructions import render_instructions
from sartor_curation.steps.lengths import CountTokens, drop_too_long
from sartor_curation.steps.outcome import Dropped, Outcome, Step
from sartor_curation.tally import StepReport, Tally, changed_rows


@dataclass(frozen=True, slots=True)
class DroppedRecord:
    """A record that was dropped: where it came from, by which step and why, and the beginning of its text."""

    place: int
    record_id: str
    record_key: str
    source: str
    position: str
    step: str
    reason: str
    detail: str
    other_key: str
    excerpt: str


_DROPPED_FIELDS = tuple(field.name for field in fields(DroppedRecord))


@dataclass(frozen=True, slots=True)
class Prepare:
    """Runs the steps that look at a record alone, and writes what is needed to compare it with others."""

    folder: Path
    number: int
    fingerprint: str
    policy: Policy
    documents_only: bool
    repeated: Mapping[str, float]
    """Lines of the whole dataset, for the step `boilerplate`."""
    evaluated: EvaluationTexts
    """What models are evaluated on."""


def prepare(task: Prepare) -> int:
    """Do the task, unless it is done; gives the shard's number."""
    workspace = Workspace(task.folder)
    if workspace.note("prepared", task.number, task.fingerprint) is None:
        original = read_batch(workspace.shard("input", task.number))
        before = Tally.of(original, task.policy.represented)
        batch, dropped, reports = run_steps(original, local_steps(task.policy, task.repeated, task.evaluated))
        changed = pa.array(changed_rows(original, batch))
        batch = with_columns(batch, {"changed": changed})
        features = features_of(batch, documents_only=task.documents_only)
        np.save(workspace.shard("prepared", task.number, "npy"), features.scalars)
        for name, signatures in features.signatures.items():
            np.save(workspace.shard("prepared", task.number, f"{name}.npy"), signatures)
        write_batch(workspace.shard("prepared", task.number), batch)
        write_dropped(workspace.shard("prepared", task.number, "jsonl"), dropped)
        note = {
            "rows": batch.num_rows,
            "signatures": list(features.signatures),
            "labels": sorted({*Rows.of(batch).labels} - {""}),
            "steps": [asdict(report) for report in reports],
            "before": before.to_json(),
        }
        workspace.done("prepared", task.number, task.fingerprint, note)
    return task.number


@dataclass(frozen=True, slots=True)
class Render:
    """Takes out what the comparison dropped, gives every record the shape of a chat, and counts tokens.

    Args:
        gone: rows of the prepared shard.
        labels: of all shards.
    """

    folder: Path
    number: int
    fingerprint: str
    policy: Policy
    labels: Sequence[str]
    gone: tuple[int, ...]
    count_tokens: CountTokens


def render(task: Render) -> int:
    """Do the task, unless it is done; gives the shard's number."""
    workspace = Workspace(task.folder)
    if workspace.note("rendered", task.number, task.fingerprint) is None:
        batch = read_batch(workspace.shard("prepared", task.number))
        stays = np.ones(batch.num_rows, dtype=bool)
        stays[list(task.gone)] = False
        policy = task.policy
        steps: dict[str, Step] = {
            "instructions": lambda items: render_instructions(items, policy.label_instruction, task.labels),
            "too_long": lambda items: drop_too_long(items, task.count_tokens, policy.max_tokens),
        }
        kept, dropped, reports = run_steps(batch.filter(pa.array(stays)), steps)
        write_batch(workspace.shard("rendered", task.number), kept)
        write_dropped(workspace.shard("rendered", task.number, "jsonl"), dropped)
        note = {"rows": kept.num_rows, "steps": [asdict(report) for report in reports]}
        workspace.done("rendered", task.number, task.fingerprint, note)
    return task.number


def run_steps(
    batch: pa.RecordBatch, steps: Mapping[str, Step]
) -> tuple[pa.RecordBatch, list[DroppedRecord], list[StepReport]]:
    """The batch after all steps, what they dropped, and what each did."""
    dropped: list[DroppedRecord] = []
    reports: list[StepReport] = []
    for name, step in steps.items():
        started = time.perf_counter()
        outcome: Outcome = step(batch)
        reports.append(StepReport.of(name, batch.num_rows, outcome, time.perf_counter() - started))
        dropped += dropped_records(batch, name, outcome.dropped)
        batch = outcome.kept
    return batch, dropped, reports


def dropped_records(batch: pa.RecordBatch, step: str, dropped: Sequence[Dropped]) -> list[DroppedRecord]:
    """The dropped rows of a batch with what people need to find them again."""
    if not dropped:
        return []
    taken = batch.take(pa.array([one.row for one in dropped]))
    rows = Rows.of(taken)
    names = ("place", "record_id", "record_key", "source", "position")
    columns: list[list[Any]] = [taken.column(name).to_pylist() for name in names]
    return [
        DroppedRecord(
            place=columns[0][row],
            record_id=columns[1][row],
            record_key=columns[2][row],
            source=columns[3][row],
            position=columns[4][row],
            step=step,
            reason=one.reason.value,
            detail=one.detail,
            other_key=one.other_key,
            excerpt=excerpt(rows.shown(row)),
        )
        for row, one in enumerate(dropped)
    ]


def write_dropped(path: Path, dropped: Iterable[DroppedRecord]) -> None:
    """One line of JSON for each."""
    with path.open("w", encoding="utf-8") as lines:
        for one in dropped:
            lines.write(json.dumps({name: getattr(one, name) for name in _DROPPED_FIELDS}) + "\n")


def read_dropped(path: Path) -> list[DroppedRecord]:
    """What `write_dropped` wrote."""
    with path.open(encoding="utf-8") as lines:
        return [DroppedRecord(**json.loads(line)) for line in lines]
