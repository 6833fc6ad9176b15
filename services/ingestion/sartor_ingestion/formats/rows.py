"""What every format reader yields: rows, and rows that could not be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sartor_ingestion.rejection import Reason

MAX_ROW_BYTES = 4_194_304
"""More than a record may hold, with room for escapes and unmapped fields."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file, with the names its source gave the fields."""

    number: int
    """Its line or row in the file, from 1, as an editor shows it."""
    fields: Mapping[str, Any]
    end: int
    """How much of the file was read with it, in the reader's own measure; `measure` gives the whole."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that could not be read."""

    number: int
    reason: Reason
    message: str
    excerpt: str


class FileUnreadable(ValueError):
    """The file as a whole is not what it should be, so it has no rows. `reason` is UPPER_SNAKE."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
