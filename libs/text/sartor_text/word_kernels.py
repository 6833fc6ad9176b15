"""Compiled loops over the words of many UTF-8 texts: shingles, MinHash signatures, Jaccard similarity.

Import it where it is used: Numba takes half a second. What it compiles is kept beside this file, or in the
user's cache where this folder cannot be written.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_ODD = np.uint64(0x2545F4914F6CDD1D)
_PRIME = np.uint64(0x100000001B3)
_CODE_POINTS = 0x110000
_CODE_BITS = 21
_CODE_MASK = np.uint32((1 << _CODE_BITS) - 1)
_IS_WORD = np.uint32(1 << 31)
_LONGER = np.uint32(1 << 30)  # the folded form has more than one code point: they follow in the second table


def compiled(function: _Function) -> Any:
    """The function as machine code that holds no lock; for this process only where no folder can keep it."""
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no folder to keep it in: a read-only image without a home
        return numba.njit(nogil=True)(function)


@lru_cache(maxsize=1)
def folding() -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """What casefold makes of every code point, and whether that is part of a word (the pattern \\w).

    One entry a code point: its folded form or, marked, the place in the second table where a longer one
    stands; each of its entries but the last is marked too.
    """
    table = np.arange(_CODE_POINTS, dtype=np.uint32)
    longer: list[int] = []
    for start in range(0, _CODE_POINTS, 256):
        block = "".join(map(chr, range(start, start + 256)))
        if block.casefold() != block:
            for sign in block:
                folded = [_entry(one) for one in sign.casefold()]
                table[ord(sign)] = folded[0]
                if len(folded) > 1:
                    table[ord(sign)] = len(longer) | int(_LONGER)
                    longer += [entry | int(_LONGER) for entry in folded[:-1]] + folded[-1:]
        else:
            for found in re.finditer(r"\w+", block):
                table[start + found.start() : start + found.end()] |= _IS_WORD
    return table, np.array(longer, dtype=np.uint32)


def _entry(sign: str) -> int:
    return ord(sign) | (int(_IS_WORD) if re.match(r"\w", sign) else 0)


@compiled
def mix_one(value: np.uint64) -> np.uint64:
    """`shingles.mix` of one value."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@compiled
def _decoded(data: Bytes, at: int) -> tuple[np.uint32, int]:
    """The code point that begins at `at`, and where the next one begins. The text is valid UTF-8."""
    lead = np.uint32(data[at])
    if lead < 0x80:
        return lead, at + 1
    if lead < 0xE0:
        return ((lead & np.uint32(0x1F)) << np.uint32(6)) | (
            np.uint32(data[at + 1]) & np.uint32(0x3F)
        ), at + 2
    point = (np.uint32(data[at + 1]) & np.uint32(0x3F)) << np.uint32(6) | (
        np.uint32(data[at + 2]) & np.uint32(0x3F)
    )
    if lead < 0xF0:
        return ((lead & np.uint32(0x0F)) << np.uint32(12)) | point, at + 3
    last = np.uint32(data[at + 3]) & np.uint32(0x3F)
    return ((lead & np.uint32(0x07)) << np.uint32(18)) | (point << np.uint32(6)) | last, at + 4


@compiled
def _words(
    data: Bytes, start: int, end: int, table: NDArray[np.uint32], longer: NDArray[np.uint32], words: Hashes
) -> int:
    """Hashes of the folded words of one text, written to `words`; gives how many there are."""
    count = 0
    inside = False
    value = np.uint64(0)
    power = np.uint64(1)
    at = start
    while at < end:
        point, at = _decoded(data, at)
        entry = table[point]
        place = np.int64(-1)
        if entry & _LONGER:
            place = np.int64(entry & _CODE_MASK)
            entry = longer[place]
        while True:
            if entry & _IS_WORD:
                if not inside:
                    inside = True
                    value = np.uint64(0)
                    power = np.uint64(1)
                value += np.uint64((entry & _CODE_MASK) + np.uint32(1)) * power
                power *= _ODD
            elif inside:
                words[count] = mix_one(value)
                count += 1
                inside = False
            if place < 0 or not entry & _LONGER:
                break
            place += 1
            entry = longer[place]
    if inside:
        words[count] = mix_one(value)
        count += 1
    return count


@compiled
def _shingles(words: Hashes, count: int, size: int, out: Hashes) -> int:
    """Hashes of the runs of `size` words, written to `out`; one of all words where there are fewer."""
    runs = 0 if count == 0 else max(count - size + 1, 1)
    for run in range(runs):
        rolling = np.uint64(0)
        for place in range(run, run + size):
            token = words[place] + np.uint64(1) if place < count else np.uint64(0)
            rolling = rolling * _PRIME + token
            rolling ^= rolling >> np.uint64(29)
        out[run] = mix_one(rolling)
    return runs


@compiled
def _longest(offsets: Ints) -> int:
    longest = 0
    for text in range(len(offsets) - 1):
        longest = max(longest, offsets[text + 1] - offsets[text])
    return longest


@compiled
def shingle_words(
    data: Bytes, offsets: Ints, size: int, table: NDArray[np.uint32], longer: NDArray[np.uint32]
) -> tuple[Hashes, Ints]:
    """The values and offsets of the shingles of each text data[offsets[i] : offsets[i + 1]]."""
    texts = len(offsets) - 1
    room = _longest(offsets) + 2  # no text has more words than bytes
    words, runs = np.empty(room, np.uint64), np.empty(room, np.uint64)
    values = np.empty((offsets[texts] - offsets[0]) // 4 + room, np.uint64)
    ends = np.zeros(texts + 1, np.int64)
    for text in range(texts):
        count = _words(data, offsets[text], offsets[text + 1], table, longer, words)
        found = _shingles(words, count, size, runs)
        start = ends[text]
        if start + found > len(values):
            grown = np.empty(2 * (start + found), np.uint64)
            grown[:start] = values[:start]
            values = grown
        values[start : start + found] = runs[:found]
        ends[text + 1] = start + found
    return values[: ends[texts]].copy(), ends


@compiled
def sign_words(
    data: Bytes,
    offsets: Ints,
    size: int,
    table: NDArray[np.uint32],
    longer: NDArray[np.uint32],
    factors: Hashes,
    addends: Hashes,
    signatures: NDArray[np.uint32],
) -> None:
    """`minhash.sign` of the texts' shingles, written to `signatures`."""
    room = _longest(offsets) + 2  # no text has more words than bytes
    words, runs, least = (
        np.empty(room, np.uint64),
        np.empty(room, np.uint64),
        np.empty(len(factors), np.uint64),
    )
    for text in range(len(offsets) - 1):
        count = _words(data, offsets[text], offsets[text + 1], table, longer, words)
        found = _shingles(words, count, size, runs)
        _least(runs[:found], factors, addends, least)
        for permutation in range(len(factors)):
            signatures[text, permutation] = np.uint32(least[permutation] >> np.uint64(32))


@compiled
def _least(values: Hashes, factors: Hashes, addends: Hashes, least: Hashes) -> None:
    """The smallest of each permutation, written to `least`. Four values at a time fit a core's registers."""
    least[:] = np.uint64(0xFFFFFFFFFFFFFFFF)
    whole = len(values) // 4 * 4
    for at in range(0, whole, 4):
        one, two, three, four = values[at], values[at + 1], values[at + 2], values[at + 3]
        for permutation in range(len(factors)):
            factor, addend = factors[permutation], addends[permutation]
            first = min(one * factor + addend, two * factor + addend)
            second = min(three * factor + addend, four * factor + addend)
            least[permutation] = min(least[permutation], min(first, second))
    for at in range(whole, len(values)):
        for permutation in range(len(factors)):
            hashed = values[at] * factors[permutation] + addends[permutation]
            least[permutation] = min(least[permutation], hashed)


@compiled
def jaccard_pairs(values: Hashes, offsets: Ints, pairs: Ints, out: NDArray[np.float64]) -> None:
    """The Jaccard similarity of each pair of sets; values may stand more than once in one.

    Both sets go into one open table of hashes: what the second finds of the first is in both.
    """
    table = np.empty(16, np.uint64)
    marks = np.zeros(16, np.int64)  # 2n: taken by the first of pair n - 1; 2n + 1: seen in the second too
    for number in range(len(pairs)):
        first, second = pairs[number, 0], pairs[number, 1]
        total = offsets[first + 1] - offsets[first] + offsets[second + 1] - offsets[second]
        if 2 * total > len(table):
            room = len(table)
            while room < 2 * total:
                room *= 2
            table = np.empty(room, np.uint64)
            marks = np.zeros(room, np.int64)
        mask = np.uint64(len(table) - 1)
        mark = np.int64(2 * number + 2)
        either, both = 0, 0
        for place in range(offsets[first], offsets[first + 1]):
            slot = values[place] & mask
            while marks[slot] >= mark and table[slot] != values[place]:
                slot = (slot + np.uint64(1)) & mask
            if marks[slot] < mark:
                table[slot] = values[place]
                marks[slot] = mark
                either += 1
        for place in range(offsets[second], offsets[second + 1]):
            slot = values[place] & mask
            while marks[slot] >= mark and table[slot] != values[place]:
                slot = (slot + np.uint64(1)) & mask
            if marks[slot] < mark:
                table[slot] = values[place]
                marks[slot] = mark + 1
                either += 1
            elif marks[slot] == mark:
                marks[slot] = mark + 1
                both += 1
        out[number] = 1.0 if either == 0 else both / either
