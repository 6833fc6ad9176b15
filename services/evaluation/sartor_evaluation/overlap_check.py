"""Does a suite overlap the training data? Then its scores say what was learnt by heart, not what was
learnt."""

from collections.abc import Iterable, Sequence

from sartor_evaluation.items import Item
from sartor_evaluation.metrics.overlap import words

_GRAM = 8
_SHARE = 0.8
"""An item overlaps where this share of its word 8-grams occurs in the training data (as GPT-3's authors
looked
for 13-grams; questions here are shorter), or, if it is shorter than that, where its words do exactly.
"""


class TrainingText:
    """What was trained on, as hashes of word n-grams: about 60 bytes a word."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._grams: set[int] = set()
        self._whole: set[int] = set()
        for text in texts:
            said = words(text)
            self._whole.add(hash(tuple(said)))
            self._grams.update(hash(tuple(said[i : i + _GRAM])) for i in range(len(said) - _GRAM + 1))

    def has(self, text: str) -> bool:
        """Whether the text was seen in training."""
        said = words(text)
        if not said:
            return False
        grams = [hash(tuple(said[i : i + _GRAM])) for i in range(len(said) - _GRAM + 1)]
        if not grams:
            return hash(tuple(said)) in self._whole
        return sum(gram in self._grams for gram in grams) >= _SHARE * len(grams)


def overlapping(items: Sequence[Item], training: TrainingText) -> list[str]:
    """Ids of the items whose question was trained on."""
    return [item.item_id for item in items if training.has(item.subject)]
