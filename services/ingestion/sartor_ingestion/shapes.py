"""The shapes in which the field keeps training data, and what a row of each says. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sartor_datasets.records import Message

from sartor_ingestion import conversations
from sartor_ingestion.rejection import Reason, Rejected, shown

if TYPE_CHECKING:
    from sartor_ingestion.mapping import Mapping as SourceMapping

Row = Mapping[str, Any]
CONVERSATIONS = ("conversations", "conversation", "dialogue", "dialog")
ROW_FIELDS = frozenset(
    {"messages", *CONVERSATIONS, "chosen", "rejected", "preferred_output", "non_preferred_output", "prompt"}
    | {"completion", "instruction", "output", "text", "label", "labels"}
)
"""Fields that make an object a row rather than the holder of rows."""


class Shape(StrEnum):
    """How a row is written. Constant: shown to people, and clients compare with them."""

    CHAT = "chat"
    """A list of messages, each with role and content."""
    SHAREGPT = "sharegpt"
    """A list of turns, each with from and value."""
    PREFERENCE = "preference"
    """A better and a worse answer to the same conversation."""
    UNPAIRED_PREFERENCE = "unpaired_preference"
    """One answer and whether it was good."""
    PROMPT_COMPLETION = "prompt_completion"
    """A question and its answer."""
    ALPACA = "alpaca"
    """An instruction, perhaps with an input, and the output."""
    LABELLED = "labelled"
    """A text and its label, or its labels."""
    DOCUMENT = "document"
    """Plain text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a row says, as a record keeps it."""

    kind: str
    messages: tuple[Message, ...] = ()
    text: str = ""
    label: str = ""
    chosen: str = ""
    rejected: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


def shape_of(row: Row, mapping: SourceMapping) -> Shape | None:
    """The shape of a row by the fields that it has; None where it has those of none."""
    get = row.get  # every row comes through here
    if get(mapping.chosen) is not None and get(mapping.rejected) is not None:
        return Shape.PREFERENCE
    if get("preferred_output") is not None and get("non_preferred_output") is not None:
        return Shape.PREFERENCE
    if get(mapping.messages) is not None:
        return Shape.CHAT
    if get(mapping.prompt) is not None and get(mapping.completion) is not None:
        return Shape.UNPAIRED_PREFERENCE if isinstance(get(mapping.label), bool) else Shape.PROMPT_COMPLETION
    if any(isinstance(get(name), list) for name in CONVERSATIONS):
        return Shape.SHAREGPT
    if get("instruction") is not None and get("output") is not None:
        return Shape.ALPACA
    if get(mapping.text) is not None:
        return Shape.LABELLED if get(label_field(row, mapping)) is not None else Shape.DOCUMENT
    return None


def label_field(row: Row, mapping: SourceMapping) -> str:
    """The field that holds a row's label or labels."""
    plural = mapping.label == "label" and row.get("label") is None and row.get("labels") is not None
    return "labels" if plural else mapping.label


def chat(row: Row, name: str) -> Content:
    """A row of messages or turns; a system text beside ShareGPT's turns becomes the first of them."""
    messages = conversations.turns(present(row, name))
    system = row.get("system")
    if name in CONVERSATIONS and isinstance(system, str) and system and messages[0].role != "system":
        messages = (Message("system", system), *messages)
    return Content(kind="chat", messages=messages)


def prompt_completion(row: Row, mapping: SourceMapping) -> Content:
    """A row of a question and its answer; each may be a text or a list of messages."""
    asked = _asked(row, mapping)
    before, answer = _answer(row, mapping.completion)
    return Content(kind="chat", messages=(*asked, *before, Message("assistant", answer)))


def alpaca(row: Row, mapping: SourceMapping) -> Content:
    """A row of instruction, input and output, with system and history where there are any."""
    instruction, given = text_of(row, "instruction"), row.get("input")
    asked = f"{instruction}\n\n{given}" if isinstance(given, str) and given.strip() else instruction
    turns = [Message("user", asked), Message("assistant", text_of(row, "output"))]
    history = row.get("history")
    for pair in reversed(history if isinstance(history, list) else []):
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(said, str) for said in pair):
            raise Rejected(Reason.BAD_MESSAGES, "the history must be a list of pairs of question and answer")
        turns[:0] = [Message("user", pair[0]), Message("assistant", pair[1])]
    system = row.get(mapping.system or "system")
    if isinstance(system, str) and system:
        turns.insert(0, Message("system", system))
    return Content(kind="chat", messages=tuple(turns))


def preference(row: Row, mapping: SourceMapping) -> Content:
    """A row of a better and a worse answer, whichever way the conversation before them is given.

    Raises:
        Rejected: BAD_MESSAGES also where the two answers belong to different conversations.
    """
    if row.get("preferred_output") is not None:
        given = row.get("input")
        asked = conversations.turns(given.get("messages") if isinstance(given, Mapping) else given)
        names = ("preferred_output", "non_preferred_output")
    else:
        asked = _asked(row, mapping, required=False)
        names = (mapping.chosen, mapping.rejected)
    (before, chosen), (other, rejected) = (_answer(row, name) for name in names)
    if before != other:
        problem = "the chosen and the rejected answer belong to different conversations"
        raise Rejected(Reason.BAD_MESSAGES, f"{problem}; only their last turns may differ")
    question = _without_system(asked)
    repeated = _without_system(before)[: len(question)] == question
    messages = _longer(asked, before) if repeated else (*asked, *before)
    if not messages:
        raise Rejected(
            Reason.FIELD_MISSING, f"the row has no question: neither {mapping.prompt!r} nor messages"
        )
    return Content(kind="preference", messages=messages, chosen=chosen, rejected=rejected)


def unpaired_preference(row: Row, mapping: SourceMapping) -> Content:
    """A row of one answer that was found good or bad."""
    before, answer = _answer(row, mapping.completion)
    messages = (*_asked(row, mapping), *before)
    if row[mapping.label]:
        return Content(kind="preference", messages=messages, chosen=answer)
    return Content(kind="preference", messages=messages, rejected=answer)


def labelled(row: Row, mapping: SourceMapping) -> Content:
    """A row of a text and its label. Several labels are one answer, and kept as a list beside it."""
    name = label_field(row, mapping)
    value = present(row, name)
    text = text_of(row, mapping.text)
    if not isinstance(value, list | tuple):
        return Content(kind="labelled", text=text, label=scalar_of(row, name))
    labels = list(dict.fromkeys(scalar_text(item) for item in value if is_scalar(item) and item is not None))
    if not labels or len(labels) < len(set(map(str, value))):
        raise Rejected(Reason.FIELD_TYPE, f"field {name!r} must be a list of labels, not {shown(value)}")
    kept = {"labels": json.dumps(labels, ensure_ascii=False)} if len(labels) > 1 else {}
    return Content(kind="labelled", text=text, label=", ".join(labels), attributes=kept)


def document(row: Row, mapping: SourceMapping) -> Content:
    """A row of plain text."""
    return Content(kind="document", text=text_of(row, mapping.text))


def present(row: Row, name: str) -> Any:
    """A field that must be there; raises Rejected: FIELD_MISSING."""
    value = row.get(name)
    if value is None:
        fields = ", ".join(repr(field) for field in list(row)[:10]) or "no fields"
        raise Rejected(Reason.FIELD_MISSING, f"the row has no field {name!r}; it has {fields}"[:500])
    return value


def text_of(row: Row, name: str) -> str:
    """A field that must be text; raises Rejected: FIELD_MISSING, FIELD_TYPE."""
    value = present(row, name)
    if not isinstance(value, str):
        raise Rejected(Reason.FIELD_TYPE, f"field {name!r} must be text, not {shown(value)}")
    return value


def scalar_of(row: Row, name: str) -> str:
    """A field that must be text or a number, as text; raises as `text_of`."""
    value = present(row, name)
    if not is_scalar(value):
        raise Rejected(Reason.FIELD_TYPE, f"field {name!r} must be text or a number, not {shown(value)}")
    return scalar_text(value)


def is_scalar(value: Any) -> bool:
    """Whether a value is neither an object nor a list."""
    return not isinstance(value, Mapping | list | tuple)


def scalar_text(value: Any) -> str:
    """Text of a value: 5 and 5.0 are both "5", since JSON does not tell them apart."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _without_system(turns: tuple[Message, ...]) -> tuple[Message, ...]:
    return tuple(turn for turn in turns if turn.role != "system")


def _longer(asked: tuple[Message, ...], before: tuple[Message, ...]) -> tuple[Message, ...]:
    return before if len(before) > len(asked) else asked


def _asked(row: Row, mapping: SourceMapping, *, required: bool = True) -> tuple[Message, ...]:
    """The turns before the answer: the prompt, or the conversation, and the system text before them."""
    names = (mapping.prompt, mapping.messages, *CONVERSATIONS)
    name = next((name for name in names if row.get(name) is not None), mapping.prompt)
    value = present(row, name) if required else row.get(name)
    if value is None:
        return ()
    if name == mapping.prompt and not isinstance(value, str | list | tuple):
        raise Rejected(Reason.FIELD_TYPE, f"field {name!r} must be text, not {shown(value)}")
    turns = conversations.prompt(value)
    if mapping.system and row.get(mapping.system):
        turns = (Message("system", text_of(row, mapping.system)), *turns)
    return turns


def _answer(row: Row, name: str) -> tuple[tuple[Message, ...], str]:
    value = present(row, name)
    if not isinstance(value, str | list | tuple | Mapping):
        raise Rejected(Reason.FIELD_TYPE, f"field {name!r} must be text, not {shown(value)}")
    return conversations.answer(value)
