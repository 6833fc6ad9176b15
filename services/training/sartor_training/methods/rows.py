"""Curated records as rows of token ids: what is learned, what was cut, and what teaches nothing."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sartor_models.chat_format import ChatTokens, encode_conversation
from sartor_models.errors import ModelError
from sartor_models.tokenizer import ChatMessage, ChatTokenizer


@dataclass(frozen=True, slots=True)
class Rows:
    """The usable rows of one split, and how many were not usable as they are.

    Args:
        cut: rows that lost their end to the length limit; they are used.
        useless: rows without a single supervised token, for which no loss exists; they are left out.
    """

    rows: tuple[ChatTokens, ...]
    cut: int
    useless: int

    @property
    def tokens(self) -> int:
        return sum(len(row.ids) for row in self.rows)

    @property
    def supervised_tokens(self) -> int:
        return sum(row.supervised_count for row in self.rows)


def encode_rows(
    tokenizer: ChatTokenizer, conversations: Iterable[Sequence[ChatMessage]], max_length: int
) -> Rows:
    """Every conversation on the base model's chat template, at most `max_length` tokens of each."""
    rows: list[ChatTokens] = []
    cut = useless = 0
    for messages in conversations:
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
        else:
            useless += 1
    return Rows(tuple(rows), cut, useless)


def sample(rows: Rows, max_tokens: int, seed: int) -> Rows:
    """Rows of about `max_tokens` tokens in all, the same for the same seed; all of them where they fit."""
    if rows.tokens <= max_tokens:
        return rows
    order = list(range(len(rows.rows)))
    random.Random(seed).shuffle(order)
    chosen: list[ChatTokens] = []
    tokens = 0
    for index in order:
        if chosen and tokens + len(rows.rows[index].ids) > max_tokens:
            break
        chosen.append(rows.rows[index])
        tokens += len(rows.rows[index].ids)
    return Rows(tuple(chosen), rows.cut, rows.useless)
