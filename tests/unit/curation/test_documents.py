"""Facts about snapshots of documents alone, that are worked on by columns instead of records."""

from __future__ import annotations

import json
import random
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sartor_curation.curation_job import read_memory, write_memory
from sartor_curation.features import SPLITS, features_of
from sartor_curation.index import Memory, Remembered
from sartor_curation.pipeline import Finished, Pipeline
from sartor_curation.policy import OPTIONAL, Policy
from sartor_curation.shards import Inline, Processes
from sartor_curation.steps.batches import items, only_documents, utf8
from sartor_curation.steps.lengths import drop_too_short
from sartor_curation.steps.missing_fields import drop_missing_fields
from sartor_curation.tally import Tally, changed_rows
from sartor_datasets.arrow import records_to_batch
from sartor_datasets.records import Record

from tests.unit.curation.desk import chat, count_words, record

VOCABULARY = ["".join(random.Random(i).choices("abcdefgäöü", k=3 + i % 6)) for i in range(500)]
PAGES = Policy(
    dataset="projects/desk/datasets/pages",
    base_model="projects/desk/baseModels/none",
    preset="CORPUS",  # type: ignore[arg-type]
    validation_share=0.2,
    test_share=0.2,
    skipped_steps=tuple(step for step in OPTIONAL if step not in ("near_duplicates", "exact_duplicates")),
)


def pages(count: int = 60) -> list[Record]:
    """Pages of 60 words, each followed by a copy with 0 to 7 other words."""
    chance = random.Random(3)
    found: list[Record] = []
    for number in range(count):
        words = chance.choices(VOCABULARY, k=60)
        copy = list(words)
        for place in chance.sample(range(60), number % 8):
            copy[place] = chance.choice(VOCABULARY)
        found += [record(f"{number}", "document", text=" ".join(words))]
        found += [record(f"{number}-copy", "document", text=" ".join(copy))]
    return found


def curated(folder: Path, records: list[Record], memory: Memory | None = None, **how: object) -> Finished:
    pipeline = Pipeline(PAGES, folder, count_words, "pages", memory or Memory.of({}), **how)  # type: ignore[arg-type]
    return pipeline.run([records_to_batch(records)])


def outcome(finished: Finished) -> list[object]:
    kept = [row for batch in finished.batches() for row in batch.to_pylist()]
    return [kept, list(finished.dropped()), json.loads(finished.report().to_json())["characters"]]


def test_pages_in_many_shards_become_what_they_become_in_one(tmp_path: Path) -> None:
    whole = outcome(curated(tmp_path / "whole", pages()))
    parts = curated(tmp_path / "parts", pages(), shard_bytes=6000, executor=Inline())
    assert len(parts.notes) > 3
    assert outcome(parts) == whole
    with Processes(2) as executor:
        assert outcome(curated(tmp_path / "both", pages(), shard_bytes=6000, executor=executor)) == whole


def test_a_page_goes_if_it_is_like_one_that_stays(tmp_path: Path) -> None:
    records = pages()
    sets = {}
    for one in records:
        words = one.text.split()
        sets[one.record_key] = {tuple(words[at : at + 5]) for at in range(len(words) - 4)}
    alike = {
        second.record_key: first.record_key
        for first, second in combinations(records, 2)
        if len(a := sets[first.record_key] & (b := sets[second.record_key]))
        >= 0.8 * len(sets[first.record_key] | b)
        and a
    }
    dropped = {one.record_key: one for one in curated(tmp_path, records).dropped()}
    assert {key: one.other_key for key, one in dropped.items()} == alike
    assert 10 < len(alike) < 50
    assert {one.reason for one in dropped.values()} == {"EXACT_DUPLICATE", "NEAR_DUPLICATE"}


def test_what_is_remembered_of_pages_comes_through_the_files_of_a_job(tmp_path: Path) -> None:
    first = curated(tmp_path / "first", pages(30))
    write_memory(tmp_path, first)
    rows = [json.loads(line) for line in (tmp_path / "splits.jsonl").read_text().splitlines()]
    assert {before for *_, before in rows} == {""}
    lines = (json.dumps({"key": key, "cluster": cluster, "split": split}) for key, cluster, split, _ in rows)
    (tmp_path / "remembered.jsonl").write_text("\n".join(lines) + "\n")
    memory = read_memory(tmp_path / "remembered.jsonl")
    second = curated(tmp_path / "second", pages(60), memory)
    decided = {row["record_key"]: row for batch in second.batches() for row in batch.to_pylist()}
    assert len(rows) > 30
    for key, cluster, split, _ in rows:
        assert (decided[key]["cluster"], decided[key]["split"]) == (cluster, split)
    write_memory(tmp_path, second)
    new = {json.loads(line)[0] for line in (tmp_path / "splits.jsonl").read_text().splitlines()}
    assert new == set(decided) - {key for key, *_ in rows}


def test_no_memory_is_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "remembered.jsonl").write_text("")
    codes, clusters = read_memory(tmp_path / "remembered.jsonl").of_keys(pa.array(["a", "b"]))
    assert (codes.tolist(), clusters.to_pylist()) == ([0, 0], [None, None])


def test_memory_knows_keys_wherever_they_stand() -> None:
    memory = Memory.of({"x": Remembered("c1", "test"), "y": Remembered("c2", "train")})
    codes, clusters = memory.of_keys(pa.array(["y", "z", "x"]))
    assert [SPLITS[code] for code in codes] == ["train", "", "test"]
    assert clusters.to_pylist() == ["c2", None, "c1"]


@pytest.fixture
def columns() -> pa.RecordBatch:
    texts = ["Größe zählt", "", " – ", "日本語", "x" * 300]
    return items(records_to_batch([record(str(n), "document", text=t) for n, t in enumerate(texts)]), 0)


def with_a_chat(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same records and one more, that makes steps look at each on its own."""
    other = items(records_to_batch([chat("chat", "What is it?", "It is this.")]), batch.num_rows)
    (together,) = pa.Table.from_batches([batch, other]).combine_chunks().to_batches()
    return together


def test_columns_say_of_documents_what_records_say(columns: pa.RecordBatch) -> None:
    mixed = with_a_chat(columns)
    assert only_documents(columns)
    assert not only_documents(mixed)
    count = columns.num_rows
    assert drop_missing_fields(columns).dropped == drop_missing_fields(mixed).dropped
    assert [one.row for one in drop_missing_fields(columns).dropped] == [1, 2]
    assert Tally.of(columns).characters.tolist() == Tally.of(mixed).characters.tolist()[:count]
    assert drop_too_short(columns, 4).dropped == drop_too_short(mixed, 4).dropped
    assert (
        features_of(columns, documents_only=True).scalars["content"].tolist()
        == (features_of(mixed, documents_only=False).scalars["content"].tolist()[:count])
    )
    place = columns.schema.get_field_index("text")
    other = columns.set_column(place, "text", pa.array(["Größe zählt", "", "-", "日本語", "x" * 300]))
    assert changed_rows(columns, other).tolist() == [False, False, True, False, False]
    assert changed_rows(columns, other.slice(2, 2)).tolist() == [True, False]


def test_a_slice_of_a_column_is_read_as_itself(columns: pa.RecordBatch) -> None:
    texts = utf8(columns.slice(3).column("text"))
    held = [bytes(texts.data[texts.offsets[n] : texts.offsets[n + 1]]).decode() for n in range(len(texts))]
    assert held == ["日本語", "x" * 300]
    assert len(utf8(columns.slice(0, 0).column("text"))) == 0


def test_lengths_survive_the_note_of_a_shard(columns: pa.RecordBatch) -> None:
    tally = Tally.of(columns)
    again = Tally.from_json(json.loads(json.dumps(tally.to_json())))
    again.add(tally)
    assert again.characters.dtype == np.int32
    assert again.characters.tolist() == tally.characters.tolist() * 2
