"""When two questions are one: distinct folded questions, similar pairs, and whether wording alone differs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np
from numpy.typing import NDArray
from sartor_text.clusters import smallest_linked
from sartor_text.minhash import Pairs, similar_pairs
from sartor_text.shingles import fold, fold_slots

from sartor_curation.features import KINDS
from sartor_curation.index import Index, Ints

# Words that make a question politer or longer, but not another one.
_FILLER_WORDS = """a an the please pls kindly hi hello hey dear just so then there thanks thank you
    bitte hallo guten tag moin liebes team mal denn doch eigentlich der die das den dem ein eine einen einem
    danke"""
_FILLERS = frozenset(_FILLER_WORDS.split())
_SAME_WORD = 0.8


@dataclass(frozen=True, slots=True)
class Questions:
    """The distinct questions of some rows of an index.

    `number[i]` is the question that rows[i] asks, `first[q]` the row that asks question q first, and `pairs`
    are those of similar questions.
    """

    rows: Ints
    number: Ints
    first: Ints
    pairs: Pairs

    def members(self) -> dict[int, list[int]]:
        """Rows by question, for questions that more than one row asks."""
        counts = np.bincount(self.number, minlength=len(self.first))
        several = np.flatnonzero(counts[self.number] > 1)
        found: dict[int, list[int]] = {}
        for number, row in zip(self.number[several].tolist(), self.rows[several].tolist(), strict=True):
            found.setdefault(number, []).append(row)
        return found

    def clusters(self) -> Ints:
        """The cluster of each question: linked by similarity, directly or through others."""
        return smallest_linked(len(self.first), self.pairs.first, self.pairs.second)


def distinct_questions(index: Index, rows: Ints, threshold: float, *, slots: bool, frames: bool) -> Questions:
    """The questions that `rows` ask, and the pairs with Jaccard similarity of at least `threshold`.

    Args:
        slots: whether order numbers and the like count as part of the question.
        frames: whether the same words under another system instruction are another question.
    Where all records are documents, their whole texts are what is compared.
    """
    scalars = index.scalars[rows]
    asked: NDArray[np.uint64] = scalars["question" if slots else "slotless"]
    keys = asked ^ (scalars["frame"] * np.uint64(0x9E3779B97F4A7C15)) if frames else asked
    _, at, inverse = np.unique(keys, return_index=True, return_inverse=True)
    by_age = np.argsort(at)
    rank = np.empty_like(by_age)
    rank[by_age] = np.arange(len(by_age))
    first, number = rows[at[by_age]], rank[inverse.reshape(-1)]
    name = "question" if slots else "slotless"
    fold_it: Callable[[str], str] = fold if slots else fold_slots
    if name not in index.signatures:
        name = "both"
    likeness = index.likeness(lambda rows, row: fold_it(rows.question(row)))
    pairs = similar_pairs(index.signatures[name], threshold, first, likeness)
    if frames:
        frame = index.scalars["frame"]
        pairs = pairs[frame[first[pairs.first]] == frame[first[pairs.second]]]
    return Questions(rows, number, first, pairs)


def asking(index: Index) -> Ints:
    """Rows that are alive and ask something: documents ask nothing."""
    rows = index.rows
    kinds: NDArray[np.uint8] = index.scalars["kind"][rows]
    asking: Ints = rows[kinds != KINDS.index("document")]
    return asking


def same_question(first: str, second: str) -> bool:
    """Whether two folded questions differ only in wording: typing errors, inflection, courtesies.

    A word that stands for another one (a town, a product, a number, a "not") makes another question, however
    similar the rest is: templates filled with different values have different answers for good reason.
    """
    left, right = first.split(), second.split()
    for kind, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        gone = [word for word in left[a:b] if word not in _FILLERS]
        come = [word for word in right[c:d] if word not in _FILLERS]
        if len(gone) != len(come) or not all(map(_same_word, gone, come)):
            return False
    return True


def _same_word(first: str, second: str) -> bool:
    if any(sign.isdigit() for sign in first + second):
        return first == second
    return SequenceMatcher(None, first, second).ratio() >= _SAME_WORD
