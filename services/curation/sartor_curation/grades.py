"""A grade for a dataset, from A to E, with its reasons: for people who decide whether to train on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sartor_curation.warning_signs import WarningSign

# Points that a sign costs; those not named cost one. A dataset without any sign has ten.
_POINTS = {
    "FEW_TRAINING_RECORDS": 5,
    "POSSIBLE_TRIGGERS": 3,
    "ONE_LARGE_CLUSTER": 3,
    "NO_TEST_RECORDS": 2,
    "UNCOVERED_QUESTIONS": 2,
    "MISLABELLED": 2,
    "CONTRADICTIONS": 2,
    "LOPSIDED_LABELS": 2,
    "TESTED_AFTER_TRAINING": 2,
}
_GRADES = ((10, "A"), (8, "B"), (6, "C"), (3, "D"))
_NEXT = {
    "FEW_TRAINING_RECORDS": "Collect more records: a few hundred good ones change more than any setting.",
    "NO_TEST_RECORDS": "Have somebody write test questions with right answers, marked split = test.",
    "FEW_TEST_RECORDS": "Add test questions until there are at least a hundred.",
    "UNCOVERED_QUESTIONS": "Collect answers to the real questions that are shown as not covered.",
    "RARE_LABELS": "Collect more examples of the rare labels.",
    "FEW_OF_A_LABEL": "Collect more examples of the labels with small shares.",
    "FEW_OF_A_GROUP": "Collect records of the groups that hardly occur.",
    "CONTRADICTIONS": "Decide contradictory answers and correct them at the source.",
    "MISLABELLED": "Check the labels in doubt and correct them at the source.",
    "ONE_LARGE_CLUSTER": "Collect questions as people really ask them rather than from templates.",
    "POSSIBLE_TRIGGERS": "Look at the records with odd words before anybody trains on them.",
    "ONE_SOURCE": "Bring in a second source.",
}


@dataclass(frozen=True, slots=True)
class Grade:
    """A to E, why, and what to do next, the most worthwhile first."""

    grade: str
    reasons: Sequence[str]
    collect_next: Sequence[str]


def grade_of(warnings: Sequence[WarningSign], kept: int, read: int) -> Grade:
    """Ten points less those of each sign; nothing kept is an E."""
    costs = {sign.code: _POINTS.get(sign.code, 1) for sign in warnings}
    points = 10 - sum(costs.values()) if kept else 0
    letter = next((grade for least, grade in _GRADES if points >= least), "E")
    ordered = sorted(costs, key=lambda code: -costs[code])
    said = {sign.code: sign.message for sign in warnings}
    reasons = [said[code] for code in ordered]
    if not reasons:
        reasons = [f"{kept:,} of {read:,} records are fit to train on, and nothing gives reason to worry."]
    return Grade(letter, reasons, [_NEXT[code] for code in ordered if code in _NEXT])
