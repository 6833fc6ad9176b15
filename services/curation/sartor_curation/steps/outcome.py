"""What a step gives back: who goes on, who was dropped and why, what was changed, and samples of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sartor_curation.steps.item import Item

SAMPLES = 5
"""Samples that a report shows of each kind of change."""


class Reason(StrEnum):
    """Why a record was dropped."""

    MISSING_FIELD = "MISSING_FIELD"
    PERSONAL_DATA = "PERSONAL_DATA"
    WRONG_LANGUAGE = "WRONG_LANGUAGE"
    TOO_SHORT = "TOO_SHORT"
    TOO_LONG = "TOO_LONG"
    CONTRADICTION = "CONTRADICTION"
    EXACT_DUPLICATE = "EXACT_DUPLICATE"
    NEAR_DUPLICATE = "NEAR_DUPLICATE"
    LEAKS_INTO_TEST = "LEAKS_INTO_TEST"
    LEAKS_INTO_VALIDATION = "LEAKS_INTO_VALIDATION"


@dataclass(frozen=True, slots=True)
class Dropped:
    """A record that does not go on: why, a sentence with the figures, and the key of the record that
    decided."""

    item: Item
    reason: Reason
    detail: str
    other_key: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """A change, or a drop, as people look at it. Personal data is blotted out in both texts."""

    kind: str
    record_key: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step did.

    `changed` counts records by kind of change; `figures` holds what else the step has to say, as JSON values.
    """

    kept: list[Item]
    dropped: list[Dropped] = field(default_factory=list)
    changed: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)
    figures: Mapping[str, Any] = field(default_factory=dict)
