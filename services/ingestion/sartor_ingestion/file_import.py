"""Reading a file into segments, streaming. Runs in the child process of an import job."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sartor_datasets.records import Record
from sartor_platform.errors import InvalidArgument

from sartor_ingestion.formats import detection
from sartor_ingestion.formats.rows import BadRow, FileUnreadable, Row
from sartor_ingestion.mapping import Mapper, Mapping
from sartor_ingestion.rejection import Reason, Rejected, excerpt
from sartor_ingestion.segments import SegmentWriter

if TYPE_CHECKING:
    from sartor_platform.worker import Report

KEPT_REJECTIONS = 10_000
"""Rejected rows of one import that are kept; all are counted."""
_REPORT_ROWS = 500


def read_file(task: dict[str, Any], folder: Path, report: Report) -> dict[str, Any]:
    """Read `task["file"]`, write its segments, and the rows for the table of arrivals.

    Args:
        task: as `worker.stage_import` makes it.
    Returns:
        `format`, `segments` (path and records of each), `arrivals` (a file in COPY's text format),
        `rejections` (JSON lines), `accepted`, `rejected`, and `reasons`, the rejected rows counted by reason.
    Raises:
        InvalidArgument: the file as a whole cannot be read; the reason is that of FileUnreadable.
    """
    path = Path(task["file"])
    data_format = detection.decide(
        path, stated=task["stated"], file_name=task["file_name"], default=task["default"]
    )
    try:
        with SegmentWriter(folder) as writer, _Rows(task, data_format, folder, writer) as rows:
            whole = max(detection.measure(path, data_format), 1)
            started = time.monotonic()
            for number, row in enumerate(detection.READERS[data_format](path), start=1):
                rows.take(row)
                if number % _REPORT_ROWS == 0 and isinstance(row, Row):
                    _show(report, row.end / whole, started, rows)
    except FileUnreadable as error:
        raise InvalidArgument(error.message, reason=error.reason) from error
    return {
        "format": data_format,
        "segments": [{"path": str(file), "records": records} for file, records in writer.written],
        "arrivals": str(rows.arrivals_path),
        "rejections": str(rows.rejections_path),
        "accepted": rows.accepted,
        "rejected": rows.reasons.total(),
        "reasons": dict(rows.reasons),
    }


class _Rows:
    """Maps rows one by one and writes down what becomes of each."""

    def __init__(self, task: dict[str, Any], data_format: str, folder: Path, writer: SegmentWriter) -> None:
        self.accepted = 0
        self.reasons: Counter[str] = Counter()
        self.arrivals_path = folder / "arrivals.copy"
        self.rejections_path = folder / "rejections.jsonl"
        self._task = task
        self._room: int | None = task["room"]
        self._time = datetime.fromisoformat(task["event_time"])
        self._writer = writer
        self._extra = {"file_name": task["file_name"]} if data_format == "text" else {}
        mapping = Mapping(**{**task["mapping"], "attributes": tuple(task["mapping"]["attributes"])})
        if data_format == "text":
            mapping = _of_documents(mapping)
        self._mapper = Mapper(task["source"], mapping, bytes.fromhex(task["subject_secret"]))
        self._arrivals: IO[str] = self.arrivals_path.open("w", encoding="ascii")
        self._rejections: IO[str] = self.rejections_path.open("w", encoding="ascii")

    def take(self, row: Row | BadRow) -> None:
        """Accept or reject a row."""
        if isinstance(row, BadRow):
            self._reject(row.number, row.reason, row.message, row.excerpt)
            return
        fields = {**row.fields, **self._extra} if self._extra else row.fields
        try:
            record = self._mapper.record(fields, self._position(row.number), self._time)
            self._make_room(record)
        except Rejected as error:
            self._reject(row.number, error.reason, error.message, excerpt(row.fields))
            return
        self._accept(record)

    def _accept(self, record: Record) -> None:
        withdraw = record.op == "withdraw"
        segment, row = ("\\N", "\\N") if withdraw else self._writer.add(record)
        key = hashlib.sha256(record.record_key.encode()).hexdigest()
        self._arrivals.write(
            f"{self._task['batch_id']}\t{self.accepted}\t{self._task['source_id']}\t\\\\x{key}"
            f"\t\\\\x{record.record_id}\t{'t' if withdraw else 'f'}\t{segment}\t{row}\t\\N\n"
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
        if self.reasons.total() <= KEPT_REJECTIONS:
            line = {
                "position": self._position(number),
                "reason": reason.value,
                "message": message,
                "excerpt": shown,
            }
            self._rejections.write(json.dumps(line) + "\n")

    def _position(self, number: int) -> str:
        return f"{self._task['import']}#{number}"

    def __enter__(self) -> _Rows:
        return self

    def __exit__(self, *_error: object) -> None:
        self._arrivals.close()
        self._rejections.close()


def _of_documents(mapping: Mapping) -> Mapping:
    """The mapping of plain text: the document, and the name of its file where the source asks for it."""
    return replace(
        Mapping(kind="document"),
        key=mapping.key if mapping.key == "file_name" else "",
        attributes=tuple(name for name in mapping.attributes if name == "file_name"),
    )


def _show(report: Report, fraction: float, started: float, rows: _Rows) -> None:
    seconds = time.monotonic() - started
    report(
        fraction,
        stage="reading",
        eta_seconds=seconds * (1 - fraction) / fraction if fraction else None,
        accepted=rows.accepted,
        rejected=rows.reasons.total(),
        records_per_second=(rows.accepted + rows.reasons.total()) / max(seconds, 1e-3),
    )
