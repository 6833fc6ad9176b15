"""Every item's result: as Parquet for analysis, as JSON lines (the worst first) for the service's list."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sartor_evaluation.items import Outcome
from sartor_evaluation.metrics.compute import applicable, item_loss, item_score, sums_of
from sartor_evaluation.slices import item_slices

_STRINGS = pa.map_(pa.string(), pa.string())
_NUMBERS = pa.map_(pa.string(), pa.float64())

_FIELDS: list[pa.Field[Any]] = [
    pa.field("suite", pa.string(), nullable=False),
    pa.field("item_id", pa.string(), nullable=False),
    pa.field("candidate", pa.string(), nullable=False),
    pa.field("kind", pa.string(), nullable=False),
    pa.field("prompt", pa.string(), nullable=False),
    pa.field("reference", pa.string(), nullable=False),
    pa.field("answer", pa.string(), nullable=False),
    pa.field("chosen", pa.string(), nullable=False),
    pa.field("truncated", pa.bool_(), nullable=False),
    pa.field("loss_sum", pa.float64(), nullable=False),
    pa.field("loss_tokens", pa.int32(), nullable=False),
    pa.field("score", pa.float64(), nullable=False),
    pa.field("metrics", _NUMBERS, nullable=False),
    pa.field("slices", _STRINGS, nullable=False),
    pa.field("cluster", pa.string(), nullable=False),
    pa.field("failure", pa.string(), nullable=False),
    pa.field("loss", pa.float64(), nullable=False),
    pa.field("choices", pa.list_(pa.string()), nullable=False),
    pa.field("choice_losses", pa.list_(pa.float64()), nullable=False),
    pa.field("choice_tokens", pa.list_(pa.int32()), nullable=False),
    pa.field("greedy", pa.bool_(), nullable=False),
]

RESULT_SCHEMA: pa.Schema = pa.schema(_FIELDS)
"""`score` is one number for any kind of item: the right label or choice, or token F1. Losses are in nats."""


def rows(answered: Mapping[str, Mapping[str, Sequence[Outcome]]]) -> list[dict[str, Any]]:
    """One row a suite, candidate and item, the worst first: lowest score, then highest loss a token."""
    found = [
        row_of(suite, candidate, outcome)
        for suite, by_candidate in answered.items()
        for candidate, outcomes in by_candidate.items()
        for outcome in outcomes
    ]
    return sorted(found, key=lambda row: (row["score"], -row["loss"], row["item_id"]))


def row_of(
    suite: str, candidate: str, outcome: Outcome, scores: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """One row of RESULT_SCHEMA; `scores` are its metrics where they are known already."""
    item = outcome.item
    return {
        "suite": suite,
        "item_id": item.item_id,
        "candidate": candidate,
        "kind": item.kind.value,
        "prompt": item.question,
        "reference": item.reference,
        "answer": outcome.chosen if outcome.answer is None else outcome.answer,
        "chosen": outcome.chosen,
        "truncated": outcome.truncated,
        "loss_sum": outcome.loss_sum,
        "loss_tokens": outcome.loss_tokens,
        "score": item_score(outcome),
        "metrics": item_metrics(outcome) if scores is None else dict(scores),
        "slices": item_slices(item),
        "cluster": item.cluster,
        "failure": outcome.failure,
        "loss": item_loss(outcome),
        "choices": list(item.choices),
        "choice_losses": list(outcome.choice_losses),
        "choice_tokens": list(outcome.choice_tokens),
        "greedy": outcome.greedy,
    }


def item_metrics(outcome: Outcome) -> dict[str, float]:
    """Every metric that has a meaning for one item alone."""
    found = {}
    for info in applicable([outcome]):
        per_item = sums_of(info).per_item
        if per_item is not None:
            found[info.name] = per_item(outcome)
    return found


def table_of(found: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows as a table of RESULT_SCHEMA."""
    columns: dict[str, list[Any]] = {name: [] for name in RESULT_SCHEMA.names}
    for row in found:
        for name, column in columns.items():
            value = row[name]
            column.append(list(value.items()) if isinstance(value, Mapping) else value)
    return pa.Table.from_pydict(columns, schema=RESULT_SCHEMA)


def write_parquet(path: Path, found: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as RESULT_SCHEMA."""
    pq.write_table(table_of(found), path, compression="zstd")


_LISTED = (
    "suite",
    "item_id",
    "candidate",
    "prompt",
    "reference",
    "answer",
    "metrics",
    "slices",
    "failure",
    "score",
    "cluster",
)


def json_line(row: Mapping[str, Any]) -> str:
    """What the service lists of a row."""
    return json.dumps({name: row[name] for name in _LISTED}, ensure_ascii=False) + "\n"


def write_json_lines(path: Path, found: Iterable[Mapping[str, Any]]) -> None:
    """Write what the service lists of each row, in the order given."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(map(json_line, found))
