"""The steps that need all records at once, in their order."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from sartor_curation.features import SPLITS
from sartor_curation.index import Index
from sartor_curation.plan import asked_for
from sartor_curation.policy import Policy, Preset
from sartor_curation.steps.contradictions import find_contradictions
from sartor_curation.steps.exact_duplicates import find_exact_duplicates
from sartor_curation.steps.leakage import find_leaks
from sartor_curation.steps.mislabelled import find_mislabelled
from sartor_curation.steps.near_duplicates import find_near_duplicates
from sartor_curation.steps.outcome import Dropped, Verdict, rows_of
from sartor_curation.steps.poisoning import find_poisoning_signs
from sartor_curation.steps.questions import distinct_questions
from sartor_curation.steps.representativeness import check_representativeness
from sartor_curation.steps.splits import Assigned, Shares, assign_splits
from sartor_curation.tally import StepReport

GlobalStep = Callable[[Index], Verdict]


def comparing_steps(policy: Policy) -> dict[str, GlobalStep]:
    """The steps before texts become instructions."""
    steps: dict[str, GlobalStep] = {
        "contradictions": lambda index: find_contradictions(index, policy.contradiction_action),
        "exact_duplicates": find_exact_duplicates,
        "near_duplicates": lambda index: find_near_duplicates(index, policy.near_duplicate_threshold),
    }
    if policy.preset is not Preset.CORPUS:
        steps |= {
            "mislabelled": lambda index: find_mislabelled(index, policy.mislabelled_action),
            "representativeness": lambda index: check_representativeness(index, policy.real_questions),
            "poisoning": find_poisoning_signs,
        }
    return asked_for(steps, policy)


def compare(index: Index, policy: Policy) -> tuple[dict[str, Sequence[Dropped]], list[StepReport]]:
    """Run the steps; what they drop is no longer alive in the index."""
    dropped: dict[str, Sequence[Dropped]] = {}
    reports: list[StepReport] = []
    for name, step in comparing_steps(policy).items():
        started = time.perf_counter()
        read = int(index.alive.sum())
        verdict = step(index)
        index.alive[rows_of(verdict.dropped)] = False
        dropped[name] = verdict.dropped
        reports.append(StepReport.of(name, read, verdict, time.perf_counter() - started))
    return dropped, reports


def split(index: Index, policy: Policy) -> tuple[Assigned, list[Dropped], StepReport]:
    """What stays with its splits, what would give a held-out question away, and what happened."""
    started = time.perf_counter()
    rows = index.rows
    threshold = policy.near_duplicate_threshold
    questions = distinct_questions(index, rows, threshold, slots=False, frames=False)
    shares = Shares(validation=policy.validation_share, test=policy.test_share)
    assigned = assign_splits(index, questions, shares, policy.dataset)
    verdict = find_leaks(index, assigned, questions)
    index.alive[[one.row for one in verdict.dropped]] = False
    stays = index.alive[rows]
    kept = assigned.only(stays)
    remembered = index.remembered[kept.rows]
    figures = {
        "questions": len(questions.first),
        "clusters": kept.distinct_clusters(),
        "questions_in_largest_cluster": int(np.bincount(questions.clusters()).max(initial=0)),
        "remembered": int((remembered > 0).sum()),
        "tested_after_training": int(
            ((kept.splits == SPLITS.index("test")) & (remembered == SPLITS.index("train"))).sum()
        ),
    }
    leaks = list(verdict.dropped)
    found = Verdict(leaks, figures)
    report = StepReport.of("splits", len(stays), found, time.perf_counter() - started)
    return kept, leaks, report
