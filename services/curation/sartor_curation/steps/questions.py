"""When two questions are one: distinct folded questions, similar pairs, and whether wording alone differs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from sartor_text.clusters import UnionFind
from sartor_text.minhash import Pair, near_duplicates
from sartor_text.shingles import fold, fold_slots, shingle

from sartor_curation.steps.item import Item, frame, question

# Words that make a question politer or longer, but not another one.
_FILLER_WORDS = """a an the please pls kindly hi hello hey dear just so then there thanks thank you
    bitte hallo guten tag moin liebes team mal denn doch eigentlich der die das den dem ein eine einen einem
    danke"""
_FILLERS = frozenset(_FILLER_WORDS.split())
_SAME_WORD = 0.8


@dataclass(frozen=True, slots=True)
class Questions:
    """The distinct questions of items: `members[i]` are the items that ask question i, `folded[i]` is its
    text."""

    folded: tuple[str, ...]
    members: tuple[tuple[Item, ...], ...]
    pairs: tuple[Pair, ...]

    def clusters(self) -> list[list[int]]:
        """Questions linked by similarity, directly or through others."""
        sets = UnionFind(len(self.folded))
        sets.union_all((pair.first, pair.second) for pair in self.pairs)
        return list(sets.clusters().values())


def distinct_questions(items: Sequence[Item], threshold: float, *, slots: bool, frames: bool) -> Questions:
    """The questions that `items` ask, and the pairs with Jaccard similarity of at least `threshold`.

    Args:
        slots: whether order numbers and the like count as part of the question.
        frames: whether the same words under another system instruction are another question.
    """
    members: defaultdict[tuple[str, str], list[Item]] = defaultdict(list)
    for item in items:
        asked = question(item.record)
        under = frame(item.record) if frames else ""
        members[under, fold(asked) if slots else fold_slots(asked)].append(item)
    keys = list(members)
    pairs = near_duplicates(shingle([folded for _, folded in keys]), threshold)
    return Questions(
        folded=tuple(folded for _, folded in keys),
        members=tuple(tuple(members[key]) for key in keys),
        pairs=tuple(pair for pair in pairs if keys[pair.first][0] == keys[pair.second][0]),
    )


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
