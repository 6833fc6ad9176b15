"""The steps in their order, from records to curated records and a report. Runs as a library: no service
needed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from sartor_datasets.arrow import CuratedRecord
from sartor_datasets.records import Record
from sartor_text.pii import regions_of

from sartor_curation.policy import Policy
from sartor_curation.report import Report, StepReport, make_report
from sartor_curation.steps.contradictions import handle_contradictions
from sartor_curation.steps.exact_duplicates import drop_exact_duplicates
from sartor_curation.steps.instructions import render_instructions
from sartor_curation.steps.item import Item
from sartor_curation.steps.languages import keep_languages
from sartor_curation.steps.leakage import drop_leaks
from sartor_curation.steps.lengths import CountTokens, drop_too_long, drop_too_short
from sartor_curation.steps.missing_fields import drop_missing_fields
from sartor_curation.steps.near_duplicates import drop_near_duplicates
from sartor_curation.steps.normalisation import normalise_texts
from sartor_curation.steps.outcome import Dropped, Outcome
from sartor_curation.steps.personal_data import handle_personal_data
from sartor_curation.steps.questions import distinct_questions
from sartor_curation.steps.splits import Assigned, Remembered, Shares, assign_splits

Step = Callable[[Sequence[Item]], Outcome]


class Progress(Protocol):
    """Told before each step what comes, how much is done (0 to 1) and how many records are left."""

    def __call__(self, fraction: float, *, stage: str, records: int) -> None: ...


@dataclass(frozen=True, slots=True)
class DroppedBy:
    """A dropped record and the step that dropped it."""

    step: str
    dropped: Dropped


@dataclass(frozen=True, slots=True)
class Curated:
    """What curation made of the records: every record read is either in `records` or in `dropped`."""

    records: list[CuratedRecord]
    dropped: list[DroppedBy]
    report: Report


def steps_of(policy: Policy, count_tokens: CountTokens) -> dict[str, Step]:
    """The steps before the split, in their order.

    Texts are brought into one form first, since all others compare them. Personal data goes before
    duplicates are
    searched: what differs in a telephone number only is the same to a model that never sees it.
    Contradictions come before duplicates: three equal answers against one are a majority, and two answers
    that differ in one number would look like near duplicates. Tokens are counted of what training will see.
    """
    regions = regions_of(policy.languages)
    return {
        "normalise": normalise_texts,
        "missing_fields": drop_missing_fields,
        "personal_data": lambda items: handle_personal_data(items, policy.pii_action, regions),
        "languages": lambda items: keep_languages(items, policy.languages),
        "too_short": lambda items: drop_too_short(items, policy.min_characters),
        "contradictions": lambda items: handle_contradictions(items, policy.contradiction_action),
        "exact_duplicates": drop_exact_duplicates,
        "near_duplicates": lambda items: drop_near_duplicates(items, policy.near_duplicate_threshold),
        "instructions": lambda items: render_instructions(items, policy.label_instruction),
        "too_long": lambda items: drop_too_long(items, count_tokens, policy.max_tokens),
    }


def curate(
    records: Iterable[Record],
    policy: Policy,
    count_tokens: CountTokens,
    remembered: Mapping[str, Remembered] | None = None,
    progress: Progress | None = None,
) -> Curated:
    """Run all steps over the live records of a snapshot.

    Args:
        records: oldest first; of duplicates the oldest stays.
        remembered: what earlier curations of this dataset decided, by record key.
    """
    remembered = remembered or {}
    read = [Item(record, place) for place, record in enumerate(records) if record.op == "upsert"]
    items = [_with_memory(item, remembered) for item in read]
    steps = steps_of(policy, count_tokens)
    dropped: list[DroppedBy] = []
    reports: list[StepReport] = []
    for number, (name, step) in enumerate(steps.items()):
        if progress:
            progress(number / (len(steps) + 2), stage=name, records=len(items))
        started = time.perf_counter()
        outcome = step(items)
        reports.append(StepReport.of(name, len(items), outcome, time.perf_counter() - started))
        dropped += [DroppedBy(name, one) for one in outcome.dropped]
        items = outcome.kept
    if progress:
        progress(len(steps) / (len(steps) + 2), stage="splits", records=len(items))
    assigned, leaks, split_report = split(items, policy, remembered)
    dropped += [DroppedBy("splits", one) for one in leaks]
    dropped.sort(key=lambda one: one.dropped.item.place)
    report = make_report(policy, read, assigned, dropped, [*reports, split_report])
    curated = [
        CuratedRecord(a.item.record, a.split, a.cluster, a.item.language, a.item.tokens) for a in assigned
    ]
    return Curated(curated, dropped, report)


def split(
    items: Sequence[Item], policy: Policy, remembered: Mapping[str, Remembered]
) -> tuple[list[Assigned], list[Dropped], StepReport]:
    """The items that stay with their splits, those that would give a held-out question away, and what
    happened."""
    started = time.perf_counter()
    questions = distinct_questions(items, policy.near_duplicate_threshold, slots=False, frames=False)
    shares = Shares(validation=policy.validation_share, test=policy.test_share)
    assigned, leaks = drop_leaks(
        assign_splits(items, questions, shares, policy.dataset, remembered), questions
    )
    largest = max((len(cluster) for cluster in questions.clusters()), default=0)
    figures = {
        "questions": len(questions.folded),
        "clusters": len({one.cluster for one in assigned}),
        "questions_in_largest_cluster": largest,
        "remembered": sum(bool(one.item.remembered_split) for one in assigned),
        "tested_after_training": sum(
            one.split == "test" and one.item.remembered_split == "train" for one in assigned
        ),
    }
    outcome = Outcome([one.item for one in assigned], leaks, figures=figures)
    return assigned, leaks, StepReport.of("splits", len(items), outcome, time.perf_counter() - started)


def _with_memory(item: Item, remembered: Mapping[str, Remembered]) -> Item:
    known = remembered.get(item.key)
    return replace(item, remembered_split=known.split) if known else item
