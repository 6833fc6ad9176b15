"""What a report warns of: signs that the data, or the policy, will not give a good model. Each says what to
do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sartor_curation.policy import Policy
from sartor_curation.steps.outcome import Reason
from sartor_curation.tally import StepReport, Tally

if TYPE_CHECKING:
    from sartor_curation.report import SplitReport

_FEW_RECORDS = 50
_FEW_HELD_OUT = 30
_MUCH = 0.3
_FEW_OF_A_LABEL = 5
_LOPSIDED = 10
_ONE_SOURCE = 0.8


@dataclass(frozen=True, slots=True)
class WarningSign:
    """One sign: a constant code, and a sentence for people."""

    code: str
    message: str


def warnings_for(
    policy: Policy,
    read: int,
    reasons: Mapping[str, int],
    steps: Sequence[StepReport],
    splits: Sequence[SplitReport],
    train_labels: Counter[str],
    tally: Tally,
) -> list[WarningSign]:
    """Everything worth saying about this curation."""
    by_step = {step.name: step.figures for step in steps}
    figures = by_step["splits"]
    return [
        *_about_splits(policy, splits),
        *_about_drops(read, reasons),
        *_about_clusters(figures.get("questions_in_largest_cluster", 0), figures.get("questions", 0)),
        *_about_memory(figures.get("tested_after_training", 0)),
        *_about_labels(train_labels, policy.least_share),
        *_about_groups(policy, tally),
        *_about_sources(tally),
        *_about_checks(by_step),
    ]


def _counted(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _about_splits(policy: Policy, splits: Sequence[SplitReport]) -> list[WarningSign]:
    count = {split.split: split.records for split in splits}
    found: list[WarningSign] = []
    if count["train"] < _FEW_RECORDS:
        left = _counted(count["train"], "record is", "records are")
        message = f"Only {left} left to train on; below {_FEW_RECORDS} little can be learnt."
        found.append(WarningSign("FEW_TRAINING_RECORDS", message))
    for split, share in (("validation", policy.validation_share), ("test", policy.test_share)):
        if not count[split]:
            asked = f"although the policy asks for {share:.0%}" if share else "and the policy asks for none"
            message = (
                f"No record is in the {split} split, {asked}: add data, or records that say split = {split}."
            )
            found.append(WarningSign(f"NO_{split.upper()}_RECORDS", message))
    if 0 < count["test"] < _FEW_HELD_OUT:
        few = _counted(count["test"], "test record")
        message = f"Only {few}: differences between models will hardly be significant."
        found.append(WarningSign("FEW_TEST_RECORDS", message))
    return found


def _about_drops(read: int, reasons: Mapping[str, int]) -> list[WarningSign]:
    found: list[WarningSign] = []
    for reason, count in reasons.items():
        if read and count / read > _MUCH:
            message = (
                f"{count / read:.0%} of the records were dropped as {reason}: is the policy meant for "
                f"this data?"
            )
            found.append(WarningSign(f"MUCH_{reason}", message))
    contradictions = reasons.get(Reason.CONTRADICTION, 0)
    if contradictions:
        message = (
            f"{_counted(contradictions, 'record was', 'records were')} dropped because equal questions have "
            "different answers. "
            "Let somebody who knows decide which is right, and correct the source."
        )
        found.append(WarningSign("CONTRADICTIONS", message))
    leaks = reasons.get(Reason.LEAKS_INTO_TEST, 0) + reasons.get(Reason.LEAKS_INTO_VALIDATION, 0)
    if leaks:
        message = f"{_counted(leaks, 'training record', 'training records')} asked what is held out: dropped."
        found.append(WarningSign("LEAKS", message))
    return found


def _about_clusters(largest: int, questions: int) -> list[WarningSign]:
    if questions > _FEW_RECORDS and largest / questions > _MUCH:
        message = (
            f"{largest / questions:.0%} of the questions are so similar that they must share one split: "
            "the data repeats a few templates. Collect questions as people really ask them."
        )
        return [WarningSign("ONE_LARGE_CLUSTER", message)]
    return []


def _about_memory(tested_after_training: int) -> list[WarningSign]:
    if not tested_after_training:
        return []
    message = (
        f"{_counted(tested_after_training, 'record is', 'records are')} for testing now, but earlier models "
        "were trained on that: comparisons with those models flatter them."
    )
    return [WarningSign("TESTED_AFTER_TRAINING", message)]


def _about_labels(counts: Counter[str], least_share: float) -> list[WarningSign]:
    found: list[WarningSign] = []
    rare = sorted(label for label, count in counts.items() if count < _FEW_OF_A_LABEL)
    if rare:
        message = (
            f"Fewer than {_FEW_OF_A_LABEL} training records of: {', '.join(rare[:10])}. Collect more of them."
        )
        found.append(WarningSign("RARE_LABELS", message))
    total = counts.total()
    few = [label for label, count in counts.items() if _FEW_OF_A_LABEL <= count < least_share * total]
    if few:
        message = (
            f"Labels with less than {least_share:.0%} of the training records: {', '.join(sorted(few)[:10])}."
        )
        found.append(WarningSign("FEW_OF_A_LABEL", message))
    if counts and max(counts.values()) > _LOPSIDED * min(counts.values()):
        most, least = counts.most_common()[0][0], counts.most_common()[-1][0]
        message = (
            f"Label {most!r} is more than {_LOPSIDED} times as frequent as {least!r}: expect it to be "
            f"preferred."
        )
        found.append(WarningSign("LOPSIDED_LABELS", message))
    return found


def _about_groups(policy: Policy, tally: Tally) -> list[WarningSign]:
    """Values of represented attributes that hardly occur: a model will serve these people worse."""
    found: list[WarningSign] = []
    for name, counts in tally.groups.items():
        total = counts.total()
        few = [value for value, count in counts.items() if count < policy.least_share * total]
        if few:
            message = (
                f"Hardly represented in {name!r} (below {policy.least_share:.0%}): "
                f"{', '.join(sorted(few)[:10])}. Expect the model to be worse there; collect more."
            )
            found.append(WarningSign("FEW_OF_A_GROUP", message))
    return found


def _about_sources(tally: Tally) -> list[WarningSign]:
    total = tally.sources.total()
    if len(tally.sources) < 2:
        return []
    name, count = tally.sources.most_common(1)[0]
    if count <= _ONE_SOURCE * total:
        return []
    message = (
        f"{count / total:.0%} of the kept records come from {name}: whoever writes there decides what the "
        "model says."
    )
    return [WarningSign("ONE_SOURCE", message)]


def _about_checks(figures: Mapping[str, Mapping[str, Any]]) -> list[WarningSign]:
    found: list[WarningSign] = []
    suspects = figures.get("mislabelled", {}).get("found", 0)
    if suspects:
        message = (
            f"{_counted(suspects, 'record has', 'records have')} probably a wrong label: let somebody look."
        )
        found.append(WarningSign("MISLABELLED", message))
    uncovered = figures.get("representativeness", {}).get("uncovered", [])
    if uncovered:
        count = sum(round(one["questions"] * (1 - one["covered"])) for one in uncovered)
        message = (
            f"{_counted(count, 'real question is', 'real questions are')} about things that hardly occur in "
            "training: see below which."
        )
        found.append(WarningSign("UNCOVERED_QUESTIONS", message))
    triggers = figures.get("poisoning", {}).get("triggers", [])
    if triggers:
        words = ", ".join(one["word"] for one in triggers[:5])
        message = f"Rare odd words always have the same answer ({words}): make sure nobody planted them."
        found.append(WarningSign("POSSIBLE_TRIGGERS", message))
    return found
