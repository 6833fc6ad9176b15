"""Facts about reading files of rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sartor_ingestion.formats import csv, detection, jsonl, parquet
from sartor_ingestion.formats.rows import MAX_ROW_BYTES, BadRow, FileUnreadable, Row
from sartor_ingestion.rejection import Reason


def a_file(folder: Path, content: bytes, name: str = "rows") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def shown(rows: Any) -> list[Any]:
    return [(row.number, dict(row.fields) if isinstance(row, Row) else row.reason) for row in rows]


def test_json_lines_keeps_going_after_a_bad_line(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf{"a": 1}\n\n{"a": \n[1]\n{"a": "\xff"}\n{"a": NaN}\n{"a": 2}'
    assert shown(jsonl.read(a_file(tmp_path, content))) == [
        (1, {"a": 1}),
        (3, Reason.MALFORMED_JSON),
        (4, Reason.NOT_AN_OBJECT),
        (5, Reason.NOT_UTF8),
        (6, Reason.MALFORMED_JSON),
        (7, {"a": 2}),
    ]


def test_a_bad_line_says_where_it_broke_and_how_it_began(tmp_path: Path) -> None:
    (bad,) = jsonl.read(a_file(tmp_path, b'{"a": tru}\n'))
    assert isinstance(bad, BadRow)
    assert bad.message == "Expecting value at column 7"
    assert bad.excerpt == '{"a": tru}'


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"[" * 100_000, Reason.TOO_DEEP),
        (b'{"a": ' * 65 + b"1" + b"}" * 65, Reason.TOO_DEEP),
        (b'{"a": ' + b"9" * 10_000 + b"}", Reason.MALFORMED_JSON),
    ],
)
def test_json_made_to_break_parsers_is_rejected(tmp_path: Path, line: bytes, reason: Reason) -> None:
    (bad,) = jsonl.read(a_file(tmp_path, line))
    assert isinstance(bad, BadRow)
    assert bad.reason is reason


def test_json_of_all_the_levels_that_are_allowed_is_read(tmp_path: Path) -> None:
    assert isinstance(next(jsonl.read(a_file(tmp_path, b'{"a": ' * 64 + b"1" + b"}" * 64))), Row)


def test_an_overlong_line_is_skipped_without_holding_it(tmp_path: Path) -> None:
    long = b'{"a": "' + b"x" * (2 * MAX_ROW_BYTES) + b'"}\n'
    path = a_file(tmp_path, long + b'{"a": 1}\n')
    assert shown(jsonl.read(path)) == [(1, Reason.TOO_LARGE), (2, {"a": 1})]
    *_, last = jsonl.read(path)
    assert isinstance(last, Row)
    assert last.end == path.stat().st_size


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_reads_by_its_header_whatever_the_delimiter(tmp_path: Path, delimiter: str) -> None:
    content = 'text,label\n"two\nlines, ""quoted""",x\nGrüße,\n'.replace(",", delimiter).encode("utf-8-sig")
    path = a_file(tmp_path, content.replace(b"lines" + delimiter.encode(), b"lines,"))
    assert shown(csv.read(path)) == [
        (3, {"text": 'two\nlines, "quoted"', "label": "x"}),
        (4, {"text": "Grüße", "label": ""}),
    ]


def test_csv_rows_that_do_not_fit_the_header_are_rejected(tmp_path: Path) -> None:
    content = 'a,b\n1\n1,2,3\nÄÖÜ\udcff,2\n"x"y,2\n3,4\n'.encode("utf-8", "surrogateescape")
    assert shown(csv.read(a_file(tmp_path, content))) == [
        (2, Reason.COLUMN_COUNT),
        (3, Reason.COLUMN_COUNT),
        (4, Reason.NOT_UTF8),
        (5, Reason.MALFORMED_CSV),
        (6, {"a": "3", "b": "4"}),
    ]


@pytest.mark.parametrize("content", [b"", b"\n", b"a,a\n1,2\n"])
def test_csv_without_a_usable_header_has_no_rows(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(FileUnreadable) as error:
        list(csv.read(a_file(tmp_path, content)))
    assert error.value.reason == "NO_HEADER"


def test_parquet_rows_come_as_they_were_written(tmp_path: Path) -> None:
    rows = [{"text": f"t{i}", "tags": ["a"], "map": {"k": "v"}} for i in range(3000)]
    schema = pa.schema(
        [("text", pa.string()), ("tags", pa.list_(pa.string())), ("map", pa.map_("string", "string"))]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "r")
    assert [dict(row.fields) for row in parquet.read(tmp_path / "r") if isinstance(row, Row)] == rows
    assert detection.measure(tmp_path / "r", "parquet") == 3000


def test_a_file_that_is_no_parquet_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadable, match="not readable as Parquet"):
        list(parquet.read(a_file(tmp_path, b"PAR1 nonsense PAR1")))


def test_a_short_text_file_is_one_document(tmp_path: Path) -> None:
    def of(content: bytes) -> list[Any]:
        return shown(detection.read(a_file(tmp_path, content), "text"))

    assert of("Grüße\n".encode()) == [(1, {"text": "Grüße"})]
    assert of("Erstens.\n\nZweitens.\n".encode("utf-16")) == [(1, {"text": "Erstens.\n\nZweitens."})]
    assert of(b" \n") == []
    assert of(b"x" * (MAX_ROW_BYTES + 1)) == [(1, Reason.TOO_LARGE)]


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        (b"", {"stated": "csv", "file_name": "a.jsonl", "default": "text"}, "csv"),
        (b"", {"file_name": "a/b.JSONL", "default": "text"}, "jsonl"),
        (b"", {"file_name": "noname", "default": "csv"}, "csv"),
        (b"PAR1..", {}, "parquet"),
        (b'\xef\xbb\xbf\n {"a": 1}', {}, "jsonl"),
        (b"hello", {}, "text"),
    ],
)
def test_the_format_is_stated_or_named_or_the_sources_or_seen(
    tmp_path: Path, content: bytes, options: dict[str, str], expected: str
) -> None:
    assert detection.decide(a_file(tmp_path, content), **options) == expected
