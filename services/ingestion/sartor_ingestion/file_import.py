"""Reading files into segments, streaming. Runs in the child process of an import job."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor_platform.errors import InvalidArgument

from sartor_ingestion.formats import archives, detection
from sartor_ingestion.formats.archives import BadMember, Found
from sartor_ingestion.formats.rows import BadRow, FileUnreadable, Row
from sartor_ingestion.import_rows import ImportRows
from sartor_ingestion.preview import Preview
from sartor_ingestion.rejection import Reason
from sartor_ingestion.segments import SegmentWriter

if TYPE_CHECKING:
    from sartor_platform.worker import Report

_REPORT_ROWS = 500


def read_file(task: dict[str, Any], folder: Path, report: Report) -> dict[str, Any]:
    """Read the file or files of a task, write their segments, and the rows for the table of arrivals.

    Args:
        task: as `worker.stage_import` makes it: `file` with its `file_name`, or `files`, path and name each.
    Returns:
        `format`, `segments` (path and records of each), `arrivals` (a file in COPY's text format),
        `rejections` (JSON lines), `accepted`, `rejected`, `reasons` (the rejected rows counted by reason),
        `breaches` of the source's contract, and `preview` where only that was wanted.
    Raises:
        InvalidArgument: the file as a whole cannot be read; the reason is that of FileUnreadable.
    """
    try:
        with SegmentWriter(folder) as writer, ImportRows(task, folder, writer) as rows:
            reading = _Reading(task, rows, report)
            for found in _files(task, folder):
                reading.take(found)
    except FileUnreadable as error:
        raise InvalidArgument(error.message, reason=error.reason) from error
    breaches = rows.mapper.breaches
    return {
        "format": reading.format,
        "segments": [{"path": str(file), "records": records} for file, records in writer.written],
        "arrivals": str(rows.arrivals_path),
        "rejections": str(rows.rejections_path),
        "accepted": rows.accepted,
        "rejected": rows.rejected,
        "reasons": dict(rows.reasons),
        "breaches": {
            "rows": breaches.rows,
            "by_rule": {n: [each.count, each.message, each.position] for n, each in breaches.by_rule.items()},
        },
        "preview": reading.preview.result() if reading.preview else None,
    }


def _files(task: dict[str, Any], folder: Path) -> Iterator[Found | BadMember]:
    """The file, or the files under a prefix; each may be packed."""
    if "files" not in task:
        yield from archives.files(Path(task["file"]), task["file_name"], folder)
        return
    count = max(len(task["files"]), 1)
    for index, file in enumerate(task["files"]):
        share = (index / count, (index + 1) / count)
        try:
            for found in archives.files(Path(file["path"]), file["name"], folder):
                if isinstance(found, BadMember):
                    yield BadMember(f"{file['name']}/{found.member}", found.row)
                else:
                    member = f"{file['name']}/{found.member}" if found.member else file["name"]
                    yield Found(found.path, found.name, member, *share)
        except FileUnreadable as error:
            yield BadMember(file["name"], BadRow(0, Reason.MEMBER_UNREADABLE, error.message, error.reason))


class _Reading:
    """Goes through the files of an import."""

    def __init__(self, task: dict[str, Any], rows: ImportRows, report: Report) -> None:
        self.format = ""
        self.preview = Preview(task) if task.get("validate_only") else None
        self._task = task
        self._rows = rows
        self._report = report
        self._started = time.monotonic()

    def take(self, found: Found | BadMember) -> None:
        """Read one file. Where it is one of several and cannot be read, that is one rejected row."""
        if isinstance(found, BadMember):
            self._rows.refuse(found.member, found.row)
            return
        try:
            self._read(found)
        except FileUnreadable as error:
            if not found.member:
                raise
            row = BadRow(0, Reason.MEMBER_UNREADABLE, f"{error.message} ({error.reason})", "")
            self._rows.refuse(found.member, row)

    def _read(self, found: Found) -> None:
        task = self._task
        data_format = detection.decide(
            found.path, stated=task["stated"], file_name=found.name, default=task["default"]
        )
        self.format = detection.ARCHIVE if found.member else data_format
        self._rows.begin(data_format, found.member or found.name, found.member)
        if self.preview:
            self.preview.begin(found, data_format)
        whole = max(detection.measure(found.path, data_format), 1)
        limit = task["mapping"].get("max_document_characters", 0)
        for number, row in enumerate(detection.read(found.path, data_format, limit), start=1):
            record = self._rows.take(row)
            if self.preview:
                self.preview.take(row, record)
            if number % _REPORT_ROWS == 0 and isinstance(row, Row):
                self._show(found.begin + (found.end - found.begin) * min(row.end / whole, 1.0))

    def _show(self, fraction: float) -> None:
        seconds = time.monotonic() - self._started
        rows = self._rows
        self._report(
            fraction,
            stage="reading",
            eta_seconds=seconds * (1 - fraction) / fraction if fraction else None,
            accepted=rows.accepted,
            rejected=rows.rejected,
            records_per_second=(rows.accepted + rows.rejected) / max(seconds, 1e-3),
        )
