"""What becomes of the rows of an import: mapped one by one, written down, counted. Runs in a job's child."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from sartor_datasets.records import Record

from sartor_ingestion.formats.detection import DOCUMENTS
from sartor_ingestion.formats.documents import FIELDS
from sartor_ingestion.formats.rows import BadRow, Row
from sartor_ingestion.mapping import Mapper, Mapping
from sartor_ingestion.rejection import Reason, Rejected, excerpt
from sartor_ingestion.resources import contract_of
from sartor_ingestion.segments import SegmentWriter

KEPT_REJECTIONS = 10_000
"""Rejected rows of one import that are kept; all are counted."""


class ImportRows:
    """Maps rows one by one and writes down what becomes of each."""

    def __init__(self, task: dict[str, Any], folder: Path, writer: SegmentWriter) -> None:
        self.accepted = 0
        self.reasons: Counter[str] = Counter()
        self.arrivals_path = folder / "arrivals.copy"
        self.rejections_path = folder / "rejections.jsonl"
        self._task = task
        self._room: int | None = task["room"]
        self._time = datetime.fromisoformat(task["event_time"])
        self._writer = writer
        self._mapping = Mapping(**{**task["mapping"], "attributes": tuple(task["mapping"]["attributes"])})
        self._contract = contract_of(task.get("contract") or {})
        self._secret = bytes.fromhex(task["subject_secret"])
        self.mapper = Mapper(task["source"], self._mapping, self._secret, self._contract)
        self._rows_mapper = self.mapper
        self._extra: dict[str, str] = {}
        self._member = ""
        self._arrivals: IO[str] = self.arrivals_path.open("w", encoding="ascii")
        self._rejections: IO[str] = self.rejections_path.open("w", encoding="ascii")

    @property
    def rejected(self) -> int:
        """Rows rejected so far."""
        return self.reasons.total()

    def begin(self, data_format: str, name: str, member: str) -> None:
        """The rows that follow are of this file, or of this member of an archive."""
        self._member = member
        self._extra = {}
        self.mapper = self._rows_mapper
        if data_format in DOCUMENTS:
            self._extra = {"file_name": name}
            mapping = _of_documents(self._mapping)
            self.mapper = Mapper(
                self._task["source"], mapping, self._secret, self._contract, self.mapper.breaches
            )

    def take(self, row: Row | BadRow) -> Record | None:
        """Accept or reject a row; returns what was accepted."""
        if isinstance(row, BadRow):
            self._reject(row.number, row.reason, row.message, row.excerpt)
            return None
        fields = row.fields
        if self._extra:
            part = f"#{row.number}" if row.number > 1 else ""
            fields = {**row.fields, **self._extra, "part": f"{self._extra['file_name']}{part}"}
        try:
            record = self.mapper.record(fields, self.position(row.number), self._time)
            self._make_room(record)
        except Rejected as error:
            self._reject(row.number, error.reason, error.message, excerpt(row.fields))
            return None
        self._accept(record)
        return record

    def refuse(self, member: str, row: BadRow) -> None:
        """A member of an archive that is not read."""
        self._member = member
        self._reject(row.number, row.reason, row.message, row.excerpt)

    def position(self, number: int) -> str:
        """Where a row stands: `import#row`, or `import#member:row`."""
        row = f"{self._member}:{number}" if self._member else str(number)
        return f"{self._task['import']}#{row}"

    def _accept(self, record: Record) -> None:
        withdraw = record.op == "withdraw"
        segment, row = ("\\N", "\\N") if withdraw else self._writer.add(record)
        key = hashlib.sha256(record.record_key.encode()).hexdigest()
        subject = f"\\\\x{record.subject_key}" if record.subject_key else "\\N"
        self._arrivals.write(
            f"{self._task['batch_id']}\t{self.accepted}\t{self._task['source_id']}\t\\\\x{key}"
            f"\t\\\\x{record.record_id}\t{'t' if withdraw else 'f'}\t{segment}\t{row}\t\\N\t{subject}"
            f"\t{_copied(record.position)}\n"
        )
        self.accepted += 1

    def _make_room(self, record: Record) -> None:
        if self._room is None or record.op == "withdraw":
            return
        if not self._room:
            message = (
                f"the source holds as many records as its quota of {self._task['quota']} allows; raise it"
            )
            raise Rejected(Reason.QUOTA_EXCEEDED, message)
        self._room -= 1

    def _reject(self, number: int, reason: Reason, message: str, shown: str) -> None:
        self.reasons[reason.value] += 1
        if self.rejected <= KEPT_REJECTIONS:
            line = {
                "position": self.position(number),
                "reason": reason.value,
                "message": message,
                "excerpt": shown,
            }
            self._rejections.write(json.dumps(line) + "\n")

    def __enter__(self) -> ImportRows:
        return self

    def __exit__(self, *_error: object) -> None:
        self._arrivals.close()
        self._rejections.close()


def _of_documents(mapping: Mapping) -> Mapping:
    """The mapping of a document's passages: their place in it, and its name where the source asks for it.

    The key of the first passage is the file's name, so that a document of one passage is known by it.
    """
    named = tuple(name for name in mapping.attributes if name == "file_name")
    return replace(
        Mapping(kind="document"),
        key="part" if mapping.key == "file_name" else "",
        attributes=(*FIELDS, *named),
    )


def _copied(text: str) -> str:
    """Text for COPY's text format, in ASCII: names of members are whatever an archive says."""
    plain = text.encode("ascii", "backslashreplace").decode()
    return plain.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
