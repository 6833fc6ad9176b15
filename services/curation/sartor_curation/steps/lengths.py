"""Steps: drops records too short to say anything or too long for the model, and counts their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from sartor_curation.steps.item import Item, answer, question
from sartor_curation.steps.outcome import Dropped, Outcome, Reason

_TEXTS_AT_ONCE = 1024


class CountTokens(Protocol):
    """The base model's tokenizer, as far as this step needs it."""

    def __call__(self, texts: Sequence[str]) -> list[int]: ...


def drop_too_short(items: Sequence[Item], min_characters: int) -> Outcome:
    """Items whose question and answer have at least `min_characters` characters together."""
    kept: list[Item] = []
    dropped: list[Dropped] = []
    for item in items:
        length = len(question(item.record)) + len(answer(item.record))
        if length < min_characters:
            detail = f"{length} characters, fewer than {min_characters}"
            dropped.append(Dropped(item, Reason.TOO_SHORT, detail))
        else:
            kept.append(item)
    return Outcome(kept, dropped)


def drop_too_long(items: Sequence[Item], count_tokens: CountTokens, max_tokens: int) -> Outcome:
    """Items of at most `max_tokens` tokens (0: no bound), with the number filled in.

    Counted are the contents of all messages, without the marks that the model's chat template puts around
    them.
    """
    kept: list[Item] = []
    dropped: list[Dropped] = []
    for start in range(0, len(items), _TEXTS_AT_ONCE):
        for item in _counted(items[start : start + _TEXTS_AT_ONCE], count_tokens):
            if max_tokens and item.tokens > max_tokens:
                detail = f"{item.tokens} tokens, more than {max_tokens}"
                dropped.append(Dropped(item, Reason.TOO_LONG, detail))
            else:
                kept.append(item)
    return Outcome(kept, dropped)


def _counted(items: Sequence[Item], count_tokens: CountTokens) -> list[Item]:
    texts = [[message.content for message in item.record.messages] or [item.record.text] for item in items]
    counts = iter(count_tokens([text for of_item in texts for text in of_item]))
    return [
        replace(item, tokens=sum(next(counts) for _ in of_item))
        for item, of_item in zip(items, texts, strict=True)
    ]
