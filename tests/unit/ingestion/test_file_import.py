"""Facts about the work of the import and seal jobs, without any server."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sartor_datasets import parquet
from sartor_datasets.arrow import batch_to_records
from sartor_datasets.records import Record, to_json
from sartor_ingestion import import_rows, segments
from sartor_ingestion.file_import import read_file
from sartor_ingestion.segments import SegmentWriter, seal
from sartor_platform.errors import InvalidArgument


class Report:
    """Remembers what was reported."""

    def __init__(self) -> None:
        self.fractions: list[float] = []

    def __call__(self, fraction: float, **figures: Any) -> None:
        self.fractions.append(fraction)

    def send(self, message: dict[str, Any]) -> None:
        raise NotImplementedError


def a_task(file: Path, **changes: Any) -> dict[str, Any]:
    names = {
        "messages": "messages",
        "prompt": "prompt",
        "completion": "completion",
        "text": "text",
        "label": "label",
    }
    mapping = {"kind": "auto", **names, "system": "", "key": "id", "subject": "", "op": "", "attributes": []}
    return {
        "file": str(file),
        "stated": "",
        "file_name": file.name,
        "default": "",
        "import": "projects/p/imports/i",
        "source": "projects/p/sources/s",
        "source_id": 7,
        "mapping": mapping,
        "subject_secret": "00",
        "event_time": "2026-11-22T00:00:00+00:00",
        "batch_id": "job-1",
        "quota": 0,
        "room": None,
        **changes,
    }


def written(path: str | Path) -> list[Record]:
    return [record for batch in parquet.read_records(Path(path)) for record in batch_to_records(batch)]


def test_every_row_becomes_a_record_or_a_rejection(tmp_path: Path) -> None:
    rows = [{"id": i, "text": f"t{i}"} for i in range(1200)] + [{"id": 3, "op": "withdraw"}, {"id": 4}]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    report = Report()
    result = read_file(a_task(file), tmp_path, report)
    assert (result["accepted"], result["rejected"], result["reasons"]) == (1201, 1, {"KIND_UNDECIDED": 1})
    (segment,) = result["segments"]
    records = written(segment["path"])
    assert [record.record_key for record in records] == [str(i) for i in range(1200)]
    lines = [line.split("\t") for line in Path(result["arrivals"]).read_text().splitlines()]
    assert [line[:3] for line in lines[:2]] == [["job-1", "0", "7"], ["job-1", "1", "7"]]
    assert lines[5][4] == f"\\\\x{records[5].record_id}"
    assert lines[5][5:] == ["f", "0", "5", "\\N", "\\N", "projects/p/imports/i#6"]
    assert lines[1200][5:] == ["t", "\\N", "\\N", "\\N", "\\N", "projects/p/imports/i#1201"]
    (rejection,) = map(json.loads, Path(result["rejections"]).read_text().splitlines())
    assert rejection["position"] == "projects/p/imports/i#1202"
    assert report.fractions
    assert max(report.fractions) <= 1


def test_rejections_are_all_counted_but_not_all_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_rows, "KEPT_REJECTIONS", 10)
    file = tmp_path / "rows.jsonl"
    file.write_text("{\n" * 50, encoding="utf-8")
    result = read_file(a_task(file), tmp_path, Report())
    assert result["rejected"] == 50
    assert len(Path(result["rejections"]).read_text().splitlines()) == 10


def test_a_text_file_may_be_known_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "letter.txt"
    file.write_text("Dear Sir", encoding="utf-8")
    task = a_task(file)
    task["mapping"] = {**task["mapping"], "key": "file_name", "attributes": ["file_name", "language"]}
    (record,) = written(read_file(task, tmp_path, Report())["segments"][0]["path"])
    assert (record.record_key, record.attributes) == ("letter.txt", {"file_name": "letter.txt"})


def test_a_file_without_rows_makes_no_segment(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"")
    assert read_file(a_task(file), tmp_path, Report())["segments"] == []


def test_an_unreadable_file_fails_for_good_with_its_reason(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    file.write_bytes(b"nonsense")
    with pytest.raises(InvalidArgument) as error:
        read_file(a_task(file), tmp_path, Report())
    assert error.value.reason == "MALFORMED_PARQUET"


def a_record(n: int) -> Record:
    from datetime import UTC, datetime

    return Record(
        record_id=f"{n:064x}",
        record_key=f"k{n}",
        kind="document",
        text='quoted "text",\n\0 and more',
        attributes={},
        source="s",
        position="p",
        event_time=datetime(2026, 11, 22, tzinfo=UTC),
    )


def test_segments_are_cut_and_rows_numbered_in_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "SEGMENT_RECORDS", 10)
    monkeypatch.setattr(segments, "_BATCH_RECORDS", 4)
    with SegmentWriter(tmp_path) as writer:
        places = [writer.add(a_record(n)) for n in range(25)]
    assert places == [(n // 10, n % 10) for n in range(25)]
    assert [rows for _, rows in writer.written] == [10, 10, 5]
    assert [r.record_key for path, _ in writer.written for r in written(path)] == [f"k{n}" for n in range(25)]


def test_sealing_writes_records_and_exclusions_as_they_were_staged(tmp_path: Path) -> None:
    records = [a_record(n) for n in range(5000)]
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([to_json(record)] for record in records)
    (tmp_path / "x.csv").write_text("s1,4\ns2,0\n")
    task = {"rows": str(tmp_path / "rows.csv"), "exclusions": str(tmp_path / "x.csv"), "records": 5000}
    result = seal(task, tmp_path, Report())
    assert (result["records"], result["excluded"]) == (5000, 2)
    assert written(result["segment"]) == records
    assert pq.read_table(result["exclusions"]).to_pylist() == [
        {"segment": "s1", "row": 4},
        {"segment": "s2", "row": 0},
    ]


def test_a_seal_that_does_not_read_what_was_staged_fails(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("")
    with pytest.raises(RuntimeError, match="3 records were staged, but 0"):
        seal({"rows": str(tmp_path / "rows.csv"), "exclusions": "", "records": 3}, tmp_path, Report())
