"""What a step gives back: who goes on, who was dropped and why, what was changed, and samples of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

SAMPLES = 5
"""Samples that a report shows of each kind of change."""


class Reason(StrEnum):
    """Why a record was dropped."""

    MISSING_FIELD = "MISSING_FIELD"
    PERSONAL_DATA = "PERSONAL_DATA"
    SECRET = "SECRET"  # noqa: S105 - a reason, not one
    WRONG_LANGUAGE = "WRONG_LANGUAGE"
    TOO_SHORT = "TOO_SHORT"
    TOO_LONG = "TOO_LONG"
    BOILERPLATE = "BOILERPLATE"
    LOW_QUALITY = "LOW_QUALITY"
    REPETITION = "REPETITION"
    CONTRADICTION = "CONTRADICTION"
    EXACT_DUPLICATE = "EXACT_DUPLICATE"
    NEAR_DUPLICATE = "NEAR_DUPLICATE"
    MISLABELLED = "MISLABELLED"
    CONTAMINATED = "CONTAMINATED"
    LEAKS_INTO_TEST = "LEAKS_INTO_TEST"
    LEAKS_INTO_VALIDATION = "LEAKS_INTO_VALIDATION"


@dataclass(frozen=True, slots=True)
class Dropped:
    """A record that does not go on: its row, why, a sentence with the figures, and the key of the record that
    decided.

    `row` counts in the batch a step was given, or in the index for steps that see all records at once.
    """

    row: int
    reason: Reason
    detail: str
    other_key: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class DroppedForOthers(Sequence[Dropped]):
    """Records, each dropped for another one, as arrays: for objects a corpus has too many.

    Args:
        others: the rows that stay in their place.
        likeness: how similar the two are; None where that goes without saying.
        says: of the other's key and the likeness.
    """

    rows: NDArray[np.int64]
    others: NDArray[np.int64]
    reason: Reason
    keys: pa.Array[Any]
    says: Callable[[str, float], str]
    likeness: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> Dropped: ...
    @overload
    def __getitem__(self, place: slice) -> DroppedForOthers: ...
    def __getitem__(self, place: int | slice) -> Dropped | DroppedForOthers:
        if isinstance(place, slice):
            return replace(
                self, rows=self.rows[place], others=self.others[place], likeness=self.likeness[place]
            )
        key = str(self.keys[int(self.others[place])].as_py())
        return Dropped(int(self.rows[place]), self.reason, self.says(key, float(self.likeness[place])), key)


def rows_of(dropped: Sequence[Dropped]) -> NDArray[np.int64]:
    """Their rows, in the same order."""
    if isinstance(dropped, DroppedForOthers):
        return dropped.rows
    return np.fromiter((one.row for one in dropped), dtype=np.int64, count=len(dropped))


def counts_by_reason(dropped: Sequence[Dropped]) -> dict[str, int]:
    """How many were dropped for each reason."""
    if isinstance(dropped, DroppedForOthers):
        return {dropped.reason.value: len(dropped)} if len(dropped) else {}
    return dict(Counter(one.reason.value for one in dropped))


@dataclass(frozen=True, slots=True)
class Sample:
    """A change, or a drop, as people look at it. Personal data is blotted out in both texts."""

    kind: str
    record_key: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step did to a batch.

    `changed` counts records by kind of change; `figures` holds what else the step has to say, as JSON values.
    """

    kept: pa.RecordBatch
    dropped: Sequence[Dropped] = ()
    changed: Counter[str] = field(default_factory=Counter)
    samples: Sequence[Sample] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a step that sees all records at once decided; the rows are those of the index."""

    dropped: Sequence[Dropped] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)


Step = Callable[[pa.RecordBatch], Outcome]
"""A pure function of a batch of ITEM_SCHEMA."""


def without(batch: pa.RecordBatch, dropped: Sequence[Dropped]) -> pa.RecordBatch:
    """The batch without the dropped rows."""
    if not dropped:
        return batch
    stays = np.ones(batch.num_rows, dtype=bool)
    stays[[one.row for one in dropped]] = False
    return batch.filter(pa.array(stays))


Found = Mapping[int, str]
"""The first rule that a text breaks, by the text's place; texts that break none are not in it."""


def broken_rules(batch: pa.RecordBatch, found: Found, reason: Reason, whose: str) -> Outcome:
    """The batch without the documents that break a rule; other kinds of records are not asked."""
    kinds = batch.column("kind").to_pylist()
    dropped = [
        Dropped(row, reason, f"{found[row]} ({whose})") for row in sorted(found) if kinds[row] == "document"
    ]
    rules = Counter(found[one.row] for one in dropped)
    return Outcome(without(batch, dropped), dropped, figures={"rules": dict(rules)})
