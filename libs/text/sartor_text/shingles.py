"""Turns texts into sets of hashed n-grams of characters or words, all texts at once in numpy."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Unit = Literal["characters", "words"]

_WORDS = re.compile(r"\w+")
_LONG_NUMBER = re.compile(r"\d(?:[ .\-/]?\d){3,}")
_PLACEHOLDER = re.compile(r"\[([A-Z]+)_\d+\]")
_PRIME = np.uint64(0x100000001B3)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_HASH_BITS = np.uint64(44)  # of a hash, beside 20 bits of a pair's number, where sets are compared by sorting
_PAIRS_AT_ONCE = 1 << 12


@dataclass(frozen=True, slots=True)
class Shingles:
    """Hashed n-grams of texts: those of text i are values[offsets[i] : offsets[i + 1]], with repetitions."""

    values: Hashes
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def of(self, text: int) -> Hashes:
        """The set of one text, sorted, without repetitions."""
        return np.unique(self.values[self.offsets[text] : self.offsets[text + 1]])

    def together_with(self, other: "Shingles") -> "Shingles":
        """The disjoint unions of both sides' sets, text by text.

        If J >= t on each side, then J >= t on the disjoint unions too: a search here misses nothing that is
        similar on both sides.
        """
        counts = np.diff(self.offsets) + np.diff(other.offsets)
        values = np.empty(len(self.values) + len(other.values), dtype=np.uint64)
        offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        moved = np.repeat(offsets[:-1] - self.offsets[:-1], np.diff(self.offsets))
        mine = np.arange(len(self.values)) + moved
        values[mine] = self.values
        theirs = np.ones(len(values), dtype=bool)
        theirs[mine] = False
        values[theirs] = mix(other.values ^ _GOLDEN)
        return Shingles(values, offsets)


@dataclass(frozen=True, slots=True)
class Utf8Texts:
    """Many texts in one piece: text i is data[offsets[i] : offsets[i + 1]], in UTF-8."""

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Utf8Texts":
        parts = [text.encode("utf-8", "surrogatepass") for text in texts]
        offsets = np.zeros(len(parts) + 1, dtype=np.int64)
        np.cumsum([len(part) for part in parts], out=offsets[1:])
        return cls(np.frombuffer(b"".join(parts), dtype=np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1


def fold(text: str) -> str:
    """`text` without what does not distinguish two texts: case, punctuation, white space."""
    return " ".join(_WORDS.findall(text.casefold()))


def fold_slots(text: str) -> str:
    """`fold` without slot values: numbers of four digits and more, numbering of placeholders."""
    return fold(_LONG_NUMBER.sub("0", _PLACEHOLDER.sub(r"\1", text)))


def shingle(folded: Sequence[str], size: int = 5, unit: Unit = "characters") -> Shingles:
    """Hashed n-grams of folded texts.

    Args:
        folded: texts as `fold` makes them. A text shorter than an n-gram has one shingle, an empty text none.
        size: n. Five characters suit short texts such as questions; five words suit pages (MMDS 3.2.2).
    """
    if unit == "words":
        tokens, lengths = _word_tokens(folded)
    else:
        tokens, lengths = _character_tokens(folded, size)
    return _windows(tokens, lengths, size)


def mix(values: Hashes) -> Hashes:
    """Finaliser of splitmix64 (Steele et al., 2014): every input bit moves every output bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def jaccard(first: Hashes, second: Hashes) -> float:
    """|A and B| / |A or B| of two sorted sets; 1.0 for two empty ones."""
    if not len(first) and not len(second):
        return 1.0
    both = len(np.intersect1d(first, second, assume_unique=True))
    return both / (len(first) + len(second) - both)


def jaccards(shingles: Shingles, pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    """As `jaccard`, of many pairs of texts at once: int64 [pairs, 2].

    Sets are compared by sorting both together under the pair's number: what stands twice is in both.
    """
    values, offsets = _distinct(shingles)
    sizes = np.diff(offsets)
    result = np.empty(len(pairs))
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        chunk = pairs[start : start + _PAIRS_AT_ONCE]
        lengths = sizes[chunk].reshape(-1)
        total = int(lengths.sum())
        moved = offsets[chunk].reshape(-1) - np.concatenate(([0], np.cumsum(lengths)[:-1]))
        gathered = values[np.arange(total) + np.repeat(moved, lengths)]
        number = np.repeat(np.repeat(np.arange(len(chunk), dtype=np.uint64), 2), lengths)
        keys = np.sort((number << _HASH_BITS) | gathered)
        twice = keys[1:][keys[1:] == keys[:-1]] >> _HASH_BITS
        both = np.bincount(twice.astype(np.int64), minlength=len(chunk))
        either = sizes[chunk].sum(axis=1) - both
        result[start : start + len(chunk)] = np.where(either == 0, 1.0, both / np.maximum(either, 1))
    return result


def _distinct(shingles: Shingles) -> tuple[Hashes, NDArray[np.int64]]:
    """The sets of all texts, 44 bits of each hash, without repetitions."""
    pieces: list[Hashes] = []
    counts = np.zeros(len(shingles), dtype=np.int64)
    low = (np.uint64(1) << _HASH_BITS) - np.uint64(1)
    for first in range(0, len(shingles), 1 << 16):
        last = min(first + (1 << 16), len(shingles))
        lengths = np.diff(shingles.offsets[first : last + 1])
        values = shingles.values[shingles.offsets[first] : shingles.offsets[last]]
        number = np.repeat(np.arange(last - first, dtype=np.uint64), lengths)
        keys = np.sort((number << _HASH_BITS) | (values & low))
        new = np.ones(len(keys), dtype=bool)
        new[1:] = keys[1:] != keys[:-1]
        keys = keys[new]
        counts[first:last] = np.bincount((keys >> _HASH_BITS).astype(np.int64), minlength=last - first)
        pieces.append(keys & low)
    return np.concatenate(pieces) if pieces else shingles.values, np.concatenate(([0], np.cumsum(counts)))


def word_shingles(texts: Utf8Texts, size: int = 5) -> Shingles:
    """`shingle` of `fold`ed texts in words, as machine code that reads the texts once.

    A word's hash is a polynomial of its folded code points in an odd number, modulo 2^64.
    """
    # Here, since what compiles costs half a second, which short texts never need.
    from sartor_text import word_kernels

    found = word_kernels.shingle_words(texts.data, texts.offsets, size, *word_kernels.folding())
    return Shingles(*found)


def word_jaccards(shingles: Shingles, pairs: NDArray[np.int64]) -> NDArray[np.float64]:
    """As `jaccards`, as machine code."""
    from sartor_text import word_kernels

    result = np.empty(len(pairs))
    word_kernels.jaccard_pairs(shingles.values, shingles.offsets, np.ascontiguousarray(pairs), result)
    return result


def _character_tokens(folded: Sequence[str], size: int) -> tuple[Hashes, NDArray[np.int64]]:
    # A space at both ends makes the first and last word count as words; short texts are filled up.
    padded = [f" {text} ".ljust(size) if text else "" for text in folded]
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    return codes.astype(np.uint64), np.fromiter(map(len, padded), dtype=np.int64, count=len(padded))


def _word_tokens(folded: Sequence[str]) -> tuple[Hashes, NDArray[np.int64]]:
    words = (text.count(" ") + 1 if text else 0 for text in folded)
    counts = np.fromiter(words, dtype=np.int64, count=len(folded))
    codes = np.frombuffer(
        "".join(f"{text} " for text in folded if text).encode("utf-32-le", "surrogatepass"), dtype=np.uint32
    )
    if not len(codes):
        return np.empty(0, dtype=np.uint64), counts
    ends = np.flatnonzero(codes == ord(" "))
    starts = np.concatenate(([0], ends[:-1] + 1))
    places = np.arange(len(codes)) - np.repeat(starts, ends - starts + 1)
    hashed = mix(codes.astype(np.uint64) + places.astype(np.uint64) * _GOLDEN)
    hashed[ends] = 0
    return np.add.reduceat(hashed, starts), counts


def _windows(tokens: Hashes, lengths: NDArray[np.int64], size: int) -> Shingles:
    """A hash for each run of `size` tokens inside a text; one hash of all for a text with fewer tokens."""
    windows = np.where(lengths == 0, 0, np.maximum(lengths - size + 1, 1))
    offsets = np.concatenate(([0], np.cumsum(windows))).astype(np.int64)
    firsts = np.concatenate(([0], np.cumsum(lengths)))[:-1]
    starts = np.arange(offsets[-1]) + np.repeat(firsts - offsets[:-1], windows)
    ends = np.repeat(firsts + lengths, windows)
    rolling = np.zeros(len(starts), dtype=np.uint64)
    filled = np.concatenate((tokens, np.zeros(size, dtype=np.uint64)))
    for place in range(size):
        inside = starts + place < ends
        rolling = rolling * _PRIME + np.where(inside, filled[starts + place] + np.uint64(1), np.uint64(0))
        rolling ^= rolling >> np.uint64(29)
    return Shingles(mix(rolling), offsets)
