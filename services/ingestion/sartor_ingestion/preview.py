"""What an import would bring, shown before anything of it is kept: format, shape, mapping, first records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping as AbstractMapping
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

from sartor_datasets.records import Record

from sartor_ingestion import shapes
from sartor_ingestion.formats import archives, detection
from sartor_ingestion.formats.archives import Found
from sartor_ingestion.formats.rows import BadRow, Row
from sartor_ingestion.mapping import Mapper, Mapping
from sartor_ingestion.rejection import Rejected
from sartor_ingestion.suggestion import suggest

SHOWN_RECORDS = 5
SHOWN_CHARACTERS = 600
_SAMPLE_ROWS = 200
_SHOWN_FIELDS = 40


class Preview:
    """Looks on while an import is read."""

    def __init__(self, task: dict[str, Any]) -> None:
        self._task = task
        self._mapping = Mapping(**{**task["mapping"], "attributes": tuple(task["mapping"]["attributes"])})
        self._shapes: Counter[str] = Counter()
        self._details: list[str] = []
        self._files = 0
        self._names: dict[str, None] = {}
        self._sample: list[AbstractMapping[str, Any]] = []
        self._records: list[dict[str, Any]] = []
        self._is_document = False

    def begin(self, found: Found, data_format: str) -> None:
        """The rows that follow are of this file."""
        self._files += 1
        self._is_document = data_format in detection.DOCUMENTS
        if self._files == 1:
            packed = archives.packing(Path(self._task["file"])) if "file" in self._task else "prefix"
            self._details = [f"in a {packed}"] if packed else []
            self._details += detection.details(found.path, data_format)

    def take(self, row: Row | BadRow, record: Record | None) -> None:
        """A row, and what it became."""
        if isinstance(row, BadRow):
            return
        shape = shapes.Shape.DOCUMENT if self._is_document else shapes.shape_of(row.fields, self._mapping)
        self._shapes[shape.value if shape else "unknown"] += 1
        if len(self._sample) < _SAMPLE_ROWS and not self._is_document:
            self._sample.append(row.fields)
            self._names.update(dict.fromkeys(list(map(str, row.fields))[:_SHOWN_FIELDS]))
        if record is not None and len(self._records) < SHOWN_RECORDS:
            self._records.append(_shown(record))

    def result(self) -> dict[str, Any]:
        """JSON-able: what `ImportPreview` shows."""
        suggested = suggest(self._sample)
        if not self._records and suggested:
            self._records = self._under(suggested)
        return {
            "files": self._files,
            "details": self._details,
            "shapes": dict(self._shapes.most_common()),
            "fields": list(self._names)[:_SHOWN_FIELDS],
            "suggested_mapping": suggested,
            "records": self._records,
        }

    def _under(self, suggested: dict[str, Any]) -> list[dict[str, Any]]:
        """The first records as the suggested mapping would make them."""
        known = {each.name for each in fields(Mapping)}
        values = {name: value for name, value in suggested.items() if name in known}
        mapping = Mapping(**{**values, "attributes": tuple(values.get("attributes", ()))})
        mapper = Mapper(self._task["source"], mapping, bytes.fromhex(self._task["subject_secret"]))
        time = datetime.fromisoformat(self._task["event_time"])
        records = []
        for row in self._sample:
            try:
                records.append(_shown(mapper.record(row, "", time)))
            except Rejected:
                continue
            if len(records) == SHOWN_RECORDS:
                break
        return records


def _shown(record: Record) -> dict[str, Any]:
    """A record for people: its fields, the long ones cut."""
    return {
        "op": record.op,
        "kind": record.kind,
        "record_key": record.record_key,
        "messages": [{"role": m.role, "content": _cut(m.content)} for m in record.messages[:20]],
        "text": _cut(record.text),
        "label": _cut(record.label),
        "chosen": _cut(record.chosen),
        "rejected": _cut(record.rejected),
        "attributes": {name: _cut(value) for name, value in record.attributes.items()},
        "subject_key": record.subject_key,
        "position": record.position,
    }


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
