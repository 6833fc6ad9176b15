"""Facts about records, their identity, and their way through Arrow and Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from sartor_datasets import arrow, curated, parquet
from sartor_datasets.manifests import CuratedFile, CuratedManifest, ObjectReference, Segment, SnapshotManifest
from sartor_datasets.records import Message, Record, content_id, from_json, to_json
from sartor_datasets.snapshots import SnapshotCorrupt, read_snapshot

NOW = datetime(2026, 11, 22, 12, 30, 5, 123456, tzinfo=UTC)


def a_record(n: int = 0, **fields: object) -> Record:
    messages = (Message("user", f"Grüße {n}\0"), Message("assistant", "“Hello”"))
    record = Record(
        record_id=content_id(kind="chat", messages=messages, attributes={"b": "2", "a": "1"}),
        record_key=f"k{n}",
        kind="chat",
        messages=messages,
        attributes={"b": "2", "a": "1"},
        source="projects/p/sources/s",
        position=f"sartor.data/0/{n}#0",
        event_time=NOW,
    )
    return replace(record, **fields)  # type: ignore[arg-type]  # the test names real fields


def test_content_decides_the_record_id_and_the_order_of_attributes_does_not() -> None:
    def of(**attributes: str) -> str:
        return content_id(kind="labelled", text="t", label="l", attributes=attributes)

    assert of(a="1", b="2") == of(b="2", a="1")
    assert of(a="1") != of(a="2")
    assert content_id(kind="document", text="ab", attributes={}) != content_id(
        kind="document", text="a", label="b", attributes={}
    )


def test_a_lone_surrogate_is_not_text() -> None:
    with pytest.raises(UnicodeEncodeError):
        content_id(kind="document", text="\ud800", attributes={})


def test_a_record_comes_back_from_json_and_from_arrow() -> None:
    record = a_record()
    assert from_json(to_json(record)) == record
    assert "\0" not in to_json(record)
    assert list(arrow.batch_to_records(arrow.records_to_batch([record]))) == [record]


def test_a_preference_comes_back_with_both_of_its_answers() -> None:
    messages = (Message("user", "Which?"),)
    both = {"chosen": "This one.", "rejected": "That one."}
    preference = a_record(kind="preference", messages=messages, **both)
    assert from_json(to_json(preference)) == preference
    assert list(arrow.batch_to_records(arrow.records_to_batch([preference]))) == [preference]


def test_what_is_preferred_is_content_and_other_kinds_keep_their_ids() -> None:
    def of(chosen: str, rejected: str) -> str:
        return content_id(kind="preference", attributes={}, chosen=chosen, rejected=rejected)

    assert len({of("a", "b"), of("b", "a"), of("a", ""), of("", "a")}) == 4
    of_before = "3cc450d48b6f82bebf465b34bdddff9b87f40ab7aa751541b0f5d1d9ac8923af"
    assert content_id(kind="document", text="t", attributes={}) == of_before


def test_records_written_before_there_were_preferences_are_read(tmp_path: Path) -> None:
    old = pa.schema([field for field in arrow.RECORD_SCHEMA if field.name not in arrow.LATER_COLUMNS])
    batch = arrow.records_to_batch([a_record(n) for n in range(3)]).select(old.names)
    parquet.write_records(tmp_path / "old.parquet", [batch], old)
    (read,) = parquet.read_records(tmp_path / "old.parquet")
    assert list(arrow.batch_to_records(read)) == [a_record(n) for n in range(3)]
    (two,) = parquet.read_records(tmp_path / "old.parquet", ["chosen", "record_key"])
    assert two.to_pydict() == {"chosen": [""] * 3, "record_key": ["k0", "k1", "k2"]}


def test_a_curated_record_comes_back_from_arrow() -> None:
    record = arrow.CuratedRecord(a_record(), "train", "c1", "de", 17)
    assert list(arrow.batch_to_curated(arrow.curated_to_batch([record]))) == [record]


def test_a_file_that_fails_half_way_never_appears(tmp_path: Path) -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield arrow.records_to_batch([a_record()])
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        parquet.write_records(tmp_path / "a.parquet", batches())
    assert list(tmp_path.iterdir()) == []


def an_object(path: Path) -> ObjectReference:
    return ObjectReference(f"file://{path}", "0" * 64, path.stat().st_size)


def fetch(reference: ObjectReference) -> Path:
    return Path(reference.uri.removeprefix("file://"))


def a_snapshot(folder: Path, record_count: int) -> SnapshotManifest:
    segments = []
    for name, start, rows in (("s1", 0, 5000), ("s2", 5000, 10)):
        path = folder / f"{name}.parquet"
        parquet.write_records(
            path,
            [arrow.records_to_batch([a_record(i) for i in range(start, start + rows)])],
        )
        segments.append(Segment(name, an_object(path), rows))
    parquet.write_exclusions(folder / "x.parquet", [("s1", 0), ("s1", 4096), ("s2", 9)])
    return SnapshotManifest(
        name="projects/p/datasets/d/snapshots/1",
        dataset="projects/p/datasets/d",
        sequence=1,
        parent="",
        run="r",
        generation=1,
        segments=tuple(segments),
        exclusions=an_object(folder / "x.parquet"),
        record_count=record_count,
        create_time=NOW,
    )


def test_a_snapshot_is_its_segments_less_the_exclusions(tmp_path: Path) -> None:
    batches = read_snapshot(a_snapshot(tmp_path, 5007), fetch)
    keys = [key for batch in batches for key in batch["record_key"].to_pylist()]
    assert keys == [f"k{i}" for i in range(5010) if i not in (0, 4096, 5009)]


def test_a_snapshot_with_another_number_of_rows_than_promised_is_corrupt(tmp_path: Path) -> None:
    with pytest.raises(SnapshotCorrupt):
        list(read_snapshot(a_snapshot(tmp_path, 5010), fetch))


def test_curated_records_come_back_by_split(tmp_path: Path) -> None:
    records = [
        arrow.CuratedRecord(a_record(i), "train" if i % 3 else "test", f"c{i}", "en", i) for i in range(9)
    ]
    with curated.CuratedWriter(tmp_path) as writer:
        for record in records:
            writer.write(record)
    assert {w.split: (w.records, w.tokens) for w in writer.written} == {"train": (6, 27), "test": (3, 9)}
    manifest = CuratedManifest(
        name="c",
        snapshot="s",
        dataset="d",
        files=tuple(CuratedFile(w.split, an_object(w.path), w.records, w.tokens) for w in writer.written),
        policy_revision=1,
        base_model="b",
        base_model_digest="0" * 64,
        create_time=NOW,
    )
    read = [r for b in curated.read_curated(manifest, "test", fetch) for r in arrow.batch_to_curated(b)]
    assert read == [record for record in records if record.split == "test"]
    assert list(curated.read_curated(manifest, "validation", fetch)) == []
    assert sum(b.num_rows for b in curated.read_curated_folder(tmp_path, "train")) == 6
