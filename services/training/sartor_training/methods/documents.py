"""Documents as rows of token ids, packed so that hardly a position is padding."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sartor_models.chat_format import ChatTokens
from sartor_models.tokenizer import ChatTokenizer

from sartor_training.methods.rows import Rows, read_rows


def read_texts(folder: Path, split: str) -> Iterator[tuple[str, str]]:
    """(name, text) of every record: a document's text, or what was said in a conversation."""
    for row in read_rows(folder, split, ["text", "messages"]):
        text = row["text"] or "\n\n".join(turn["content"] for turn in row["messages"] or [])
        if text.strip():
            yield row["record_key"], text


def pack(tokenizer: ChatTokenizer, texts: Iterable[tuple[str, str]], max_length: int) -> Rows:
    """All texts in rows of at most `max_length` tokens, by best fit (Ding et al. 2024): no text is cut that
    fits into a row. An end token follows each text; what comes after one is not learned from what came
    before."""
    pieces: list[tuple[str, list[int]]] = []
    cut = 0
    for name, text in texts:
        ids = [*tokenizer.encode(text), *tokenizer.eos_ids[:1]]
        cut += len(ids) > max_length
        pieces += [(name, ids[start : start + max_length]) for start in range(0, len(ids), max_length)]
    rows = _best_fit(pieces, max_length)
    usable = [row for row in rows if sum(len(ids) for _, ids in row) > 1]
    return Rows(
        tuple(_joined(row) for row in usable),
        cut,
        len(rows) - len(usable),
        tuple(" + ".join(dict.fromkeys(name for name, _ in row)) for row in usable),
    )


def _best_fit(pieces: Sequence[tuple[str, list[int]]], size: int) -> list[list[tuple[str, list[int]]]]:
    rows: list[list[tuple[str, list[int]]]] = []
    room: list[tuple[int, int]] = []  # (free tokens, row), sorted
    for piece in sorted(pieces, key=lambda piece: -len(piece[1])):
        place = bisect_left(room, (len(piece[1]), -1))
        if place == len(room):
            rows.append([])
            free, row = size, len(rows) - 1
        else:
            free, row = room.pop(place)
        rows[row].append(piece)
        if free > len(piece[1]):
            insort(room, (free - len(piece[1]), row))
    return rows


def _joined(row: Sequence[tuple[str, list[int]]]) -> ChatTokens:
    ids: list[int] = []
    learned: list[bool] = []
    for _, piece in row:
        ids += piece
        learned += [False, *[True] * (len(piece) - 1)]
    return ChatTokens(tuple(ids), tuple(learned))


def part_of(rows: Rows, share_of: int, share: float, seed: int) -> list[Any]:
    """Rows that make up `share` of all tokens once they are mixed with `share_of` tokens of others."""
    from sartor_training.methods.rows import sample

    wanted = int(share_of * share / (1.0 - share))
    return list(sample(rows, wanted, seed).rows) if wanted else []
