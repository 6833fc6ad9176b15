"""Facts about the shapes of training data: each is read as it is, with nothing to configure."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sartor_datasets.records import Record
from sartor_ingestion.formats import detection
from sartor_ingestion.formats.rows import FileUnreadable, Row
from sartor_ingestion.mapping import Mapper, Mapping
from sartor_ingestion.rejection import Reason, Rejected
from sartor_ingestion.shapes import Shape, shape_of
from sartor_ingestion.suggestion import suggest

NOW = datetime(2026, 11, 23, tzinfo=UTC)
ASKED = {"role": "user", "content": "Q"}
GOOD = {"role": "assistant", "content": "good"}
BAD = {"role": "assistant", "content": "bad"}


def record(row: Any, **mapping: Any) -> Record:
    return Mapper("projects/p/sources/s", Mapping(**mapping), b"secret").record(row, "p", NOW)


def turns(found: Record) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in found.messages]


CHATS: list[tuple[Shape, dict[str, Any], list[tuple[str, str]]]] = [
    (Shape.CHAT, {"messages": [ASKED, GOOD]}, [("user", "Q"), ("assistant", "good")]),
    (
        Shape.CHAT,
        {
            "messages": [
                {"role": "developer", "content": "S"},
                {**ASKED, "content": [{"type": "text", "text": "Q"}]},
            ]
        },
        [("system", "S"), ("user", "Q")],
    ),
    (
        Shape.SHAREGPT,
        {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}], "system": "S"},
        [("system", "S"), ("user", "Q"), ("assistant", "A")],
    ),
    (Shape.PROMPT_COMPLETION, {"prompt": "Q", "completion": "A"}, [("user", "Q"), ("assistant", "A")]),
    (
        Shape.PROMPT_COMPLETION,
        {"prompt": [ASKED], "completion": [GOOD]},
        [("user", "Q"), ("assistant", "good")],
    ),
    (Shape.ALPACA, {"instruction": "I", "input": "", "output": "O"}, [("user", "I"), ("assistant", "O")]),
    (
        Shape.ALPACA,
        {"instruction": "I", "input": "X", "output": "O", "system": "S", "history": [["q", "a"]]},
        [("system", "S"), ("user", "q"), ("assistant", "a"), ("user", "I\n\nX"), ("assistant", "O")],
    ),
]


@pytest.mark.parametrize(("shape", "row", "expected"), CHATS)
def test_conversations_of_every_shape_are_the_same_record(
    shape: Shape, row: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert shape_of(row, Mapping()) is shape
    found = record(row)
    assert found.kind == "chat"
    assert turns(found) == expected


PREFERENCES: list[dict[str, Any]] = [
    {"prompt": "Q", "chosen": "good", "rejected": "bad"},
    {"prompt": [ASKED], "chosen": [GOOD], "rejected": [BAD]},
    {"chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]},
    {"prompt": "Q", "chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]},
    {"chosen": "\n\nHuman: Q\n\nAssistant: good", "rejected": "\n\nHuman: Q\n\nAssistant: bad"},
    {"input": {"messages": [ASKED]}, "preferred_output": [GOOD], "non_preferred_output": [BAD]},
    {"conversations": [{"from": "human", "value": "Q"}], "chosen": GOOD, "rejected": BAD},
    {"messages": [ASKED], "chosen": "good", "rejected": "bad"},
]


@pytest.mark.parametrize("row", PREFERENCES)
def test_preferences_of_every_shape_are_the_same_record(row: dict[str, Any]) -> None:
    found = record(row)
    assert (found.kind, turns(found), found.chosen, found.rejected) == (
        "preference", [("user", "Q")], "good", "bad",
    )  # fmt: skip
    assert found.record_id == record(PREFERENCES[0]).record_id


def test_a_preference_keeps_its_system_text() -> None:
    system = {"role": "system", "content": "S"}
    found = record(
        {"prompt": "Q", "chosen": [system, ASKED, GOOD], "rejected": [system, ASKED, BAD]}, system="x"
    )
    assert turns(found) == [("system", "S"), ("user", "Q")]


@pytest.mark.parametrize(("label", "side"), [(True, "chosen"), (False, "rejected")])
def test_an_answer_alone_that_was_judged_is_half_a_preference(label: bool, side: str) -> None:
    found = record({"prompt": "Q", "completion": "A", "label": label})
    assert found.kind == "preference"
    assert getattr(found, side) == "A"
    assert found.chosen + found.rejected == "A"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"chosen": [ASKED, GOOD], "rejected": [{**ASKED, "content": "other"}, BAD]}, Reason.BAD_MESSAGES),
        ({"prompt": "Q", "chosen": 1, "rejected": "b"}, Reason.FIELD_TYPE),
        ({"chosen": "a", "rejected": "b"}, Reason.FIELD_MISSING),
        ({"messages": [{"role": "tool", "content": "x"}]}, Reason.BAD_MESSAGES),
        ({"messages": [{**ASKED, "content": [{"type": "image_url"}]}]}, Reason.BAD_MESSAGES),
        ({"instruction": "I", "output": None}, Reason.KIND_UNDECIDED),
        ({"instruction": "I", "output": "O", "history": ["x"]}, Reason.BAD_MESSAGES),
        ({"text": "t", "labels": []}, Reason.FIELD_TYPE),
        ({"text": "t", "labels": [["nested"]]}, Reason.FIELD_TYPE),
    ],
)
def test_rows_that_only_look_like_a_shape_are_rejected(row: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(Rejected) as error:
        record(row)
    assert error.value.reason is reason


def test_several_labels_are_one_answer_and_a_list() -> None:
    found = record({"text": "t", "labels": ["bill", "late", "bill"]})
    assert (found.kind, found.label) == ("labelled", "bill, late")
    assert json.loads(found.attributes["labels"]) == ["bill", "late"]
    assert (
        record({"text": "t", "label": ["one"]}).record_id == record({"text": "t", "label": "one"}).record_id
    )


def test_nesting_too_deep_for_a_value_is_rejected_not_raised() -> None:
    deep: Any = "x"
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(Rejected) as error:
        record({"text": "t", "extra": deep}, attributes=("extra",))
    assert error.value.reason is Reason.TOO_DEEP


@pytest.mark.parametrize(
    "content",
    [
        '[{"text": "a"}, {"text": "b"}]',
        '\ufeff[\n  {"text": "a"},\n  {"text": "b"}\n]\n',
        '{"version": 1, "data": [{"text": "a"}, {"text": "b"}]}',
        '{\n "text": "a"\n}\n{\n "text": "b"\n}',
        '{"text": "a"}\n{"text": "b"}\n',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_json_is_read_however_its_rows_are_put_together(tmp_path: Path, content: str, encoding: str) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes(content.encode(encoding))
    form = detection.decide(path, file_name="rows.json")
    assert [row.fields for row in detection.read(path, form) if isinstance(row, Row)] == [
        {"text": "a"},
        {"text": "b"},
    ]


def test_a_list_larger_than_what_is_read_at_a_time_comes_whole(tmp_path: Path) -> None:
    rows = [{"text": "ä" * (n % 7000), "n": n} for n in range(500)]
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    assert [row.fields for row in detection.read(path, "json") if isinstance(row, Row)] == rows


@pytest.mark.parametrize(
    "content", ['[{"a": 1}', '[{"a": 1} {"a": 2}]', "[1, 2] 3", '[{"a": tru}]', "[" * 5000]
)
def test_a_json_document_that_breaks_off_is_unreadable(tmp_path: Path, content: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(content)
    with pytest.raises(FileUnreadable) as error:
        list(detection.read(path, "json"))
    assert error.value.reason == "MALFORMED_JSON"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (
            [{"question": "q", "answer": "a"}],
            {"kind": "prompt_completion", "prompt": "question", "completion": "answer"},
        ),
        ([{"Sentence": "s", "Category": "c"}], {"kind": "labelled", "text": "Sentence", "label": "Category"}),
        (
            [{"text": "t", "label": "l", "id": n, "email": "e"} for n in (1, 2)],
            {"key": "id", "subject": "email"},
        ),
        ([{"text": "t", "id": 1}, {"text": "t", "id": 1}], {}),
        ([{"x": 1, "y": 2}], {}),
        ([{"messages": [], "language": "de"}], {"attributes": ["language"]}),
    ],
)
def test_a_mapping_is_suggested_only_where_names_tell(
    rows: list[dict[str, Any]], expected: dict[str, Any]
) -> None:
    assert suggest(rows) == expected
