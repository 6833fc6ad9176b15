"""Documents for the benchmarks of curation: the same on every machine with the same Python release.

Prose comes from the help texts of Python itself, which are real English, mixed with sentences of made-up
words of natural frequencies, so that any number of different documents can be made. Some documents are near
copies of others, some are what filters should find: lists, code, tables, repetition, fragments.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from pydoc_data import topics

COPIES = 0.25
"""Share of documents that are near copies of an earlier one."""
_STOP_LIST = (
    "the of and to in is that it was for on are as with be at by have this from or had not but what all"
)
_PARTS_LIST = "al be con der en fi gra ho in jo ki la ment nor ou per qui ra sta ter un ver wi xo ya zen"
_ODD = ("don't", "it's", "3.5%", "$5", "U.S.", "and/or")


def documents(count: int, seed: int = 1) -> Iterator[tuple[str, str]]:
    """Identity and text of documents of about 200 words."""
    chance = random.Random(seed)
    recent: list[str] = []
    for number in range(count):
        if recent and chance.random() < COPIES:
            text = _near_copy(chance, chance.choice(recent))
        else:
            text = _made(chance)
            if len(recent) < 4000:
                recent.append(text)
            else:
                recent[chance.randrange(4000)] = text
        yield f"doc-{number}", text


def write_jsonl(path: Path, count: int, seed: int = 1) -> Path:
    """Documents as JSON lines of id and text."""
    with path.open("w", encoding="utf-8") as lines:
        for key, text in documents(count, seed):
            lines.write(json.dumps({"id": key, "text": text}, ensure_ascii=False) + "\n")
    return path


def _made(chance: random.Random) -> str:
    kind = chance.random()
    if kind < 0.78:
        return _prose(chance, max(3, round(chance.lognormvariate(2.3, 0.5))))
    if kind < 0.82:
        return "\n".join(f"- {_sentence(chance)}" for _ in range(chance.randint(5, 20)))
    if kind < 0.86:
        line = _sentence(chance)
        return "\n".join(chance.choice((line, _sentence(chance))) for _ in range(chance.randint(6, 20)))
    if kind < 0.89:
        return _prose(chance, 6) + "\n" + "if (x > 0) { return y; }" + "\n" + _prose(chance, 4)
    if kind < 0.92:
        cells = (f"{chance.randint(1, 99999)} | {chance.random():.3f}" for _ in range(chance.randint(20, 60)))
        return "\n".join(cells) + "\n" + _prose(chance, 2)
    if kind < 0.95:
        phrase = " ".join(chance.choices(_vocabulary()[0], k=chance.randint(5, 9)))
        inside = (f"{phrase} {_sentence(chance)}" for _ in range(chance.randint(3, 12)))
        return " ".join(inside)
    if kind < 0.97:
        return _prose(chance, 5).replace(".", "...") + "\nRead more…"
    return (
        _prose(chance, 2)
        + "\nWe use cookies.\nPlease enable Javascript to see this page.\n"
        + _prose(chance, 6)
    )


def _prose(chance: random.Random, sentences: int) -> str:
    paragraphs: list[str] = []
    left = sentences
    while left > 0:
        size = min(left, chance.randint(1, 5))
        paragraphs.append(" ".join(_sentence(chance) for _ in range(size)))
        left -= size
    return chance.choice(("\n", "\n\n")).join(paragraphs)


def _sentence(chance: random.Random) -> str:
    if chance.random() < 0.4:
        return chance.choice(_real_sentences())
    words, weights = _vocabulary()
    chosen = chance.choices(words, cum_weights=weights, k=chance.randint(8, 28))
    if chance.random() < 0.3:
        chosen.insert(chance.randrange(len(chosen)), chance.choice(_ODD))
    text = " ".join(chosen)
    return text[0].upper() + text[1:] + chance.choice((".", ".", ".", "?", "!", '."', ":"))


def _near_copy(chance: random.Random, text: str) -> str:
    words = re.split(r"(\s+)", text)
    for _ in range(round(len(words) / 2 * chance.choice((0, 0.005, 0.01, 0.02, 0.04, 0.08)))):
        words[chance.randrange(len(words)) // 2 * 2] = chance.choice(_vocabulary()[0])
    return "".join(words)


@lru_cache(maxsize=1)
def _vocabulary() -> tuple[list[str], list[float]]:
    chance = random.Random(5)
    parts = _PARTS_LIST.split()
    made = ("".join(chance.choices(parts, k=chance.randint(1, 4))) for _ in range(30_000))
    words = [*_STOP_LIST.split(), *dict.fromkeys(made)]
    return words, list(accumulate(1 / (rank + 3) for rank in range(len(words))))


@lru_cache(maxsize=1)
def _real_sentences() -> list[str]:
    texts = " ".join(topics.topics.values())
    flat = re.sub(r"\s+", " ", texts)
    return [
        found
        for found in re.split(r"(?<=[.!?]) (?=[A-Z])", flat)
        if 30 < len(found) < 400 and _is_prose(found)
    ]


def _is_prose(sentence: str) -> bool:
    return sum(sign.isalpha() or sign == " " for sign in sentence) > 0.93 * len(sentence)
