"""The outside ledger: what producers sent and were acknowledged. It knows nothing of the system's tables."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One record as it was sent: version 0 withdraws the key."""

    key: str
    version: int

    def as_json(self) -> dict[str, str]:
        """The row in the source's own fields."""
        if self.version == 0:
            return {"id": self.key, "op": "withdraw"}
        return {
            "id": self.key,
            "question": f"Where does item {self.key} wait today, please?",
            "answer": f"It waits on shelf {self.version} of hall {hash_of(self.key) % 97}.",
            "version": str(self.version),
        }


def hash_of(key: str) -> int:
    """A small number from a key, the same in every process."""
    return sum((index + 1) * ord(letter) for index, letter in enumerate(key))


@dataclass(frozen=True, slots=True)
class SentEvent:
    """A Kafka message of ours, as it can be sent again."""

    id: str
    topic: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


@dataclass(slots=True)
class DatasetLedger:
    """What went into one dataset, in the order in which the broker acknowledged it."""

    project: str
    dataset: str
    source: str
    sent: list[Row] = field(default_factory=list)
    events: list[SentEvent] = field(default_factory=list)
    poison: list[SentEvent] = field(default_factory=list)
    redelivered: int = 0
    altered: set[str] = field(default_factory=set)
    """Snapshots whose objects the harness altered for a while: their curations must have failed."""

    def current(self) -> dict[str, int]:
        """Key → version of what must be in the dataset once everything has settled."""
        state: dict[str, int] = {}
        for row in self.sent:
            if row.version:
                state[row.key] = row.version
            else:
                state.pop(row.key, None)
        return state

    def versions_of(self, key: str) -> list[int]:
        """Everything that was ever sent under a key, in order; 0 is a withdrawal."""
        return [row.version for row in self.sent if row.key == key]


class Ledger:
    """All datasets of a world, and how often each fault was survived."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.datasets: dict[str, DatasetLedger] = {}
        self.requests: dict[str, str] = {}

    def open(self, project: str, dataset: str) -> DatasetLedger:
        """A new dataset's page."""
        page = DatasetLedger(
            project, f"projects/{project}/datasets/{dataset}", f"projects/{project}/sources/{dataset}"
        )
        self.datasets[page.dataset] = page
        return page

    def acknowledged(self, page: DatasetLedger, event: SentEvent, rows: Sequence[Row]) -> None:
        """The broker has it."""
        with self._lock:
            page.events.append(event)
            page.sent.extend(rows)


def records_event(page: DatasetLedger, number: int, rows: Sequence[Row]) -> SentEvent:
    """A data event as other systems send it."""
    body = {"source": page.source, "records": [row.as_json() for row in rows]}
    return _event(page, f"{page.source}/{number}", "sartor.ingestion.v1.RecordsPublished", body)


def poison_event(page: DatasetLedger, number: int, kind: str) -> SentEvent:
    """Something that can never be handled: an unknown type, broken JSON, a source that does not exist."""
    id_ = f"{page.source}/poison/{number}"
    if kind == "unknown_type":
        return _event(page, id_, "elsewhere.v1.Unheard", {"source": page.source})
    if kind == "unknown_source":
        body = {"source": f"projects/{page.project}/sources/nobody", "records": [{"id": "x"}]}
        return _event(page, id_, "sartor.ingestion.v1.RecordsPublished", body)
    event = _event(page, id_, "sartor.ingestion.v1.RecordsPublished", {})
    return SentEvent(event.id, event.topic, event.key, b'{"source": "projects/', event.headers)


def _event(page: DatasetLedger, id_: str, type_: str, body: Mapping[str, Any]) -> SentEvent:
    headers = {
        "ce_specversion": "1.0",
        "ce_id": id_,
        "ce_source": "/faults/producer",
        "ce_type": type_,
        "content-type": "application/json",
    }
    encoded = tuple((name, value.encode()) for name, value in headers.items())
    return SentEvent(id_, "sartor.data", page.source.encode(), json.dumps(body).encode(), encoded)
