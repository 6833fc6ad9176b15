"""Where shards lie while a snapshot is curated, which of them are done, and who works on them."""

from __future__ import annotations

import hashlib
import importlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from sartor_platform.orphans import end_with

from sartor_curation.index import write_batch
from sartor_curation.steps.batches import concatenated, items

SHARD_BYTES = 4 << 20
"""Bytes of a shard's Arrow data; a process holds fifty times as much while it works on it."""
_MANY_TASKS = 128
"""After so many a process holds more than it is worth: it took minutes, and a new one starts in a second."""

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


class Executor(Protocol):
    """Runs one function on many tasks, in any order. Function and tasks can be pickled."""

    def run(self, work: Callable[[_Task], _Result], tasks: Sequence[_Task]) -> Iterator[_Result]: ...


class Inline:
    """Runs tasks one after another in this process."""

    def run(self, work: Callable[[_Task], _Result], tasks: Sequence[_Task]) -> Iterator[_Result]:
        return map(work, tasks)


class Processes:
    """Runs tasks in processes of this machine; a single task needs none.

    As a context it keeps its processes from one run to the next: starting them costs a second.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ProcessPoolExecutor | None = None
        self._kept = False

    def __enter__(self) -> Self:
        self._kept = True
        return self

    def __exit__(self, *_: object) -> None:
        self._kept = False
        self._end()

    def start(self) -> None:
        """Start the processes of this context now, for tasks that will come."""
        if self._kept and self.count > 1:
            for _ in range(self.count):
                self._opened().submit(_import_steps)

    def run(self, work: Callable[[_Task], _Result], tasks: Sequence[_Task]) -> Iterator[_Result]:
        if min(self.count, len(tasks)) < 2:
            yield from map(work, tasks)
            return
        waiting: set[Future[_Result]] = {self._opened().submit(work, task) for task in tasks}
        try:
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for one in done:
                    yield one.result()
        finally:
            for one in waiting:
                one.cancel()
            if not self._kept or len(tasks) >= _MANY_TASKS:
                self._end()

    def _opened(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.count, context, end_with, (os.getpid(),))
        return self._pool

    def _end(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


def _import_steps() -> None:
    """What tasks need, while there are none yet."""
    importlib.import_module("sartor_curation.shard_work")


@dataclass(frozen=True, slots=True)
class Workspace:
    """A folder of shards by stage. A shard is done when its note is there, and the note has the fingerprint
    of what it was made from."""

    folder: Path

    def shard(self, stage: str, number: int, suffix: str = "arrow") -> Path:
        """The path of a shard's file."""
        return self.folder / stage / f"{number:05d}.{suffix}"

    def note(self, stage: str, number: int, fingerprint: str) -> dict[str, Any] | None:
        """What was written when the shard was done, or None where it is not done from the same."""
        path = self.shard(stage, number, "json")
        if not path.exists():
            return None
        note: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return note if note["fingerprint"] == fingerprint else None

    def done(self, stage: str, number: int, fingerprint: str, note: dict[str, Any]) -> None:
        """Write the shard's note: the last thing that is done for it."""
        path = self.shard(stage, number, "json")
        partial = path.with_name(path.name + ".partial")
        partial.write_text(json.dumps({**note, "fingerprint": fingerprint}), encoding="utf-8")
        partial.replace(path)

    def stage(self, name: str) -> Path:
        """The folder of a stage, made if need be."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def fingerprint(*parts: object) -> str:
    """SHA-256 in hex of JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def cut(
    workspace: Workspace,
    batches: Iterable[pa.RecordBatch],
    of: str,
    shard_bytes: int = SHARD_BYTES,
    several: Callable[[], None] = lambda: None,
) -> list[int]:
    """Write the live records into shards of about so many bytes in stage `input`; gives the rows of each.

    Args:
        of: what the batches are, as a fingerprint; a second call with the same one does nothing.
        several: called when it is clear that there will be more than one.
    """
    workspace.stage("input")
    note = workspace.note("input", 0, of)
    if note is not None:
        return list(note["rows"])
    rows: list[int] = []
    first = 0
    for gathered in _gathered(batches, shard_bytes):
        shard = items(gathered, first)
        first += shard.num_rows
        write_batch(workspace.shard("input", len(rows)), shard)
        rows.append(shard.num_rows)
        if len(rows) == 2:
            several()
    workspace.done("input", 0, of, {"rows": rows})
    return rows


def _gathered(batches: Iterable[pa.RecordBatch], shard_bytes: int) -> Iterator[pa.RecordBatch]:
    held: list[pa.RecordBatch] = []
    size = 0
    for piece in _pieces(batches, shard_bytes):
        held.append(piece)
        size += piece.nbytes
        if size >= shard_bytes:
            yield concatenated(held)
            held, size = [], 0
    if sum(batch.num_rows for batch in held):
        yield concatenated(held)


def _pieces(batches: Iterable[pa.RecordBatch], most_bytes: int) -> Iterator[pa.RecordBatch]:
    """The live records in pieces of about so many bytes at most, whatever the size of a batch."""
    for batch in batches:
        live = batch.filter(pc.equal(batch.column("op"), pa.scalar("upsert")))
        rows = max(1, live.num_rows * most_bytes // max(live.nbytes, 1))
        for start in range(0, live.num_rows, rows):
            yield live.slice(start, rows)
