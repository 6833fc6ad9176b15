"""Scores of one part of a stream: what a helper process is given and gives back."""

import multiprocessing
import os
from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sartor_platform.orphans import end_with

from sartor_evaluation.items import HELD_OUT, Item, Outcome
from sartor_evaluation.metrics.catalogue import MetricInfo, metrics
from sartor_evaluation.metrics.compute import sums_of
from sartor_evaluation.metrics.sums import Array
from sartor_evaluation.results import json_line, row_of, table_of
from sartor_evaluation.statistics import group_of

_AHEAD = 2
"""Parts that wait for each process: enough that none idles, few enough to be held."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some items and what each candidate answered; `end` is the byte position after them."""

    items: Sequence[Item]
    outcomes: Mapping[str, Sequence[Outcome]]
    end: int


@dataclass(frozen=True, slots=True)
class ScoredPart:
    """What is kept of a part.

    groups: int64 [items], the group of each item's cluster.
    sums: (metric, candidate) -> which items it applies to, bool [items], and their rows of statistics.
    lines: score and JSON line of each result.
    """

    items: int
    end: int
    groups: NDArray[np.int64]
    sums: Mapping[tuple[str, str], tuple[NDArray[np.bool_], Array]]
    failed: Mapping[str, int]
    table: pa.Table
    lines: Sequence[tuple[float, str]]


def streamed_metrics(wanted: Sequence[str]) -> list[MetricInfo]:
    """The wanted ones, or all but the slow ones; without those that have no sums that add up in groups."""
    return [
        info
        for info in metrics().values()
        if (info.name in wanted if wanted else not info.extra) and info.name != "macro_f1"
    ]


def score_parts(parts: Iterable[Part], wanted: Sequence[str], processes: int) -> Generator[ScoredPart]:
    """Score the parts in their order, in so many helper processes; with one, in this process."""
    if processes < 2:
        yield from (score_part(part, wanted) for part in parts)
        return
    waiting: deque[Future[ScoredPart]] = deque()
    with ExitStack() as stack:
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(processes, context, end_with, (os.getpid(),))
        stack.callback(pool.shutdown, cancel_futures=True)
        for part in parts:
            waiting.append(pool.submit(score_part, part, wanted))
            if len(waiting) > _AHEAD * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def score_part(part: Part, wanted: Sequence[str]) -> ScoredPart:
    """Every metric of every outcome, each computed once."""
    infos = streamed_metrics(wanted)
    sums: dict[tuple[str, str], tuple[NDArray[np.bool_], Array]] = {}
    rows: list[dict[str, Any]] = []
    for name, outcomes in part.outcomes.items():
        scores: list[dict[str, float]] = [{} for _ in outcomes]
        for info in infos:
            applies = np.array([info.applies(outcome) for outcome in outcomes], dtype=bool)
            places = np.flatnonzero(applies)
            if not len(places):
                continue
            metric, some = sums_of(info), [outcomes[int(place)] for place in places]
            if metric.per_item is not None:
                values = [metric.per_item(outcome) for outcome in some]
                for place, value in zip(places, values, strict=True):
                    scores[place][info.name] = value
            if metric.is_mean:
                found = np.stack((np.array(values, dtype=np.float64), np.ones(len(some))), axis=1)
            else:
                found = metric.rows(some)
            sums[info.name, name] = (applies, found)
        rows += [
            row_of(HELD_OUT, name, outcome, per_item)
            for outcome, per_item in zip(outcomes, scores, strict=True)
        ]
    return ScoredPart(
        items=len(part.items),
        end=part.end,
        groups=np.array([group_of(item.cluster) for item in part.items], dtype=np.int64),
        sums={
            key: sums[key] for info in infos for name in part.outcomes if (key := (info.name, name)) in sums
        },
        failed={name: sum(bool(one.failure) for one in found) for name, found in part.outcomes.items()},
        table=table_of(rows),
        lines=[(row["score"], json_line(row)) for row in rows],
    )
