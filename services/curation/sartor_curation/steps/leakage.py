"""Step: drops training records that ask what a held-out record asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sartor_curation.features import SPLITS
from sartor_curation.index import Index
from sartor_curation.steps.outcome import Dropped, Reason, Verdict
from sartor_curation.steps.questions import Questions
from sartor_curation.steps.splits import Assigned

_TRAIN = SPLITS.index("train")
_REASONS = {"test": Reason.LEAKS_INTO_TEST, "validation": Reason.LEAKS_INTO_VALIDATION}


@dataclass(frozen=True, slots=True)
class _Witness:
    """The held-out record that another one would give away, and why."""

    split: int
    row: int
    why: str


def find_leaks(index: Index, assigned: Assigned, questions: Questions) -> Verdict:
    """Records whose question (or attribute "group") is in a split held out more strictly than their own.

    Train gives way to validation and test, validation to test. Only the question counts: with the answer
    different, the model would still have seen what it is going to be asked. Order numbers and the like do not
    make questions different here.
    """
    asked = _splits_asked(assigned, questions)
    groups = _groups(index, assigned)
    group_of = index.scalars["group"][assigned.rows]
    dropped: list[Dropped] = []
    looked_at = np.isin(questions.number, list(asked)) | np.isin(group_of, list(groups))
    for place in np.flatnonzero(looked_at).tolist():
        row, own = int(assigned.rows[place]), int(assigned.splits[place])
        witnesses = [one for one in asked.get(int(questions.number[place]), {}).values() if one.row != row]
        if group_of[place]:
            witnesses += [groups[int(group_of[place])]] if int(group_of[place]) in groups else []
        found = max(witnesses, key=lambda one: one.split, default=None)
        if found and found.split > own:
            split, key = SPLITS[found.split], index.key(found.row)
            detail = f"{found.why} {key}, which is held out ({split})"
            dropped.append(Dropped(row, _REASONS[split], detail, key))
    return Verdict(dropped)


def _splits_asked(assigned: Assigned, questions: Questions) -> dict[int, dict[int, _Witness]]:
    """For each question the held-out splits in which it, or a similar one, is asked, each with a witness."""
    own: dict[int, dict[int, int]] = {}
    for place in np.flatnonzero(assigned.splits > _TRAIN).tolist():
        number, split = int(questions.number[place]), int(assigned.splits[place])
        own.setdefault(number, {}).setdefault(split, int(assigned.rows[place]))
    asked = {
        number: {split: _Witness(split, row, "asks the same as") for split, row in splits.items()}
        for number, splits in own.items()
    }
    for pair in questions.pairs:
        for here, there in ((pair.first, pair.second), (pair.second, pair.first)):
            for split, row in own.get(there, {}).items():
                why = f"asks nearly the same ({pair.similarity:.0%} alike) as"
                asked.setdefault(here, {}).setdefault(split, _Witness(split, row, why))
    return asked


def _groups(index: Index, assigned: Assigned) -> Mapping[int, _Witness]:
    """The most strictly held-out record of each group that has one."""
    found: dict[int, _Witness] = {}
    groups = index.scalars["group"][assigned.rows]
    for place in np.flatnonzero((assigned.splits > _TRAIN) & (groups != 0)).tolist():
        group, split = int(groups[place]), int(assigned.splits[place])
        if group not in found or split > found[group].split:
            found[group] = _Witness(split, int(assigned.rows[place]), "is in its group with")
    return found
