"""The faults planted in examples/support-desk are found, each for its own reason, and nothing else is."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sartor_curation.pipeline import Curated, curate
from sartor_curation.steps.item import texts_of
from sartor_datasets.records import Message, Record

from tests.unit.curation.desk import policy, reasons, record

EXAMPLE = Path(__file__).parents[3] / "examples" / "support-desk"


def read_rows() -> list[dict[str, str]]:
    return [json.loads(line) for line in (EXAMPLE / "records.jsonl").read_text(encoding="utf-8").splitlines()]


def as_record(row: dict[str, str]) -> Record:
    """A row under the mapping of the example's project.yaml."""
    carried = ("language", "intent", "group", "split")
    attributes: dict[str, str] = {name: row[name] for name in row if name in carried}
    if "question" in row:
        messages = (Message("user", row["question"]), Message("assistant", row["answer"]))
        return record(row["id"], "chat", messages=messages, attributes=attributes)
    return record(row["id"], "labelled", text=row["text"], label=row["team"], attributes=attributes)


def count_pieces(texts: Any) -> list[int]:
    """About as many tokens as SmolLM2's tokenizer makes of mixed German and English."""
    return [len(text) // 3 + 1 for text in texts]


@pytest.fixture(scope="module")
def planted() -> dict[str, dict[str, Any]]:
    entries = json.loads((EXAMPLE / "planted.json").read_text(encoding="utf-8"))
    return {entry["record_key"]: entry for entry in entries if "rejected" not in entry["expect"]}


@pytest.fixture(scope="module")
def records() -> list[Record]:
    rejected = {
        entry["record_key"]
        for entry in json.loads((EXAMPLE / "planted.json").read_text(encoding="utf-8"))
        if "rejected" in entry["expect"]
    }
    return [as_record(row) for row in read_rows() if row["id"] not in rejected]  # ingestion refuses those


@pytest.fixture(scope="module")
def curated(records: list[Record]) -> Curated:
    settings = policy(max_tokens=512, validation_share=0.1, test_share=0.1)
    return curate(records, settings, count_pieces)


def test_exactly_the_planted_records_are_dropped_for_exactly_their_reasons(
    curated: Curated, planted: dict[str, dict[str, Any]]
) -> None:
    expected = {
        key: entry["expect"]["dropped"] for key, entry in planted.items() if "dropped" in entry["expect"]
    }
    assert expected
    assert reasons(curated) == expected
    assert curated.report.dropped_by_reason == dict(Counter(expected.values()))


def test_every_planted_change_is_made_and_counted(
    curated: Curated, planted: dict[str, dict[str, Any]], records: list[Record]
) -> None:
    expected: Counter[str] = Counter()
    before = {one.record_key: one for one in records}
    after = {one.record.record_key: one.record for one in curated.records}
    for key, entry in planted.items():
        kind = entry["expect"].get("changed") or entry["expect"].get("masked")
        if kind:
            expected[kind] += 1
            assert (
                texts_of(after[key])[:1] != texts_of(before[key])[:1]
                or after[key].messages != before[key].messages
            )
            if "masked" in entry["expect"]:
                assert f"[{kind}_1]" in " ".join(texts_of(after[key]))
    found = {kind: count for kind, count in curated.report.changed_by_kind.items() if kind != "whitespace"}
    assert found == dict(expected)


def test_what_should_stay_stays(curated: Curated, planted: dict[str, dict[str, Any]]) -> None:
    kept = {one.record.record_key for one in curated.records}
    assert {key for key, entry in planted.items() if "dropped" not in entry["expect"]} <= kept


def test_held_out_records_stay_held_out_and_share_no_group_with_training(curated: Curated) -> None:
    by_split: dict[str, set[str]] = {}
    for one in curated.records:
        by_split.setdefault(one.split, set()).add(one.record.attributes.get("group", one.record.record_key))
        if one.record.attributes.get("split") == "test":
            assert one.split == "test"
    assert not by_split["train"] & by_split["test"]
    assert not by_split["train"] & by_split["validation"]


def test_no_planted_personal_data_is_left_anywhere(curated: Curated) -> None:
    everything = curated.report.to_json().decode() + "".join(
        text for one in curated.records for text in texts_of(one.record)
    )
    for secret in ("hannah.lindqvist", "@example.com", "0532 0130 00", "7946 0958", "3920042"):
        assert secret not in everything
