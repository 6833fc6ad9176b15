"""What a test of one signal said; without numpy, for servers hold it too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Signal(StrEnum):
    """What may have drifted."""

    INPUT_EMBEDDING = "INPUT_EMBEDDING"
    INPUT_VOCABULARY = "INPUT_VOCABULARY"
    INPUT_LENGTH = "INPUT_LENGTH"
    INPUT_LANGUAGE = "INPUT_LANGUAGE"
    INPUT_NEW_CLUSTER = "INPUT_NEW_CLUSTER"
    OUTPUT_LENGTH = "OUTPUT_LENGTH"
    OUTPUT_REFUSALS = "OUTPUT_REFUSALS"
    OUTPUT_LABELS = "OUTPUT_LABELS"
    QUALITY_FEEDBACK = "QUALITY_FEEDBACK"


@dataclass(frozen=True, slots=True)
class Finding:
    """One signal's test. `found` where the p value is at most `threshold`, its share of the false alarms."""

    signal: Signal
    found: bool
    statistic: float
    p_value: float
    threshold: float
    message: str
    figures: Mapping[str, float] = field(default_factory=dict)
    examples: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As a job's result and a row have it."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Finding:
        """What `to_json` made."""
        return cls(**{**value, "signal": Signal(value["signal"]), "examples": tuple(value["examples"])})
