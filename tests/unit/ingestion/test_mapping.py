"""Facts about mapping a source's rows to records."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sartor_datasets.records import Message, Record, to_json
from sartor_ingestion.mapping import MAX_RECORD_CHARACTERS, Mapper, Mapping
from sartor_ingestion.rejection import Reason, Rejected, excerpt

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def mapped(row: Any, **mapping: Any) -> Record:
    return Mapper("projects/p/sources/s", Mapping(**mapping), b"secret").record(row, "t/0/1#0", NOW)


CHAT = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (CHAT, "chat"),
        ({"prompt": "q", "completion": "a"}, "chat"),
        ({"text": "t", "label": "l"}, "labelled"),
        ({"text": "t"}, "document"),
        ({"text": "t", "label": None, "messages": None}, "document"),
    ],
)
def test_auto_decides_row_by_row_from_the_fields_that_are_there(row: dict[str, Any], kind: str) -> None:
    assert mapped(row).kind == kind


def test_a_question_and_its_answer_become_a_chat_with_their_system_instruction() -> None:
    row = {"question": "q", "answer": "a", "sys": "s"}
    record = mapped(row, kind="prompt_completion", prompt="question", completion="answer", system="sys")
    assert record.messages == (Message("system", "s"), Message("user", "q"), Message("assistant", "a"))


def test_an_empty_answer_is_kept_for_curation_to_find() -> None:
    assert mapped({"prompt": "q", "completion": ""}).messages[-1].content == ""


def test_messages_may_come_as_json_text_in_csv() -> None:
    assert mapped({"messages": json.dumps(CHAT["messages"])}).messages == mapped(CHAT).messages


@pytest.mark.parametrize(
    ("row", "mapping", "reason"),
    [
        ([], {}, Reason.NOT_AN_OBJECT),
        ({}, {}, Reason.KIND_UNDECIDED),
        ({"question": "q"}, {"kind": "prompt_completion"}, Reason.FIELD_MISSING),
        ({"text": "t"}, {"kind": "labelled"}, Reason.FIELD_MISSING),
        ({"text": None}, {"kind": "document"}, Reason.FIELD_MISSING),
        ({"text": 5}, {}, Reason.FIELD_TYPE),
        ({"text": "t", "label": {"a": 1}}, {}, Reason.FIELD_TYPE),
        ({"messages": []}, {}, Reason.BAD_MESSAGES),
        ({"messages": "no json"}, {}, Reason.BAD_MESSAGES),
        ({"messages": [{"role": "robot", "content": "x"}]}, {}, Reason.BAD_MESSAGES),
        ({"messages": [{"role": ["user"], "content": "x"}]}, {}, Reason.BAD_MESSAGES),
        ({"messages": [{"role": "user", "content": 1}]}, {}, Reason.BAD_MESSAGES),
        ({"messages": ["hi"]}, {}, Reason.BAD_MESSAGES),
        ({"text": "t"}, {"key": "id"}, Reason.FIELD_MISSING),
        ({"text": "t", "id": ""}, {"key": "id"}, Reason.BAD_KEY),
        ({"text": "t", "id": "a\0"}, {"key": "id"}, Reason.BAD_KEY),
        ({"text": "t", "id": "x" * 513}, {"key": "id"}, Reason.BAD_KEY),
        ({"op": "delete"}, {}, Reason.FIELD_MISSING),
        ({"text": "t", "action": "explode"}, {"op": "action"}, Reason.UNKNOWN_OP),
        ({"text": "\ud800"}, {}, Reason.NOT_UTF8),
        ({"text": "x" * (MAX_RECORD_CHARACTERS + 1)}, {}, Reason.TOO_LARGE),
    ],
)
def test_a_row_that_cannot_become_a_record_is_rejected_with_its_reason(
    row: Any, mapping: dict[str, Any], reason: Reason
) -> None:
    with pytest.raises(Rejected) as error:
        mapped(row, **mapping)
    assert error.value.reason is reason
    assert error.value.message


def test_a_missing_field_is_named_together_with_what_is_there() -> None:
    with pytest.raises(Rejected, match=r"no field 'answer'; it has 'question', 'id'"):
        mapped({"question": "q", "id": 1}, kind="prompt_completion", prompt="question", completion="answer")


def test_the_key_is_the_sources_or_else_the_content() -> None:
    assert mapped({"text": "t", "id": 17}, key="id").record_key == "17"
    assert mapped({"text": "t", "id": 17.0}, key="id").record_key == "17"
    keyless = mapped({"text": "t"})
    assert keyless.record_key == keyless.record_id


def test_a_withdrawal_needs_only_its_key() -> None:
    record = mapped({"op": "delete", "id": "a"}, key="id")
    assert (record.op, record.record_key) == ("withdraw", "a")


def test_an_op_field_of_the_sources_own_means_nothing_unless_mapped() -> None:
    assert mapped({"text": "t", "op": "resize"}).op == "upsert"


def test_attributes_are_carried_as_text_and_absent_ones_left_out() -> None:
    row = {"text": "t", "language": "de", "n": 5, "b": True, "tags": ["x"], "none": None}
    record = mapped(row, attributes=("language", "n", "b", "tags", "none", "absent"))
    assert record.attributes == {"language": "de", "n": "5", "b": "true", "tags": '["x"]'}


def test_a_person_is_a_pseudonym_that_differs_between_projects() -> None:
    row = {"text": "t", "customer": "Eva Muster"}
    one = mapped(row, subject="customer")
    other = Mapper("s", Mapping(subject="customer"), b"another").record(row, "p", NOW)
    assert len(one.subject_key) == 32
    assert one.subject_key == mapped({**row, "text": "u"}, subject="customer").subject_key
    assert one.subject_key != other.subject_key
    assert "Eva" not in to_json(one)


def test_the_same_row_has_the_same_id_wherever_it_stood() -> None:
    mapper = Mapper("projects/p/sources/s", Mapping(), b"s")
    assert (
        mapper.record({"text": "t"}, "a", NOW).record_id == mapper.record({"text": "t"}, "b", NOW).record_id
    )


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_ROWS = st.dictionaries(
    st.sampled_from(["messages", "prompt", "completion", "text", "label", "id", "op", "x"]), _JSON
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_ROWS, st.sampled_from(["auto", "chat", "prompt_completion", "labelled", "document"]))
def test_whatever_a_row_holds_it_is_mapped_or_rejected(row: dict[str, Any], kind: str) -> None:
    try:
        record = mapped(row, kind=kind, key="id", subject="x", attributes=("x",))
    except Rejected:
        return
    assert record.record_key


def test_an_excerpt_is_short_and_printable() -> None:
    assert excerpt(b"\xff\x00abc" + b"x" * 5000).endswith("…")
    assert len(excerpt({"a": "y" * 900})) == 200
    assert excerpt("a\nb") == "a b"
