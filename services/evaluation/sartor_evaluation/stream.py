"""Answers without end: many supplied answers are scored as they pass, in memory that does not grow with them.

What is kept is each metric's sums in random groups of clusters (see statistics.py) and the worst items.
"""

import heapq
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from sartor_platform.worker import Report as Progress

from sartor_evaluation.estimates import Estimate
from sartor_evaluation.findings import ComparisonLine, ScoreLine, worded
from sartor_evaluation.items import HELD_OUT, Item
from sartor_evaluation.metrics.catalogue import metrics
from sartor_evaluation.metrics.compute import sums_of
from sartor_evaluation.metrics.sums import Array
from sartor_evaluation.outputs import write_report
from sartor_evaluation.report import SCHEMA_VERSION, comparison_json, metrics_json, score_json
from sartor_evaluation.results import RESULT_SCHEMA
from sartor_evaluation.statistics import (
    MOST_GROUPS,
    Resamples,
    difference_of_sums,
    estimate_of_sums,
    resample_groups,
)
from sartor_evaluation.stream_scoring import Part, ScoredPart, score_parts
from sartor_evaluation.suites import UnusableItems, client_item, json_lines, labels_of
from sartor_evaluation.supplied import AnswersOnDisk, SuppliedAnswers

STREAMED_FROM = 20_000
"""Fewer items are evaluated at once, with slices and exact clusters."""
_CHUNK = 2_000
_LISTED = 20_000
_WORTH_PROCESSES = 16_000_000
"""Bytes of items."""


def is_stream(task: Mapping[str, Any]) -> bool:
    """Whether all candidates' answers are there, and the items too many to hold."""
    supplied = all(model.get("answers") for model in task["models"].values())
    if not supplied or not task["items"] or task["rules"] or task.get("suites"):
        return False
    with Path(task["items"]).open("rb") as file:
        return sum(1 for _ in islice(file, STREAMED_FROM + 1)) > STREAMED_FROM


def evaluate_stream(task: Mapping[str, Any], folder: Path, report: Progress) -> dict[str, Any]:
    """As evaluate.evaluate, for supplied answers.

    Raises:
        UnusableItems: an item cannot be used, or is given twice.
    """
    started = time.monotonic()
    size = Path(task["items"]).stat().st_size
    with ExitStack() as stack:
        candidates: dict[str, AnswersOnDisk] = {}
        for value in task["candidates"]:
            model = task["models"][value["model"]]
            opened = AnswersOnDisk(SuppliedAnswers(model["name"], Path(model["answers"])), folder / "models")
            stack.callback(opened.close)
            candidates[value["id"]] = opened
        sums = _Sums(list(candidates))
        worst = _Worst(_LISTED)
        writer = stack.enter_context(
            pq.ParquetWriter(folder / "results.parquet", RESULT_SCHEMA, compression="zstd")
        )
        read = 0
        asked = _parts(Path(task["items"]), folder / "models", candidates)
        scored = score_parts(asked, task.get("metrics", ()), _processes(size))
        stack.callback(scored.close)
        for part in scored:
            sums.add(part)
            writer.write_table(part.table)
            worst.add(part.lines)
            read += part.items
            report(0.98 * part.end / size, stage="scoring answers", items=float(read))
    worst.write(folder / "results.jsonl")
    made = _report(task, sums, read, time.monotonic() - started)
    return {
        **write_report(made, folder),
        "results": str(folder / "results.parquet"),
        "item_results": str(folder / "results.jsonl"),
        "reference_outputs": "",
    }


def _processes(size: int) -> int:
    """How many score: one where the others would hardly be up before it is done."""
    return 1 if size < _WORTH_PROCESSES else len(os.sched_getaffinity(0))


def _parts(path: Path, folder: Path, candidates: Mapping[str, AnswersOnDisk]) -> Iterator[Part]:
    for items, end in _chunks(path, folder):
        outcomes = {name: [opened.outcome(item) for item in items] for name, opened in candidates.items()}
        yield Part(items, outcomes, end)


def _chunks(path: Path, folder: Path) -> Iterator[tuple[list[Item], int]]:
    """Items with the byte position after them."""
    with path.open(encoding="utf-8") as file:
        labels = labels_of(json_lines(file))
    seen = sqlite3.connect(folder / "seen.db")
    seen.execute("PRAGMA journal_mode = OFF")
    seen.execute("PRAGMA synchronous = OFF")
    seen.execute("CREATE TABLE seen (item_id TEXT PRIMARY KEY) WITHOUT ROWID")
    number = end = 0
    with path.open(encoding="utf-8") as file:
        while lines := list(islice(file, _CHUNK)):
            items = []
            for row in json_lines(lines):
                number += 1
                item_id = str(row.get("id") or number)
                if not row.get("prompt") or not (row.get("reference") or row.get("label")):
                    raise UnusableItems(f"item {item_id} has no prompt, or neither reference nor label")
                items.append(client_item(item_id, row, labels))
            try:
                seen.executemany("INSERT INTO seen VALUES (?)", [(item.item_id,) for item in items])
            except sqlite3.IntegrityError as error:
                raise UnusableItems(f"an item id among the items up to {number} is given twice") from error
            end += sum(len(line.encode()) for line in lines)
            yield items, end
    seen.close()


class _Sums:
    """Each metric's sums by group: of each candidate, and of each pair over the items that both answered."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._single: dict[tuple[str, str], Array] = {}
        self._pairs: dict[tuple[str, str, str], tuple[Array, Array]] = {}
        self._items: dict[tuple[str, ...], int] = {}
        self._plain: dict[tuple[str, str], bool] = {}
        self.failed = dict.fromkeys(names, 0)

    def add(self, part: ScoredPart) -> None:
        """Add what all candidates made of some items."""
        for name, count in part.failed.items():
            self.failed[name] += count
        for (metric, name), (applies, values) in part.sums.items():
            self._add_single(metric, name, part.groups[applies], values)
            for base in self._names[: self._names.index(name)]:
                if (metric, base) in part.sums:
                    ours, theirs = part.sums[metric, name], part.sums[metric, base]
                    self._add_pair(metric, (name, base), part.groups, ours, theirs)

    def _add_single(self, metric: str, name: str, groups: Any, values: Array) -> None:
        key = (metric, name)
        held = self._single.setdefault(key, np.zeros((MOST_GROUPS, values.shape[1])))
        np.add.at(held, groups, values)
        self._items[key] = self._items.get(key, 0) + len(values)
        self._plain[key] = self._plain.get(key, True) and bool(np.isin(values, (0.0, 1.0)).all())

    def _add_pair(self, metric: str, pair: tuple[str, str], groups: Any, ours: Any, theirs: Any) -> None:
        both = ours[0] & theirs[0]
        if not both.any():
            return
        mine, other = ours[1][both[ours[0]]], theirs[1][both[theirs[0]]]
        key = (metric, *pair)
        empty = (np.zeros((MOST_GROUPS, mine.shape[1])), np.zeros((MOST_GROUPS, mine.shape[1])))
        held = self._pairs.setdefault(key, empty)
        np.add.at(held[0], groups[both], mine)
        np.add.at(held[1], groups[both], other)
        self._items[key] = self._items.get(key, 0) + int(both.sum())

    def scores(self, resamples: Resamples) -> list[ScoreLine]:
        """One line a metric and candidate."""
        lines = []
        for (metric, name), held in self._single.items():
            key = (metric, name)
            value = sums_of(metrics()[metric]).value
            found = estimate_of_sums(held, value, resamples, self._items[key], plain=self._plain[key])
            lines.append(ScoreLine(HELD_OUT, metric, name, found, self.failed[name]))
        return lines

    def comparisons(self, resamples: Resamples) -> list[ComparisonLine]:
        """One line a metric and pair."""
        lines = []
        for (metric, name, base), (ours, theirs) in self._pairs.items():
            value = sums_of(metrics()[metric]).value
            items = self._items[metric, name, base]
            found: Estimate = difference_of_sums(ours, theirs, value, resamples, items)
            lines.append(ComparisonLine(HELD_OUT, metric, name, base, found, ""))
        return worded(lines)


class _Worst:
    """The worst rows that were seen, at most `most`."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[tuple[float, int, str]] = []
        self._count = 0

    def add(self, lines: Sequence[tuple[float, str]]) -> None:
        """Scores and JSON lines."""
        for score, line in lines:
            self._count += 1
            entry = (-score, -self._count, line)
            if len(self._heap) < self._most:
                heapq.heappush(self._heap, entry)
            elif entry > self._heap[0]:
                heapq.heapreplace(self._heap, entry)

    def write(self, path: Path) -> None:
        """JSON lines, the worst first."""
        with path.open("w", encoding="utf-8") as file:
            file.writelines(line for _, _, line in sorted(self._heap, reverse=True))


def _report(task: Mapping[str, Any], sums: _Sums, items: int, seconds: float) -> dict[str, Any]:
    resamples = resample_groups(np.zeros(0, dtype=np.int64), MOST_GROUPS)
    names = [value["id"] for value in task["candidates"]]
    scores, comparisons = sums.scores(resamples), sums.comparisons(resamples)
    shown = dict.fromkeys(line.metric for line in scores)
    failures = {name: {"no answer was given": count} for name, count in sums.failed.items() if count}
    suite = {"items": items, "clusters": items, "languages": {}, "kinds": {}, "candidates": names}
    return {
        "schema_version": SCHEMA_VERSION,
        "about": dict(task["about"]),
        "confidence": 0.95,
        "seconds": round(seconds, 1),
        "candidates": [
            {
                "id": value["id"],
                "model": task["models"][value["model"]]["name"],
                "tuned": False,
                "prompt": {"shots": 0, "choice": "", "description": "answers of the client"},
                "search": None,
            }
            for value in task["candidates"]
        ],
        "suites": {HELD_OUT: suite},
        "metrics": metrics_json(list(shown)),
        "scores": [score_json(line) for line in scores],
        "comparisons": [comparison_json(line) for line in comparisons],
        "slices": [],
        "verdict": None,
        "items_too_long": [],
        "training_overlap": {},
        "failures": {HELD_OUT: failures} if failures else {HELD_OUT: {}},
        "classes": {HELD_OUT: {}},
        "examples": {},
    }
