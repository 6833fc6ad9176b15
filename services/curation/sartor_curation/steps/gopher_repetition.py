"""Step: drops texts that repeat themselves, by the repetition rules of Gopher.

Rae et al., Scaling Language Models: Methods, Analysis & Insights from Training Gopher, 2021 (arXiv
2112.11446), table A1.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Sequence

import numpy as np
import pyarrow as pa
from sartor_text.shingles import Hashes, mix
from sartor_text.words import Ints, Pieces, lexicon

from sartor_curation.steps.batches import Rows
from sartor_curation.steps.outcome import Found, Outcome, Reason, broken_rules

_PARAGRAPHS = re.compile(r"\n{2,}")
_LINES = re.compile(r"\n+")
_TOP = ((2, 0.20), (3, 0.18), (4, 0.16))
_REPEATED = ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10))


def drop_repetition(batch: pa.RecordBatch) -> Outcome:
    """Documents that keep all rules; other kinds of records pass."""
    texts = Rows.of(batch).texts
    found = gopher_repetition(texts, lexicon().split(texts))
    return broken_rules(batch, found, Reason.REPETITION, "Gopher")


def gopher_repetition(texts: Sequence[str], pieces: Pieces) -> Found:
    """Repeated paragraphs, lines and n-grams, with the thresholds of table A1."""
    found: dict[int, str] = {}
    for place, text in enumerate(texts):
        broken = _repeated_lines(text)
        if broken:
            found[place] = broken
    words, offsets = pieces.flat()
    for place, sizes in _suspected_of_repetition(texts, pieces, words, offsets).items():
        if place not in found:
            of_text = words[offsets[place] : offsets[place + 1]].tolist()
            broken = _repeated_n_grams(texts[place], [pieces.word_texts[word] for word in of_text], sizes)
            if broken:
                found[place] = broken
    return found


def _repeated_lines(text: str) -> str:
    if not text:
        return "empty"
    lines = _LINES.split(text)
    if len(set(lines)) == len(lines) and "\n\n" not in text:
        return ""
    paragraphs = _PARAGRAPHS.split(text.strip())
    count, characters = duplicates(paragraphs)
    if count / len(paragraphs) > 0.3 or characters / len(text) > 0.2:
        return "repeated paragraphs"
    count, characters = duplicates(lines)
    if count / len(lines) > 0.3 or characters / len(text) > 0.2:
        return "repeated lines"
    return ""


def duplicates(parts: Sequence[str]) -> tuple[int, int]:
    """How many parts have been there before, and their characters."""
    if len(set(parts)) == len(parts):
        return 0, 0
    seen: set[str] = set()
    count = characters = 0
    for part in parts:
        if part in seen:
            count += 1
            characters += len(part)
        seen.add(part)
    return count, characters


def _repeated_n_grams(text: str, words: Sequence[str], sizes: Container[int]) -> str:
    """The rule that a text breaks: by its most frequent 2- to 4-gram, or all repeated 5- to 10-grams."""
    for size, most in (one for one in _TOP if one[0] in sizes):
        grams = [" ".join(words[at : at + size]) for at in range(len(words) - size + 1)]
        if grams:
            gram, count = Counter(grams).most_common(1)[0]
            if len(gram) * count / len(text) > most:
                return f"one phrase of {size} words too often"
    for size, most in (one for one in _REPEATED if one[0] in sizes):
        if _repeated_characters(words, size) / len(text) > most:
            return f"repeated phrases of {size} words"
    return ""


def _repeated_characters(words: Sequence[str], size: int) -> int:
    seen: set[str] = set()
    characters = at = 0
    while at < len(words) - size + 1:
        gram = "".join(words[at : at + size])
        if gram in seen:
            characters += len(gram)
            at += size
        else:
            seen.add(gram)
            at += 1
    return characters


def _suspected_of_repetition(
    texts: Sequence[str], pieces: Pieces, words: Ints, offsets: Ints
) -> dict[int, set[int]]:
    """Texts that may break an n-gram rule, with the sizes of n-grams in question; others surely do not.

    The most frequent n-gram takes no more characters than its count times the longest n-gram. What repeated
    n-grams of five words and more cover lies within the words that repeated 5-grams cover.
    """
    hashes, lengths = pieces.word_hashes[words], pieces.word_lengths[words]
    characters = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    suspects: dict[int, set[int]] = {}
    for size, most in _TOP:
        count, longest = _most_frequent(hashes, lengths, offsets, size)
        for place in np.flatnonzero(count * longest > most * characters).tolist():
            suspects.setdefault(place, set()).add(size)
    covered = _covered_by_repetition(hashes, lengths, offsets, 5)
    for size, most in _REPEATED:
        for place in np.flatnonzero(covered > most * characters).tolist():
            suspects.setdefault(place, set()).add(size)
    return suspects


def _grams(hashes: Hashes, offsets: Ints, size: int) -> tuple[Hashes, Ints, Ints]:
    """Hash, text and first word of each run of `size` words inside a text."""
    counts = np.maximum(np.diff(offsets) - size + 1, 0)
    text = np.repeat(np.arange(len(counts)), counts)
    first = np.arange(int(counts.sum())) + np.repeat(
        offsets[:-1] - np.concatenate(([0], np.cumsum(counts)[:-1])), counts
    )
    grams = hashes[first]
    for step in range(1, size):
        grams = grams * np.uint64(0x100000001B3) + hashes[first + step]
    low = np.uint64((1 << 44) - 1)
    return (text.astype(np.uint64) << np.uint64(44)) | (mix(grams) & low), text, first


def _most_frequent(hashes: Hashes, lengths: Ints, offsets: Ints, size: int) -> tuple[Ints, Ints]:
    """How often the most frequent n-gram of each text occurs, and the length of the longest one."""
    keys, text, first = _grams(hashes, offsets, size)
    count, longest = np.zeros(len(offsets) - 1, dtype=np.int64), np.zeros(len(offsets) - 1, dtype=np.int64)
    if not len(keys):
        return count, longest
    ordered = np.sort(keys)
    edges = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    runs = np.diff(np.append(edges, len(ordered)))
    owner = (ordered[edges] >> np.uint64(44)).astype(np.int64)
    starts = np.flatnonzero(np.append(True, owner[1:] != owner[:-1]))
    count[owner[starts]] = np.maximum.reduceat(runs, starts)
    totals = np.concatenate(([0], np.cumsum(lengths)))
    characters = totals[first + size] - totals[first] + size - 1
    begins = np.flatnonzero(np.append(True, text[1:] != text[:-1]))
    longest[text[begins]] = np.maximum.reduceat(characters, begins)
    return count, longest


def _covered_by_repetition(hashes: Hashes, lengths: Ints, offsets: Ints, size: int) -> Ints:
    """Characters of each text in runs of `size` words that occurred before."""
    keys, _, first = _grams(hashes, offsets, size)
    covered = np.zeros(len(lengths) + 1, dtype=np.int64)
    ordered = np.sort(keys)
    repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if len(repeated):
        at = np.flatnonzero(np.isin(keys, repeated))
        order = at[np.argsort(keys[at], kind="stable")]
        again = order[1:][keys[order[1:]] == keys[order[:-1]]]
        np.add.at(covered, first[again], 1)
        np.add.at(covered, first[again] + size, -1)
    inside = np.cumsum(covered[:-1]) > 0
    totals = np.concatenate(([0], np.cumsum(np.where(inside, lengths, 0))))
    result: Ints = totals[offsets[1:]] - totals[offsets[:-1]]
    return result
