"""Step: finds questions with different answers, and drops the minority, or all, or only reports."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sartor_text.clusters import UnionFind
from sartor_text.shingles import fold

from sartor_curation.policy import ContradictionAction
from sartor_curation.steps.excerpts import excerpt
from sartor_curation.steps.item import Item, answer, question
from sartor_curation.steps.outcome import Dropped, Outcome, Reason
from sartor_curation.steps.questions import distinct_questions, same_question

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
class _Side:
    """Records that give one answer."""

    items: list[Item]

    @property
    def keys(self) -> list[str]:
        return [item.key for item in self.items]


def handle_contradictions(items: Sequence[Item], action: ContradictionAction) -> Outcome:
    """Items whose question has one answer only.

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
    for group in _groups(items):
        sides = _sides(group)
        if len(sides) < 2:
            continue
        if len(sides) > _OPEN and group[0].record.kind == "chat":
            open_questions += 1
            continue
        count += 1
        keeps = _kept_side(sides, action)
        for number, side in enumerate(sides):
            if number != keeps and action is not ContradictionAction.REPORT:
                other = sides[keeps] if keeps is not None else next(s for s in sides if s is not side)
                for item in side.items:
                    dropped[item.place] = _drop(item, other, keeps is not None)
        if len(listed) < _LISTED:
            listed.append(_shown(sides, keeps, action))
    return Outcome(
        [item for item in items if item.place not in dropped],
        [dropped[place] for place in sorted(dropped)],
        figures={
            "count": count,
            "open_questions": open_questions,
            "action": action.value,
            "contradictions": listed,
        },
    )


def _groups(items: Sequence[Item]) -> list[list[Item]]:
    """Items that ask the same, of one partition and frame; documents ask nothing."""
    groups: list[list[Item]] = []
    asking = [item for item in items if item.record.kind != "document"]
    for partition in sorted({item.partition for item in asking}):
        mine = [item for item in asking if item.partition == partition]
        questions = distinct_questions(mine, _CANDIDATES, slots=True, frames=True)
        sets = UnionFind(len(questions.folded))
        for pair in questions.pairs:
            if same_question(questions.folded[pair.first], questions.folded[pair.second]):
                sets.union(pair.first, pair.second)
        for cluster in sets.clusters().values():
            group = [item for number in cluster for item in questions.members[number]]
            if len(group) > 1:
                groups.append(sorted(group, key=lambda item: item.place))
    return groups


def _sides(group: Sequence[Item]) -> list[_Side]:
    """The group by answer, the most frequent first; answers that agree through others are one side."""
    by_answer: dict[str, list[Item]] = {}
    for item in group:
        by_answer.setdefault(fold(answer(item.record)), []).append(item)
    answers = list(by_answer)
    labelled = group[0].record.kind == "labelled"
    sets = UnionFind(len(answers))
    compared = 0 if labelled or len(answers) > _COMPARED else len(answers)
    for first in range(compared):
        for second in range(first):
            if not differ(answers[first], answers[second]):
                sets.union(first, second)
    sides = [
        _Side([item for number in members for item in by_answer[answers[number]]])
        for members in sets.clusters().values()
    ]
    return sorted(sides, key=lambda side: -len(side.items))


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


def _kept_side(sides: Sequence[_Side], action: ContradictionAction) -> int | None:
    if action is ContradictionAction.DROP_MINORITY and len(sides[0].items) > len(sides[1].items):
        return 0
    return None


def _drop(item: Item, other: _Side, other_stays: bool) -> Dropped:
    fate = "which more records say" if other_stays else "and neither is in the majority"
    said = excerpt(answer(other.items[0].record), 80)
    detail = f"the same question is answered differently by {other.keys[0]} (“{said}”), {fate}"
    return Dropped(item, Reason.CONTRADICTION, detail, other.keys[0])


def _shown(sides: Sequence[_Side], keeps: int | None, action: ContradictionAction) -> dict[str, Any]:
    return {
        "question": excerpt(question(sides[0].items[0].record)),
        "sides": [
            {
                "answer": excerpt(answer(side.items[0].record)),
                "records": len(side.items),
                "record_keys": side.keys[:10],
                "kept": action is ContradictionAction.REPORT or number == keeps,
            }
            for number, side in enumerate(sides)
        ],
    }
