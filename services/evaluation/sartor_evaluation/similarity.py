"""Which texts are alike: BM25 over words, for choosing examples that fit a question."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from sartor_evaluation.metrics.overlap import words

_K1 = 1.2
_B = 0.75


class Bm25:
    """Okapi BM25 (Robertson and Zaragoza 2009) over a fixed list of texts, with an inverted index."""

    def __init__(self, texts: Sequence[str]) -> None:
        counts = [Counter(words(text)) for text in texts]
        self._size = len(texts)
        lengths = [max(count.total(), 1) for count in counts]
        average = sum(lengths) / max(self._size, 1)
        self._norms = [_K1 * (1 - _B + _B * length / average) for length in lengths]
        self._postings: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for position, count in enumerate(counts):
            for term, frequency in count.items():
                self._postings[term].append((position, frequency))

    def ranked(self, query: str) -> list[int]:
        """All positions, the most alike first; ties keep the order of the texts."""
        scores = [0.0] * self._size
        for term in set(words(query)):
            postings = self._postings.get(term, [])
            rarity = math.log(1 + (self._size - len(postings) + 0.5) / (len(postings) + 0.5))
            for position, frequency in postings:
                scores[position] += rarity * frequency * (_K1 + 1) / (frequency + self._norms[position])
        return sorted(range(self._size), key=lambda position: (-scores[position], position))
