"""A shard's records as one Arrow batch, and the texts in it as the steps compare them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sartor_datasets.arrow import RECORD_SCHEMA
from sartor_text.language import UNSURE
from sartor_text.shingles import Utf8Texts

_FOUND_FIELDS: list[pa.Field[Any]] = [
    pa.field("place", pa.int64(), nullable=False),  # in the snapshot: the older record has the smaller one
    pa.field("language", pa.string(), nullable=False),
    pa.field("tokens", pa.int32(), nullable=False),
    pa.field("changed", pa.bool_(), nullable=False),
]
ITEM_SCHEMA: pa.Schema = pa.schema([*RECORD_SCHEMA, *_FOUND_FIELDS])
"""A record, its place in the snapshot, and what the steps found out about it."""

MESSAGES = RECORD_SCHEMA.field("messages").type


def items(records: pa.RecordBatch, first_place: int) -> pa.RecordBatch:
    """A batch of RECORD_SCHEMA as one of ITEM_SCHEMA, its rows counted on from `first_place`."""
    count = records.num_rows
    found: list[Any] = [
        pa.array(np.arange(first_place, first_place + count)),
        pa.repeat(UNSURE, count),
        pa.array(np.zeros(count, dtype=np.int32)),
        pa.array(np.zeros(count, dtype=bool)),
    ]
    columns: list[Any] = [records.column(name) for name in RECORD_SCHEMA.names]
    return pa.RecordBatch.from_arrays([*columns, *found], schema=ITEM_SCHEMA)


@dataclass(frozen=True, slots=True)
class Rows:
    """The texts of a batch as Python strings.

    The turns of row i are those from starts[i] to starts[i + 1].
    """

    kinds: list[str]
    texts: list[str]
    labels: list[str]
    roles: list[str]
    contents: list[str]
    starts: list[int]
    chosen: list[str]
    rejected: list[str]

    @classmethod
    def of(cls, batch: pa.RecordBatch) -> Rows:
        messages: Any = batch.column("messages")
        turns = messages.flatten()
        starts = messages.offsets.to_numpy()
        return cls(
            strings(batch, "kind"),
            strings(batch, "text"),
            strings(batch, "label"),
            turns.field("role").to_pylist(),
            turns.field("content").to_pylist(),
            (starts - starts[0]).tolist(),
            strings(batch, "chosen"),
            strings(batch, "rejected"),
        )

    def __len__(self) -> int:
        return len(self.kinds)

    def turns(self, row: int) -> range:
        """Places of the row's turns in `roles` and `contents`."""
        return range(self.starts[row], self.starts[row + 1])

    def answered(self, row: int) -> bool:
        """Whether the conversation ends with the assistant."""
        turns = self.turns(row)
        return bool(turns) and self.roles[turns[-1]] == "assistant"

    def frame(self, row: int) -> str:
        """What a question is asked under: kind and system instruction; questions of different ones never
        meet."""
        system = [self.contents[turn] for turn in self.turns(row) if self.roles[turn] == "system"]
        return "\n".join((self.kinds[row], *system))

    def question(self, row: int) -> str:
        """What the model will be given: the turns before the last answer, or the text."""
        if self.kinds[row] not in ("chat", "preference"):
            return self.texts[row]
        turns = self.turns(row)
        asked = turns[:-1] if self.answered(row) else turns
        return "\n".join(self.contents[turn] for turn in asked if self.roles[turn] != "system")

    def answer(self, row: int) -> str:
        """What the model shall say: the last turn, the chosen answer or the label; empty for a document."""
        if self.kinds[row] == "preference":
            return self.chosen[row]
        if self.kinds[row] != "chat":
            return self.labels[row]
        return self.contents[self.turns(row)[-1]] if self.answered(row) else ""

    def written(self, row: int) -> tuple[str, ...]:
        """Every text a person wrote, in a fixed order; the label is not one of them."""
        turns = (self.contents[turn] for turn in self.turns(row))
        if self.kinds[row] == "preference":
            return (self.texts[row], *turns, self.chosen[row], self.rejected[row])
        return (self.texts[row], *turns)

    def shown(self, row: int) -> str:
        """Question and answer as people look at them."""
        return " → ".join(part for part in (self.question(row), self.answer(row)) if part)

    def length(self, row: int) -> int:
        """Characters of all of it in one piece."""
        parts = [part for part in (*self.written(row), self.labels[row]) if part]
        return sum(map(len, parts)) + max(len(parts) - 1, 0)

    def with_written(self, row: int, texts: Sequence[str]) -> None:
        """Put these texts in place, in the order of `written`."""
        turns = self.turns(row)
        self.texts[row] = texts[0]
        for turn, text in zip(turns, texts[1:], strict=False):
            self.contents[turn] = text
        if self.kinds[row] == "preference":
            self.chosen[row], self.rejected[row] = texts[len(turns) + 1 :]


def strings(batch: pa.RecordBatch, name: str) -> list[str]:
    """A column of strings, none of which is null."""
    values: list[Any] = batch.column(name).to_pylist()
    return values


def only_documents(batch: pa.RecordBatch) -> bool:
    """Whether all records are documents.

    Text and label are all that those have: whole columns can be worked on where other kinds are looked at one
    by one.
    """
    return bool(pc.all(pc.equal(batch.column("kind"), pa.scalar("document")), min_count=0).as_py())


def as_arrow(values: NDArray[Any]) -> Any:
    """An array of numbers as Arrow has it: to take rows by, or as a column."""
    return pa.array(values)


def utf8(column: Any) -> Utf8Texts:
    """A column of strings, none of which is null, as it lies in memory."""
    _, offsets, data = column.buffers()
    if not len(column):
        return Utf8Texts.of(())
    ends = np.frombuffer(offsets, dtype=np.int32)[column.offset : column.offset + len(column) + 1]
    held = np.frombuffer(data, dtype=np.uint8) if data else np.empty(0, dtype=np.uint8)
    return Utf8Texts(held, ends.astype(np.int64))


def concatenated(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """All of them as one batch; there is at least one."""
    if len(batches) == 1:
        return batches[0]
    together = pa.Table.from_batches(list(batches)).combine_chunks().to_batches()
    return together[0] if together else batches[0]


def with_texts(batch: pa.RecordBatch, rows: Rows) -> pa.RecordBatch:
    """The batch with the texts, turns and labels of `rows` in place of its own."""
    fields = [MESSAGES.value_type.field(0), MESSAGES.value_type.field(1)]
    turns = pa.StructArray.from_arrays(
        [pa.array(rows.roles, pa.string()), pa.array(rows.contents, pa.string())], fields=fields
    )
    messages = pa.ListArray.from_arrays(pa.array(rows.starts, pa.int32()), turns, type=MESSAGES)
    changed: dict[str, pa.Array[Any]] = {
        "text": pa.array(rows.texts, pa.string()),
        "label": pa.array(rows.labels, pa.string()),
        "messages": messages,
        "chosen": pa.array(rows.chosen, pa.string()),
        "rejected": pa.array(rows.rejected, pa.string()),
    }
    return with_columns(batch, changed)


def with_columns(batch: pa.RecordBatch, changed: dict[str, pa.Array[Any]]) -> pa.RecordBatch:
    """The batch with some columns replaced."""
    columns = [changed.get(name, batch.column(name)) for name in batch.schema.names]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def with_turns(rows: Rows, turns: Sequence[Sequence[tuple[str, str]]]) -> Rows:
    """The rows with other conversations: (role, content) of each turn of each row."""
    starts = [0]
    for of_row in turns:
        starts.append(starts[-1] + len(of_row))
    roles = [role for of_row in turns for role, _ in of_row]
    contents = [content for of_row in turns for _, content in of_row]
    return replace(rows, roles=roles, contents=contents, starts=starts)
