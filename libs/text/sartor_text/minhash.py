"""Finds near duplicates among many texts: MinHash signatures, banding, exact Jaccard of candidates."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from sartor_text.shingles import Hashes, Shingles, Utf8Texts, jaccards, mix, shingle

Signatures = NDArray[np.uint32]
Likeness = Callable[[NDArray[np.int64]], NDArray[np.float64]]

_VALUES_AT_ONCE = 1 << 15  # 256 KiB of hashes: stays in a core's second-level cache for all permutations
_CHARACTERS_AT_ONCE = 1 << 19
_PAIRS_AT_ONCE = 1 << 14
_CROWD = 48  # in a bucket with more members, each is compared with these first ones and its next one only
_EMPTY = np.uint32(0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts (first < second) and the exact Jaccard similarity of their shingles."""

    first: int
    second: int
    similarity: float


@dataclass(frozen=True, slots=True, eq=False)
class Pairs(Sequence[Pair]):
    """Many pairs as three arrays, ascending by first and second: int64, int64, float64."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    similarity: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.first)

    @overload
    def __getitem__(self, place: int) -> Pair: ...
    @overload
    def __getitem__(self, place: slice | NDArray[np.bool_]) -> "Pairs": ...
    def __getitem__(self, place: int | slice | NDArray[np.bool_]) -> "Pair | Pairs":
        if isinstance(place, int):
            return Pair(int(self.first[place]), int(self.second[place]), float(self.similarity[place]))
        return Pairs(self.first[place], self.second[place], self.similarity[place])

    def __iter__(self) -> Iterator[Pair]:
        return map(Pair, self.first.tolist(), self.second.tolist(), self.similarity.tolist())


@dataclass(frozen=True, slots=True)
class Bands:
    """How signatures are cut: pairs of similarity s share a band with probability 1 - (1 - s^rows)^bands."""

    bands: int
    rows: int

    def recall(self, similarity: float) -> float:
        return float(1 - (1 - similarity**self.rows) ** self.bands)


def bands_for(threshold: float, permutations: int, recall: float = 0.995) -> Bands:
    """The cut with the fewest false candidates (most rows) that finds `recall` of the pairs at `threshold`.

    Leskovec et al., Mining of Massive Datasets, 3.4.2, choose (1/b)^(1/r) near the threshold, where half of
    the pairs are missed. Candidates are verified here, so a false one costs microseconds, and a miss a
    duplicate.
    """
    cuts = (Bands(permutations // rows, rows) for rows in range(permutations, 1, -1))
    return next((cut for cut in cuts if cut.recall(threshold) >= recall), Bands(permutations, 1))


def sign(shingles: Shingles, permutations: int = 128, seed: int = 1) -> Signatures:
    """MinHash signatures, uint32 [texts, permutations]; all ones for a text without shingles.

    The permutations are multiply-shift hashes h(x) = (a*x + b mod 2^64) >> 32 with odd a (Dietzfelbinger,
    1996).
    """
    factors, addends = _permutations(permutations, seed)
    signatures = np.full((len(shingles), permutations), _EMPTY, dtype=np.uint32)
    for first, last in _chunks(shingles):
        rows = first + np.flatnonzero(np.diff(shingles.offsets[first : last + 1]))
        if not len(rows):
            continue
        start = shingles.offsets[first]
        values = shingles.values[start : shingles.offsets[last]]
        starts = shingles.offsets[rows] - start
        hashed = np.empty_like(values)
        for permutation in range(permutations):
            np.multiply(values, factors[permutation], out=hashed)
            np.add(hashed, addends[permutation], out=hashed)
            signatures[rows, permutation] = np.minimum.reduceat(hashed, starts) >> np.uint64(32)
    return signatures


def sign_texts(texts: Sequence[str], others: Sequence[str] = (), permutations: int = 128) -> Signatures:
    """Signatures of folded texts by five characters in bounded memory, each together with its other side if
    it has one."""
    signatures = np.full((len(texts), permutations), _EMPTY, dtype=np.uint32)
    for first, last in _pieces(texts, others):
        shingles = shingle(texts[first:last])
        if others:
            shingles = shingles.together_with(shingle(others[first:last]))
        signatures[first:last] = sign(shingles, permutations)
    return signatures


def sign_pages(texts: Utf8Texts, permutations: int = 128, size: int = 5, seed: int = 1) -> Signatures:
    """As `sign` of the texts' `word_shingles`, in one pass of machine code."""
    from sartor_text import word_kernels

    factors, addends = _permutations(permutations, seed)
    signatures = np.empty((len(texts), permutations), dtype=np.uint32)
    folding = word_kernels.folding()
    word_kernels.sign_words(texts.data, texts.offsets, size, *folding, factors, addends, signatures)
    return signatures


def _permutations(count: int, seed: int) -> tuple[Hashes, Hashes]:
    random = np.random.default_rng(seed)
    factors = random.integers(0, 2**63, count, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    return factors, random.integers(0, 2**63, count, dtype=np.uint64) * np.uint64(2)


def shingles_of(texts: Sequence[str]) -> Shingles:
    """The shingles that `sign_texts` signs, in bounded memory."""
    parts = [shingle(texts[first:last]) for first, last in _pieces(texts)]
    counts = [np.diff(part.offsets) for part in parts]
    values = np.concatenate([part.values for part in parts]) if parts else np.empty(0, dtype=np.uint64)
    return Shingles(values, np.concatenate(([0], *counts)).cumsum().astype(np.int64))


def _pieces(texts: Sequence[str], others: Sequence[str] = ()) -> Iterator[tuple[int, int]]:
    """Runs of texts of about half a million characters: what shingling holds at a time grows with that."""
    lengths = np.fromiter((len(text) for text in texts), dtype=np.int64, count=len(texts))
    if others:
        lengths += np.fromiter((len(text) for text in others), dtype=np.int64, count=len(texts))
    ends = np.cumsum(lengths)
    first = 0
    while first < len(texts):
        reached = ends[first - 1] if first else 0
        last = max(int(np.searchsorted(ends, reached + _CHARACTERS_AT_ONCE)), first + 1)
        yield first, last
        first = last


def near_duplicates(shingles: Shingles, threshold: float, permutations: int = 128, seed: int = 1) -> Pairs:
    """Pairs of texts whose shingles have an exact Jaccard similarity of at least `threshold`, ascending.

    Texts without shingles are in no pair. In a bucket of more than 48 texts each is compared with the first
    48 and the next one, so a crowd of equal texts costs linear time: all are linked, though not each with
    each. Raises:
        ValueError: threshold outside (0, 1].
    """
    signatures = sign(shingles, permutations, seed)
    everyone = np.arange(len(shingles), dtype=np.int64)
    return similar_pairs(signatures, threshold, everyone, lambda pairs: jaccards(shingles, pairs))


def similar_pairs(
    signatures: Signatures, threshold: float, rows: NDArray[np.int64], likeness: Likeness
) -> Pairs:
    """Pairs of `rows` (by their place in it) of which `likeness` is at least `threshold`, ascending.

    Args:
        signatures: as `sign` makes them; may be mapped from a file.
        likeness: the exact similarity of many pairs of rows, float [pairs] of int64 [pairs, 2]. Asked only
            for pairs that share a band and whose signatures do not speak against it.
    Raises:
        ValueError: threshold outside (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be in (0, 1], got {threshold}")
    proposed = candidates(signatures, bands_for(threshold, signatures.shape[1]), rows)
    found = [np.empty((0, 2), dtype=np.int64)]
    alike = [np.empty(0)]
    for chunk in _likely(signatures, proposed, rows, threshold):
        similarity = likeness(rows[chunk])
        enough = similarity >= threshold
        found.append(chunk[enough])
        alike.append(similarity[enough])
    together = np.concatenate(found)
    return Pairs(together[:, 0].copy(), together[:, 1].copy(), np.concatenate(alike))


def candidates(signatures: Signatures, cut: Bands, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pairs of `rows` that share a band, int64 [pairs, 2] of places in `rows`, each once, ascending."""
    count = len(rows)
    codes: list[NDArray[np.int64]] = []
    present = np.flatnonzero(np.asarray(signatures[rows, 0]) != _EMPTY)
    for band in range(cut.bands):
        columns = signatures[rows[present], band * cut.rows : (band + 1) * cut.rows].astype(np.uint64)
        keys = np.full(len(present), band, dtype=np.uint64)
        for row in range(cut.rows):
            keys = mix(keys ^ columns[:, row])
        pairs = _bucket_pairs(keys, present)
        codes.append(pairs[:, 0] * count + pairs[:, 1])
    unique = np.unique(np.concatenate(codes)) if codes else np.empty(0, dtype=np.int64)
    return np.stack((unique // max(count, 1), unique % max(count, 1)), axis=1)


def _bucket_pairs(keys: Hashes, members: NDArray[np.intp]) -> NDArray[np.int64]:
    # To sort numbers that hold both is several times as fast as to sort places by keys. A key's lowest bits
    # give way to the place: keys that are equal without them only make one more candidate.
    mask = np.uint64((1 << max(len(keys) - 1, 1).bit_length()) - 1)
    packed = np.sort((keys & ~mask) | np.arange(len(keys), dtype=np.uint64))
    order, in_order = (packed & mask).astype(np.intp), packed & ~mask
    starts = np.flatnonzero(np.append(True, in_order[1:] != in_order[:-1])[: len(keys)])
    lengths = np.diff(np.append(starts, len(keys)))
    place = np.arange(len(keys)) - np.repeat(starts, lengths)
    size = np.repeat(lengths, lengths)
    pieces: list[NDArray[np.int64]] = []
    # Each member is paired with the one 1, 2, ... places on: all pairs of all buckets in a few numpy calls.
    for step in range(1, min(int(lengths.max(initial=0)), _CROWD)):
        left = np.flatnonzero((place + step < size) & ((size <= _CROWD) | (step == 1)))
        pieces.append(np.stack((members[order[left]], members[order[left + step]]), axis=1).astype(np.int64))
    for start, length in zip(starts[lengths > _CROWD], lengths[lengths > _CROWD], strict=True):
        bucket = members[order[start : start + length]].astype(np.int64)
        firsts = np.repeat(bucket[:_CROWD], length)
        everyone = np.tile(bucket, min(_CROWD, int(length)))
        pieces.append(np.stack((firsts, everyone), axis=1)[firsts < everyone])
    pairs = np.concatenate(pieces) if pieces else np.empty((0, 2), dtype=np.int64)
    return np.sort(pairs, axis=1)


def _likely(
    signatures: Signatures, proposed: NDArray[np.int64], rows: NDArray[np.int64], threshold: float
) -> Iterator[NDArray[np.int64]]:
    """The proposed pairs, in pieces, without those far below the threshold by their signatures' estimate."""
    # What is estimated four standard deviations below the threshold need not be compared exactly.
    permutations = signatures.shape[1]
    slack = 4 * float(np.sqrt(max(threshold * (1 - threshold), 0.01) / permutations))
    for start in range(0, len(proposed), _PAIRS_AT_ONCE):
        chunk = proposed[start : start + _PAIRS_AT_ONCE]
        left, right = signatures[rows[chunk[:, 0]]], signatures[rows[chunk[:, 1]]]
        likely = chunk[(left == right).mean(axis=1) >= threshold - slack]
        if len(likely):
            yield likely


def _chunks(shingles: Shingles) -> Iterator[tuple[int, int]]:
    first = 0
    while first < len(shingles):
        limit = shingles.offsets[first] + _VALUES_AT_ONCE
        last = int(np.searchsorted(shingles.offsets, limit, side="right")) - 1
        last = min(max(last, first + 1), len(shingles))
        yield first, last
        first = last
