"""Finds near duplicates among many texts: MinHash signatures, banding, exact Jaccard of candidates."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sartor_text.shingles import Hashes, Shingles, jaccard, mix

Signatures = NDArray[np.uint32]

_VALUES_AT_ONCE = 1 << 15  # 256 KiB of hashes: stays in a core's second-level cache for all permutations
_CROWD = 48  # in a bucket with more members, each is compared with these first ones and its next one only
_EMPTY = np.uint32(0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts (first < second) and the exact Jaccard similarity of their shingles."""

    first: int
    second: int
    similarity: float


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
    random = np.random.default_rng(seed)
    factors = random.integers(0, 2**63, permutations, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    addends = random.integers(0, 2**63, permutations, dtype=np.uint64) * np.uint64(2)
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


def near_duplicates(
    shingles: Shingles, threshold: float, permutations: int = 128, seed: int = 1
) -> list[Pair]:
    """Pairs of texts whose shingles have an exact Jaccard similarity of at least `threshold`, ascending.

    Texts without shingles are in no pair. In a bucket of more than 48 texts each is compared with the first
    48 and the next one, so a crowd of equal texts costs linear time: all are linked, though not each with
    each. Raises:
        ValueError: threshold outside (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be in (0, 1], got {threshold}")
    signatures = sign(shingles, permutations, seed)
    proposed = candidates(signatures, bands_for(threshold, permutations))
    return list(_verified(shingles, signatures, proposed, threshold))


def candidates(signatures: Signatures, cut: Bands) -> NDArray[np.int64]:
    """Pairs that share a band, int64 [pairs, 2], each once, ascending."""
    count = len(signatures)
    codes: list[NDArray[np.int64]] = []
    present = np.flatnonzero((signatures != _EMPTY).any(axis=1))
    for band in range(cut.bands):
        columns = signatures[present, band * cut.rows : (band + 1) * cut.rows].astype(np.uint64)
        keys = np.full(len(present), band, dtype=np.uint64)
        for row in range(cut.rows):
            keys = mix(keys ^ columns[:, row])
        pairs = _bucket_pairs(keys, present)
        codes.append(pairs[:, 0] * count + pairs[:, 1])
    unique = np.unique(np.concatenate(codes)) if codes else np.empty(0, dtype=np.int64)
    return np.stack((unique // max(count, 1), unique % max(count, 1)), axis=1)


def _bucket_pairs(keys: Hashes, members: NDArray[np.intp]) -> NDArray[np.int64]:
    order = np.argsort(keys, kind="stable")
    in_order = keys[order]
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


def _verified(
    shingles: Shingles, signatures: Signatures, proposed: NDArray[np.int64], threshold: float
) -> Iterator[Pair]:
    # What the signatures estimate four standard deviations below the threshold need not be compared exactly.
    permutations = signatures.shape[1]
    slack = 4 * float(np.sqrt(max(threshold * (1 - threshold), 0.01) / permutations))
    sets: dict[int, Hashes] = {}
    for chunk in np.array_split(proposed, len(proposed) // 65536 + 1):
        estimates = (signatures[chunk[:, 0]] == signatures[chunk[:, 1]]).mean(axis=1)
        for first, second in chunk[estimates >= threshold - slack].tolist():
            for text in (first, second):
                if text not in sets:
                    sets[text] = shingles.of(text)
            similarity = jaccard(sets[first], sets[second])
            if similarity >= threshold:
                yield Pair(first, second, similarity)


def _chunks(shingles: Shingles) -> Iterator[tuple[int, int]]:
    first = 0
    while first < len(shingles):
        limit = shingles.offsets[first] + _VALUES_AT_ONCE
        last = int(np.searchsorted(shingles.offsets, limit, side="right")) - 1
        last = min(max(last, first + 1), len(shingles))
        yield first, last
        first = last
