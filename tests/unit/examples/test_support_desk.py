"""The support desk's data: made the same each time, honestly held out, faults planted as the list says."""

import ast
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from sartor_platform import events
from sartor_text.checksums import iban_valid
from sartor_text.pii import PiiKind, find_pii
from sartor_text.shingles import fold, jaccard, shingle

FOLDER = Path(__file__).parents[3] / "examples" / "support-desk"
AS_ALIKE_AS_MAY_BE = 0.5


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"support_desk_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


MADE = _load("make_records")
RECORDS = MADE.records()
ROWS = [json.loads(line) for line in (FOLDER / "records.jsonl").read_text("utf-8").splitlines()]
PLANTED = json.loads((FOLDER / "planted.json").read_text("utf-8"))
HELD_OUT = [made for made in RECORDS if made.row.get("split") == "test"]
TRAINING = [made for made in RECORDS if "split" not in made.row]


def _text(row: dict[str, str]) -> str:
    return row.get("question", row.get("text", ""))


def test_the_generator_makes_the_committed_files_byte_for_byte() -> None:
    for name, build in MADE.FILES.items():
        assert (FOLDER / name).read_bytes() == build(RECORDS), f"run make_records.py: {name} is out of date"


def test_no_held_out_record_shares_a_template_with_training() -> None:
    held_out = {made.row["group"] for made in HELD_OUT}
    assert len(held_out) == len(HELD_OUT)
    assert held_out.isdisjoint(made.row.get("group") for made in TRAINING)


def test_no_held_out_record_shares_a_slot_value_with_training() -> None:
    trained = {value for made in TRAINING for _, value in made.slots}
    held_out = {value for made in HELD_OUT for _, value in made.slots}
    assert trained
    assert held_out
    for value in trained:
        assert not any(re.search(rf"\b{value}\b", _text(made.row)) for made in HELD_OUT), value
    for value in held_out:
        assert not any(re.search(rf"\b{value}\b", _text(made.row)) for made in TRAINING), value


def test_at_least_forty_held_out_questions_are_written_by_hand_in_both_languages() -> None:
    by_hand = [
        made.row
        for made in HELD_OUT
        if made.hand_written and "question" in made.row and made.row["intent"] != "case-note"
    ]
    assert len(by_hand) >= 40
    for language in ("en", "de"):
        assert sum(row["language"] == language for row in by_hand) >= 15


def test_no_held_out_wording_is_like_one_of_training() -> None:
    texts = [fold(_text(made.row)) for made in (*HELD_OUT, *TRAINING)]
    shingles = shingle(texts)
    for here in range(len(HELD_OUT)):
        for there in range(len(HELD_OUT), len(texts)):
            likeness = jaccard(shingles.of(here), shingles.of(there))
            assert likeness < AS_ALIKE_AS_MAY_BE, (texts[here], texts[there])


def test_every_held_out_intent_is_taught_in_its_language_with_the_same_answer() -> None:
    taught = {
        (made.row["intent"], made.row["language"], made.row["answer"])
        for made in TRAINING
        if "answer" in made.row and "intent" in made.row
    }
    teams = {
        (made.row["intent"], made.row["team"])
        for made in TRAINING
        if "intent" in made.row and "team" in made.row
    }
    for row in (made.row for made in HELD_OUT):
        if row["intent"] == "case-note":
            continue  # its answer is made of its own message
        if "question" in row:
            assert (row["intent"], row["language"], row["answer"]) in taught
        else:
            assert (row["intent"], row["team"]) in teams


def test_every_case_note_says_what_its_message_says() -> None:
    notes = [made.row for made in RECORDS if made.row.get("intent") == "case-note"]
    assert sum("split" in row for row in notes) >= 40
    for row in notes:
        values = [value for value in row["answer"].split(" | ") if value != "-"]
        assert values
        assert all(value in row["question"] for value in values)


def test_every_kind_of_fault_is_planted_in_training_records() -> None:
    kinds = {one["fault"] for one in PLANTED}
    assert kinds >= {
        "exact-duplicate", "near-duplicate", "markup", "mojibake", "email", "phone", "iban",
        "contradiction", "empty-field", "wrong-language", "over-long",
    }  # fmt: skip
    by_key = {row["id"]: row for row in ROWS}
    assert len(by_key) == len(ROWS)
    for one in PLANTED:
        assert "split" not in by_key[one["record_key"]]
        assert len(one["expect"]) == 1


@pytest.mark.parametrize(
    ("fault", "kind"), [("email", PiiKind.EMAIL), ("phone", PiiKind.PHONE), ("iban", PiiKind.IBAN)]
)
def test_planted_personal_data_is_valid(fault: str, kind: PiiKind) -> None:
    by_key = {row["id"]: row for row in ROWS}
    for one in PLANTED:
        if one["fault"] == fault:
            found = find_pii(_text(by_key[one["record_key"]]))
            assert [finding.kind for finding in found] == [kind]
            assert kind is not PiiKind.IBAN or iban_valid(found[0].value)


def test_the_producer_needs_kafka_python_alone() -> None:
    tree = ast.parse((FOLDER / "publish.py").read_text("utf-8"))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        )
    }
    assert imported - sys.stdlib_module_names == {"kafka"}


def test_the_producer_publishes_every_record_once_in_events_with_lasting_ids() -> None:
    publish = _load("publish")
    source = "projects/p/sources/s"
    made = list(publish.events(ROWS, source, "/velumo"))
    assert [row for _, data in made for row in json.loads(data)["records"]] == ROWS
    ids = [attributes["id"] for attributes, _ in made]
    assert len(set(ids)) == len(ids)
    assert ids == [attributes["id"] for attributes, _ in publish.events(ROWS, source, "/velumo")]


@pytest.mark.parametrize("mode", ["binary_mode", "structured_mode"])
def test_the_platform_understands_the_producers_events(mode: str) -> None:
    publish = _load("publish")
    attributes, data = next(publish.events(ROWS, "projects/p/sources/s", "/velumo"))
    value, headers = getattr(publish, mode)(attributes, data)
    event = events.decode("sartor.data", 0, 0, 0, headers, value)
    assert (event.id, event.type) == (attributes["id"], publish.TYPE)
    assert json.loads(event.data) == json.loads(data)
