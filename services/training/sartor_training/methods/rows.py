"""Curated records as rows of token ids: what is learned, what was cut, and what teaches nothing."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sartor_models.chat_format import ChatTokens, encode_conversation
from sartor_models.errors import ModelError
from sartor_models.tokenizer import ChatMessage, ChatTokenizer

from sartor_training.methods.method import Audit

# Looked at twice an epoch, at a third of a step's price a token, this share costs a thirtieth of the time.
_VALIDATION_SHARE = 0.05
_VALIDATION_TOKENS = 2048
_SAMPLES = 3
_MOST_WITHOUT_LABELS = 0.01


@dataclass(frozen=True, slots=True)
class Rows:
    """The usable rows of one split, and how many were not usable as they are.

    Args:
        cut: rows that lost their end to the length limit; they are used.
        useless: rows without a single supervised token, for which no loss exists; they are left out.
        names: of the usable rows, where the data has names.
    """

    rows: tuple[Any, ...]
    cut: int
    useless: int
    names: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        return sum(len(row.ids) for row in self.rows)

    @property
    def supervised_tokens(self) -> int:
        return sum(row.supervised_count for row in self.rows)


def read_rows(folder: Path, split: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The records of a split as plain values; `record_key` and `kind` come with every one."""
    from sartor_datasets.curated import read_curated_folder

    for batch in read_curated_folder(folder, split, ["record_key", "kind", *columns]):
        found: list[dict[str, Any]] = batch.to_pylist()
        yield from found


def encode_rows(
    tokenizer: ChatTokenizer,
    conversations: Iterable[Sequence[ChatMessage]],
    max_length: int,
    names: Sequence[str] = (),
) -> Rows:
    """Every conversation on the base model's chat template, at most `max_length` tokens of each."""
    rows: list[ChatTokens] = []
    kept: list[str] = []
    cut = useless = 0
    for number, messages in enumerate(conversations):
        try:
            row = encode_conversation(tokenizer, messages)
        except ModelError as error:
            if error.reason != "NOTHING_TO_LEARN":
                raise
            useless += 1
            continue
        shortened = ChatTokens(row.ids[:max_length], row.supervised[:max_length])
        cut += len(row.ids) > max_length
        # The first position predicts nothing: no token stands before it.
        if any(shortened.supervised[1:]):
            rows.append(shortened)
            kept += names[number : number + 1]
        else:
            useless += 1
    return Rows(tuple(rows), cut, useless, tuple(kept))


def _tokens(row: Any) -> int:
    return len(row.ids)


def sample(rows: Rows, max_tokens: int, seed: int, length: Callable[[Any], int] = _tokens) -> Rows:
    """Rows of about `max_tokens` tokens in all, the same for the same seed; all of them where they fit."""
    if sum(length(row) for row in rows.rows) <= max_tokens:
        return rows
    order = list(range(len(rows.rows)))
    random.Random(seed).shuffle(order)
    chosen: list[int] = []
    tokens = 0
    for index in order:
        if chosen and tokens + length(rows.rows[index]) > max_tokens:
            break
        chosen.append(index)
        tokens += length(rows.rows[index])
    names = tuple(rows.names[index] for index in chosen) if rows.names else ()
    return Rows(tuple(rows.rows[index] for index in chosen), rows.cut, rows.useless, names)


def validation_sample(
    validation: Rows, train_tokens: int, seed: int, length: Callable[[Any], int] = _tokens
) -> Rows:
    """As much of the validation rows as may be looked at again and again."""
    return sample(validation, max(_VALIDATION_TOKENS, int(train_tokens * _VALIDATION_SHARE)), seed, length)


def audit_of(tokenizer: ChatTokenizer, rows: Rows) -> Audit:
    """What rows of token ids teach, with three of them as text."""
    return Audit(
        rows=len(rows.rows) + rows.useless,
        tokens=rows.tokens,
        supervised_tokens=rows.supervised_tokens,
        cut=rows.cut,
        without_labels=rows.useless,
        samples=[spans(tokenizer, row) for row in spread(rows.rows, _SAMPLES)],
    )


def refusal(audit: Audit) -> str:
    """Why nobody should train on this, or empty."""
    if audit.without_labels <= _MOST_WITHOUT_LABELS * audit.rows:
        return ""
    return (
        f"{audit.without_labels} of {audit.rows} rows teach nothing: no learned word is within their first "
        "max_length tokens. Raise max_length, or see in the curation's report what these records are."
    )


def spans(tokenizer: ChatTokenizer, row: ChatTokens) -> list[tuple[str, bool]]:
    """A row as pieces of text that are, or are not, learned."""
    found: list[tuple[str, bool]] = []
    start = 0
    for index in range(1, len(row.ids) + 1):
        if index == len(row.ids) or row.supervised[index] != row.supervised[start]:
            text = tokenizer.decode(row.ids[start:index], keep_special=True)
            found.append((text, row.supervised[start]))
            start = index
    return found


def spread(rows: Sequence[Any], count: int) -> list[Any]:
    """`count` rows from begin to end."""
    return [rows[len(rows) * number // count] for number in range(min(count, len(rows)))]
