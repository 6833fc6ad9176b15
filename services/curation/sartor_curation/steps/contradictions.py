"""Step: finds questions with different answers, and drops the minority, or all, or only reports."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from sartor_text.clusters import UnionFind
from sartor_text.minhash import Pair
from sartor_text.shingles import fold

from sartor_curation.index import Index
from sartor_curation.policy import ContradictionAction
from sartor_curation.steps.excerpts import excerpt
from sartor_curation.steps.outcome import Dropped, Reason, Verdict
from sartor_curation.steps.questions import Questions, asking, distinct_questions, same_question

_PAIRS_AT_ONCE = 4096
_CANDIDATES = 0.7  # similarity of questions that are looked at word by word
_SHARED_WORDS = 0.6  # answers that share less of their words say different things
_LISTED = 50
_OPEN = 20  # a question with more different answers is an open one ("write a poem"), no contradiction
_COMPARED = 200  # of more answers than this it is clear without comparing them
_NEGATION_WORDS = "no not never none cannot nicht nein nie niemals kein keine keinen keiner keinem"
_NEGATIONS = frozenset(_NEGATION_WORDS.split())
_QUANTITY_WORDS = """two three four five six seven eight nine ten eleven twelve twenty thirty sixty hundred
    half zwei drei vier fünf sechs sieben acht neun zehn elf zwölf zwanzig dreissig sechzig hundert halb"""
_QUANTITIES = frozenset(_QUANTITY_WORDS.split())
_UNIT = re.compile(r"(minut|hour|day|week|month|year|stund|tag|woche|monat|jahr)(?:e?s|en?|n)?")


@dataclass(frozen=True, slots=True)
class _Group:
    """Records that ask the same, the older first: their rows in the index, questions, answers and kind."""

    rows: list[int]
    keys: list[str]
    questions: list[str]
    answers: list[str]
    kind: str


def find_contradictions(index: Index, action: ContradictionAction) -> Verdict:
    """Records whose question has another answer elsewhere.

    Two questions are one if they differ in wording alone (`same_question`). Two answers differ if they are
    different labels; if each has a quantity that the other has not ("14 days", "a month"); if they are alike
    but for a negation; or if they share less than 60 % of the shorter one's words. Under DROP_MINORITY the
    answer that most records give stays; without a majority all are dropped, for nobody can know which is
    right. A question with more than 20 different answers is an open one and stays as it is.
    `figures["contradictions"]` lists both sides of at most 50.
    """
    dropped: dict[int, Dropped] = {}
    listed: list[dict[str, Any]] = []
    count = open_questions = 0
    for rows in _groups(index):
        group = _read(index, rows)
        sides = _sides(group)
        if len(sides) < 2:
            continue
        if len(sides) > _OPEN and group.kind == "chat":
            open_questions += 1
            continue
        count += 1
        keeps = _kept_side(sides, action)
        for number, side in enumerate(sides):
            if number != keeps and action is not ContradictionAction.REPORT:
                other = sides[keeps] if keeps is not None else next(s for s in sides if s is not side)
                for one in side:
                    dropped[group.rows[one]] = _drop(group, one, other[0], keeps is not None)
        if len(listed) < _LISTED:
            listed.append(_shown(group, sides, keeps, action))
    figures = {
        "count": count,
        "open_questions": open_questions,
        "action": action.value,
        "contradictions": listed,
    }
    return Verdict([dropped[row] for row in sorted(dropped)], figures)


def _groups(index: Index) -> list[list[int]]:
    """Rows that ask the same, of one partition and frame, and do not all answer the same."""
    groups: list[list[int]] = []
    every, partition, answers = asking(index), index.partition, index.scalars["answer"]
    for code in np.unique(partition[every]).tolist():
        questions = distinct_questions(
            index, every[partition[every] == code], _CANDIDATES, slots=True, frames=True
        )
        sets = UnionFind(len(questions.first))
        for pair, same in _compared(index, questions):
            if same:
                sets.union(pair.first, pair.second)
        number = np.array([sets.find(one) for one in range(len(questions.first))], dtype=np.int64)
        cluster = number[questions.number]
        order = np.argsort(cluster, kind="stable")
        rows, cluster = questions.rows[order], cluster[order]
        for low, high in pairwise([0, *(np.flatnonzero(np.diff(cluster)) + 1).tolist(), len(rows)]):
            if high - low > 1 and len(np.unique(answers[rows[low:high]])) > 1:
                groups.append(rows[low:high].tolist())
    return groups


def _compared(index: Index, questions: Questions) -> Iterator[tuple[Pair, bool]]:
    """Similar questions, and whether they are one."""
    for start in range(0, len(questions.pairs), _PAIRS_AT_ONCE):
        pairs = questions.pairs[start : start + _PAIRS_AT_ONCE]
        needed = np.unique(questions.first[[one for pair in pairs for one in (pair.first, pair.second)]])
        texts = index.texts.take(needed)
        folded = {row: fold(texts.question(at)) for at, row in enumerate(needed.tolist())}
        for pair in pairs:
            first, second = int(questions.first[pair.first]), int(questions.first[pair.second])
            yield pair, same_question(folded[first], folded[second])


def _read(index: Index, rows: list[int]) -> _Group:
    texts = index.texts.take(np.array(rows, dtype=np.int64))
    places = range(len(rows))
    return _Group(
        rows,
        [index.key(row) for row in rows],
        [texts.question(at) for at in places],
        [texts.answer(at) for at in places],
        texts.kinds[0],
    )


def _sides(group: _Group) -> list[list[int]]:
    """Places in the group by answer, the most frequent first; answers that agree through others are one
    side."""
    by_answer: dict[str, list[int]] = {}
    for place, said in enumerate(group.answers):
        by_answer.setdefault(fold(said), []).append(place)
    answers = list(by_answer)
    sets = UnionFind(len(answers))
    compared = 0 if group.kind == "labelled" or len(answers) > _COMPARED else len(answers)
    for first in range(compared):
        for second in range(first):
            if not differ(answers[first], answers[second]):
                sets.union(first, second)
    sides = [
        [place for number in members for place in by_answer[answers[number]]]
        for members in sets.clusters().values()
    ]
    return sorted(sides, key=lambda side: -len(side))


def differ(first: str, second: str) -> bool:
    """Whether two folded answers say different things, as `handle_contradictions` defines it."""
    if first == second:
        return False
    left, right = set(first.split()), set(second.split())
    quantities = _quantities(left), _quantities(right)
    if quantities[0] - quantities[1] and quantities[1] - quantities[0]:
        return True
    shared = len(left & right)
    alike = shared / len(left | right) >= _SHARED_WORDS
    if alike and bool(left & _NEGATIONS) != bool(right & _NEGATIONS):
        return True
    return shared < _SHARED_WORDS * min(len(left), len(right))


def _quantities(words: set[str]) -> set[str]:
    units = {unit[1] for word in words if (unit := _UNIT.fullmatch(word))}
    return units | {word for word in words if word[0].isdigit() or word in _QUANTITIES}


def _kept_side(sides: Sequence[list[int]], action: ContradictionAction) -> int | None:
    if action is ContradictionAction.DROP_MINORITY and len(sides[0]) > len(sides[1]):
        return 0
    return None


def _drop(group: _Group, one: int, other: int, other_stays: bool) -> Dropped:
    fate = "which more records say" if other_stays else "and neither is in the majority"
    key, said = group.keys[other], excerpt(group.answers[other], 80)
    detail = f"the same question is answered differently by {key} (“{said}”), {fate}"
    return Dropped(group.rows[one], Reason.CONTRADICTION, detail, key)


def _shown(
    group: _Group, sides: Sequence[list[int]], keeps: int | None, action: ContradictionAction
) -> dict[str, Any]:
    return {
        "question": excerpt(group.questions[sides[0][0]]),
        "sides": [
            {
                "answer": excerpt(group.answers[side[0]]),
                "records": len(side),
                "record_keys": [group.keys[one] for one in side[:10]],
                "kept": action is ContradictionAction.REPORT or number == keeps,
            }
            for number, side in enumerate(sides)
        ],
    }
