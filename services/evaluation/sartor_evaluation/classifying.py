"""Versions that say labels or numbers instead of words, beside models that write: the same items, put to each
in its own way, and the plainest rival of all, who always says what is most frequent.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sartor_models.classifier import Classifier
from sartor_models.errors import ModelError
from sartor_models.output_layer import KINDS, OutputLayer, Prediction
from sartor_models.versions import is_classifier

from sartor_evaluation.asking import Forced
from sartor_evaluation.gates import Baseline, Bound, Rule, rule_to_json
from sartor_evaluation.items import GENERAL, HELD_OUT, NO_LABEL, SEPARATOR, Item, ItemKind, Outcome, failed
from sartor_evaluation.prompts import Prompt
from sartor_evaluation.suites import UnusableItems

SINGLE, SEVERAL, NUMBER = KINDS
MAJORITY = "majority"
NOT_LABELLED = "it has no label, and this candidate says nothing else"
_LEAST_SHARE = 1e-6
_ACCURATE = Rule("label_accuracy", HELD_OUT, Baseline.MAJORITY, 0.0, None, Bound.POINT)
_NEAR = Rule("mean_absolute_error", HELD_OUT, Baseline.MAJORITY, None, 0.0, Bound.POINT)
_BETTER_THAN_GUESSING = {SINGLE: _ACCURATE, SEVERAL: _ACCURATE, NUMBER: _NEAR}
_ASKED = (ItemKind.LABEL, ItemKind.LABELS, ItemKind.NUMBER)


def classifier_kind(versions: Iterable[Path | None]) -> str:
    """What the output layers among these versions say: one of KINDS, or "" where all write text.

    Raises:
        ModelError: CLASSIFIERS_DIFFER, two of them say different things.
    """
    layers = [OutputLayer.load(version) for version in versions if version and is_classifier(version)]
    kinds = {layer.kind for layer in layers}
    if len(kinds) > 1:
        raise ModelError(
            f"The candidates' output layers say different things ({', '.join(sorted(kinds))}); evaluate "
            "those apart that do not answer the same question.",
            reason="CLASSIFIERS_DIFFER",
        )
    return kinds.pop() if kinds else ""


def items_for(kind: str, items: Sequence[Item], labels: Sequence[str]) -> list[Item]:
    """The labelled ones of `items`, as a classifier of `kind` understands them.

    Args:
        labels: all that occur in the data, as they came in.
    """
    labelled = [item for item in items if item.kind is ItemKind.LABEL]
    if kind == SEVERAL:
        single = tuple(sorted({part for label in labels for part in _parts(label)}))
        return [
            replace(
                item,
                kind=ItemKind.LABELS,
                reference=SEPARATOR.join(_parts(item.label)) or NO_LABEL,
                choices=single,
            )
            for item in labelled
        ]
    if kind == NUMBER:
        numbers = (item for item in labelled if _is_number(item.label))
        return [
            replace(item, kind=ItemKind.NUMBER, reference=item.label.strip(), choices=()) for item in numbers
        ]
    return labelled


def labels_as_written(items: Iterable[Item]) -> dict[str, str]:
    """label → how the data writes it out, over labelled items."""
    return {item.label: item.reference for item in items if item.kind is ItemKind.LABEL}


def rival_task(kind: str, task: Mapping[str, Any]) -> dict[str, Any]:
    """The task of evaluating a classifier: with the candidate MAJORITY before the last one, which a gate's
    last one must be better than, and without rules about the general suite, whose questions a model without
    words cannot be asked.
    """
    *others, last = task["candidates"]
    rival = {"id": MAJORITY, "model": MAJORITY, "shots": 0}
    rules = [rule for rule in task["rules"] if rule["suite"] != GENERAL]
    if task["rules"] and not any(rule["compared_to"] == MAJORITY for rule in rules):
        rules.append(rule_to_json(_BETTER_THAN_GUESSING[kind]))
    return {**task, "candidates": [*others, rival, last], "rules": rules}


class SaysLabels:
    """A candidate that says labels or numbers only."""

    def takes(self, items: Sequence[Item]) -> bool:
        """Whether it has anything to say of these."""
        return any(item.kind in _ASKED for item in items)


class Classifies(SaysLabels):
    """A classifier as a candidate; see run.OpenModel. Prompts and examples mean nothing to it.

    Args:
        written: label → the choice of an item that means it, where the data writes labels out.
    """

    def __init__(self, load: Callable[[], Classifier], written: Mapping[str, str]) -> None:
        self._load, self._written = load, written
        self.forced: dict[str, Forced] = {}
        self.asked = 0

    def outcomes(
        self,
        items: Sequence[Item],
        prompt: Prompt,
        *,
        generate: bool = True,
        progress: Callable[[float], None] = lambda fraction: None,
    ) -> list[Outcome]:
        """As Answers.outcomes; what has no label has failed."""
        self.forced = {}
        known = [item for item in items if item.kind in _ASKED]
        said = iter(self._load().predict([item.subject for item in known], progress=progress))
        self.asked += len(known)
        return [
            self._outcome(item, next(said)) if item.kind in _ASKED else failed(item, NOT_LABELLED)
            for item in items
        ]

    def labelled(self, items: Sequence[Item]) -> list[Item]:
        """Items of a client as this classifier understands them.

        Raises:
            UnusableItems: one has no label, or one that is no number where numbers are said.
        """
        layer = self._load().layer
        found = items_for(layer.kind, items, layer.labels)
        if missing := {item.item_id for item in items} - {item.item_id for item in found}:
            what = "a number as its label" if layer.kind == NUMBER else "a label"
            shown = ", ".join(sorted(missing)[:5])
            raise UnusableItems(f"this version says labels or numbers only: give each item {what} ({shown})")
        return found

    def _outcome(self, item: Item, said: Prediction) -> Outcome:
        if item.kind is ItemKind.NUMBER:
            return Outcome(item, None if said.value is None else f"{said.value:.6g}", 0.0, 0)
        if item.kind is ItemKind.LABELS:
            shares = tuple(said.probabilities.get(choice, 0.0) for choice in item.choices)
            return Outcome(item, SEPARATOR.join(said.labels) or NO_LABEL, 0.0, 0, label_shares=shares)
        by_choice = {self._written.get(name, name): share for name, share in said.probabilities.items()}
        losses = tuple(-math.log(max(by_choice.get(c, 0.0), _LEAST_SHARE)) for c in item.choices)
        likeliest = min(range(len(losses)), key=losses.__getitem__)
        return Outcome(item, item.choices[likeliest], 0.0, 0, choice_losses=losses, truncated=said.truncated)


@dataclass(frozen=True, slots=True, eq=False)
class MostFrequent:
    """A candidate that reads nothing: the training split's most frequent label, of several labels each that
    more than half have, of numbers the mean. Who is no better has learned nothing.
    """

    items: tuple[Item, ...]
    name: str = "the most frequent label"


class SaysMostFrequent(SaysLabels):
    """`MostFrequent`, opened; see run.OpenModel."""

    def __init__(self, given: MostFrequent) -> None:
        self._items = given.items
        self.forced: dict[str, Forced] = {}
        self.asked = 0

    def outcomes(
        self,
        items: Sequence[Item],
        prompt: Prompt,
        *,
        generate: bool = True,
        progress: Callable[[float], None] = lambda fraction: None,
    ) -> list[Outcome]:
        """As Answers.outcomes."""
        progress(1.0)
        return [self._outcome(item) for item in items]

    def _outcome(self, item: Item) -> Outcome:
        alike = [other for other in self._items if other.kind is item.kind]
        if item.kind not in _ASKED or not alike:
            return failed(item, NOT_LABELLED)
        if item.kind is ItemKind.NUMBER:
            mean = math.fsum(float(other.reference) for other in alike) / len(alike)
            return Outcome(item, f"{mean:.6g}", 0.0, 0)
        counts = Counter(label for other in alike for label in other.wanted_labels)
        if item.kind is ItemKind.LABELS:
            shares = tuple(counts[choice] / len(alike) for choice in item.choices)
            named = [c for c, share in zip(item.choices, shares, strict=True) if share > 0.5]
            return Outcome(item, SEPARATOR.join(named) or NO_LABEL, 0.0, 0, label_shares=shares)
        found = [max(counts[choice] / len(alike), _LEAST_SHARE) for choice in item.choices]
        best = item.choices[max(range(len(found)), key=found.__getitem__)]
        return Outcome(item, best, 0.0, 0, choice_losses=tuple(-math.log(share) for share in found))


def _parts(label: str) -> list[str]:
    return sorted({part.strip() for part in label.split(SEPARATOR) if part.strip()})


def _is_number(label: str) -> bool:
    try:
        return math.isfinite(float(label))
    except ValueError:
        return False
