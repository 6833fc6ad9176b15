"""Step: drops training records that ask what a held-out record asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sartor_curation.steps.outcome import Dropped, Reason
from sartor_curation.steps.questions import Questions
from sartor_curation.steps.splits import STRICTNESS, Assigned

_Key = TypeVar("_Key", int, str)

_REASONS = {"test": Reason.LEAKS_INTO_TEST, "validation": Reason.LEAKS_INTO_VALIDATION}


@dataclass(frozen=True, slots=True)
class _Witness:
    """The held-out record that another one would give away, and why."""

    split: str
    key: str
    why: str


def drop_leaks(assigned: Sequence[Assigned], questions: Questions) -> tuple[list[Assigned], list[Dropped]]:
    """Records whose question (or attribute "group") is not in a split held out more strictly than their own.

    Train gives way to validation and test, validation to test. Only the question counts: with the answer
    different, the model would still have seen what it is going to be asked. Order numbers and the like do not
    make questions different here.
    """
    by_place = {one.item.place: one for one in assigned}
    splits_asked = _splits_asked(questions, by_place)
    groups: dict[str, _Witness] = {}
    for one in assigned:
        group = one.item.record.attributes.get("group", "")
        if group and one.split != "train":
            _strictest(groups, group, _Witness(one.split, one.item.key, f"is in group {group!r} with"))
    witnesses: dict[int, _Witness] = {}
    for number, members in enumerate(questions.members):
        for item in members:
            for witness in splits_asked.get(number, {}).values():
                if witness.key != item.key:
                    _strictest(witnesses, item.place, witness)
            in_group = groups.get(item.record.attributes.get("group", ""))
            if in_group:
                _strictest(witnesses, item.place, in_group)
    kept: list[Assigned] = []
    dropped: list[Dropped] = []
    for one in assigned:
        found = witnesses.get(one.item.place)
        if found and STRICTNESS[found.split] > STRICTNESS[one.split]:
            detail = f"{found.why} {found.key}, which is held out ({found.split})"
            dropped.append(Dropped(one.item, _REASONS[found.split], detail, found.key))
        else:
            kept.append(one)
    return kept, dropped


def _splits_asked(questions: Questions, by_place: Mapping[int, Assigned]) -> dict[int, dict[str, _Witness]]:
    """For each question the held-out splits in which it, or a similar one, is asked, each with a witness."""
    own: dict[int, dict[str, str]] = {}
    for number, members in enumerate(questions.members):
        for item in members:
            if item.place in by_place and by_place[item.place].split != "train":
                own.setdefault(number, {}).setdefault(by_place[item.place].split, item.key)
    asked = {
        number: {split: _Witness(split, key, "asks the same as") for split, key in splits.items()}
        for number, splits in own.items()
    }
    for pair in questions.pairs:
        for here, there in ((pair.first, pair.second), (pair.second, pair.first)):
            for split, key in own.get(there, {}).items():
                why = f"asks nearly the same ({pair.similarity:.0%} alike) as"
                asked.setdefault(here, {}).setdefault(split, _Witness(split, key, why))
    return asked


def _strictest(known: dict[_Key, _Witness], at: _Key, new: _Witness) -> None:
    if at not in known or STRICTNESS[new.split] > STRICTNESS[known[at].split]:
        known[at] = new
