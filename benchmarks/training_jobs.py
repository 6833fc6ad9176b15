"""Whole trainings as a worker runs them, each in a process of its own: what the quote told and what it took,
and how much of it was not steps."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.peak import peak_mib
from benchmarks.training_rows import RECORDS

FIVE_MINUTES = 300.0
RECIPES: dict[str, dict[str, Any]] = {
    "sft": {"max_training_tokens": 36_000, "epochs": 2.0, "tokens_per_batch": 1024},
    "output_layer": {"method": "output_layer", "max_training_tokens": 8_000, "epochs": 4.0},
    "dpo": {"method": "dpo", "max_training_tokens": 8_000},
    "from_scratch": {"method": "from_scratch", "parameters": 4_000_000, "vocabulary_size": 2048},
}


def jobs(work: Path) -> dict[str, Any]:
    """`told` and `took` of each recipe: seconds from the process's begin to its end, and its peak memory."""
    write_data(work / "data")
    found: dict[str, Any] = {}
    for name in RECIPES:
        told = _alone(_quoted, work, name)
        found[name] = {"told": told, "took": _alone(_trained, work, name)}
        print(f"  {name}: {json.dumps(found[name])}", file=sys.stderr, flush=True)
    return found


def overhead(took: dict[str, float]) -> float:
    """Of a job of five minutes, the share that is not steps: what is done once (start, loading, the first
    validation, saving) as it was, the rest in proportion."""
    loop = took["loop_seconds"] - took["first_look_seconds"]
    once = took["seconds"] - loop
    between = (loop - took["step_seconds"]) / loop
    return (once + between * (FIVE_MINUTES - once)) / FIVE_MINUTES


def write_data(folder: Path) -> None:
    """Curated conversations, labelled texts and preferences; three of twenty are held out."""
    from sartor_datasets.arrow import CuratedRecord
    from sartor_datasets.curated import CuratedWriter
    from sartor_datasets.records import Record, content_id

    folder.mkdir()
    with CuratedWriter(folder) as writer:
        for number, content in enumerate(_contents()):
            record = Record(
                record_id=content_id(**content),
                record_key=f"row-{number}",
                source="projects/bench/sources/desk",
                position=str(number),
                event_time=datetime(2026, 1, 1, tzinfo=UTC),
                **content,
            )
            split = "validation" if number % 20 < 3 else "train"
            writer.write(CuratedRecord(record, split, f"c{number}", "en", 50))


def _contents() -> Iterator[dict[str, Any]]:
    from sartor_datasets.records import Message

    records = [json.loads(line) for line in RECORDS.read_text(encoding="utf-8").splitlines()]
    asked = [record for record in records if record.get("question") and record.get("answer")]
    chance = random.Random(0)
    for record, other in zip(asked, asked[7:], strict=False):
        turns = [Message("user", record["question"]), Message("assistant", record["answer"])]
        for more in chance.sample(asked, chance.choice((0, 0, 1, 3))):
            turns += [Message("user", more["question"]), Message("assistant", more["answer"])]
        yield {"kind": "chat", "messages": tuple(turns), "attributes": {}}
        yield {
            "kind": "preference",
            "messages": tuple(turns[:1]),
            "chosen": record["answer"],
            "rejected": other["answer"],
            "attributes": {},
        }
    for record in records:
        if record.get("team"):
            text, label = record["text"], record["team"]
            turns = [Message("user", text), Message("assistant", label)]
            yield {
                "kind": "labelled",
                "messages": tuple(turns),
                "text": text,
                "label": label,
                "attributes": {},
            }


def _alone(part: Any, work: Path, name: str) -> dict[str, float]:
    begun = time.time()
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        found: dict[str, float] = pool.apply(part, (str(work), name, begun))
    return found


def _task(work: Path, name: str, folder: Path) -> dict[str, Any]:
    return {
        "base": str(work / "base"),
        "base_model": "projects/bench/baseModels/smollm2",
        "data": str(work / "data"),
        "output": str(folder / "output"),
        "recipe": RECIPES[name],
        "threads": len(os.sched_getaffinity(0)),
    }


def _folder(work: str, name: str, part: str) -> Path:
    folder = Path(work) / f"{name}-{part}"
    folder.mkdir()
    return folder


def _quoted(work: str, name: str, begun: float) -> dict[str, float]:
    from sartor_training.child import quote

    folder = _folder(work, name, "quote")
    told = quote(_task(Path(work), name, folder), folder, _Silent())
    return {"seconds": told["seconds"], "memory_mib": told["peak_memory_bytes"] / 2**20}


def _trained(work: str, name: str, begun: float) -> dict[str, float]:
    from sartor_training.child import start_torch, train

    folder = _folder(work, name, "job")
    task = _task(Path(work), name, folder)
    start_torch(task)
    from sartor_training.methods import loop
    from sartor_training.methods.optimizer import MasterAdamW
    from sartor_training.methods.passes import Passes

    steps = _Stopwatch()
    with (
        mock.patch.object(Passes, "backward", steps.timed(Passes.backward)),
        mock.patch.object(MasterAdamW, "step", steps.timed(MasterAdamW.step)),
        mock.patch.object(loop.Training, "run", (whole := _Stopwatch()).timed(loop.Training.run)),
        mock.patch.object(loop.Training, "_validate", (looks := _Stopwatch()).timed(loop.Training._validate)),
    ):
        train(task, folder, _Silent())
    return {
        "seconds": time.time() - begun,
        "loop_seconds": whole.seconds,
        "step_seconds": steps.seconds,
        "first_look_seconds": looks.first,
        "memory_mib": peak_mib(),
    }


class _Stopwatch:
    def __init__(self) -> None:
        self.seconds = self.first = 0.0

    def timed(self, function: Any) -> Any:
        """`function`, whose time is added up."""

        def run(*args: Any, **more: Any) -> Any:
            begun = time.perf_counter()
            try:
                return function(*args, **more)
            finally:
                took = time.perf_counter() - begun
                self.seconds += took
                self.first = self.first or took

        return run


class _Silent:
    """Nobody listens to the progress."""

    def __call__(self, fraction: float, **_: Any) -> None:
        """Nothing."""

    def send(self, message: dict[str, Any]) -> None:
        """Nothing."""
