"""The report as JSON: everything that was found, in a form that other programs and the report page read."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sartor_evaluation.estimates import CONFIDENCE, Estimate
from sartor_evaluation.findings import ComparisonLine, Findings, ScoreLine
from sartor_evaluation.gates import GateVerdict, RuleResult, rule_to_json
from sartor_evaluation.items import Item, Outcome
from sartor_evaluation.metrics.catalogue import metrics
from sartor_evaluation.metrics.compute import item_loss, item_score
from sartor_evaluation.metrics.labels import per_class
from sartor_evaluation.run import Answered

SCHEMA_VERSION = 1
_SHOWN_ITEMS = 12


@dataclass(frozen=True, slots=True)
class Report:
    """What a report is made of. `about` names the evaluation and what it was made under."""

    about: Mapping[str, str]
    answered: Sequence[Answered]
    table: Mapping[str, Mapping[str, Sequence[Outcome]]]
    findings: Findings
    verdict: GateVerdict | None
    too_long: Sequence[str]
    seconds: float
    overlap: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """Values that `json.dumps` takes without NaN or infinity: what is not finite is null."""
        return {
            "schema_version": SCHEMA_VERSION,
            "about": dict(self.about),
            "confidence": CONFIDENCE,
            "seconds": round(self.seconds, 1),
            "candidates": [_candidate(one) for one in self.answered],
            "suites": {suite: _suite(by_candidate) for suite, by_candidate in self.table.items()},
            "metrics": metrics_json(dict.fromkeys(line.metric for line in self.findings.scores)),
            "scores": [score_json(line) for line in self.findings.scores],
            "comparisons": [comparison_json(line) for line in self.findings.comparisons],
            "slices": [_with_estimate(line, "estimate") for line in self.findings.slices],
            "verdict": None if self.verdict is None else verdict_json(self.verdict),
            "items_too_long": list(self.too_long),
            "notes": list(self.notes),
            "training_overlap": {suite: list(ids) for suite, ids in self.overlap.items()},
            "asked": {one.candidate.candidate_id: one.asked for one in self.answered},
            "failures": {suite: _failures(by_candidate) for suite, by_candidate in self.table.items()},
            "classes": {suite: _classes(by_candidate) for suite, by_candidate in self.table.items()},
            "examples": {suite: _examples(by_candidate) for suite, by_candidate in self.table.items()},
        }


def metrics_json(names: Iterable[str]) -> dict[str, Any]:
    """What a reader needs to know of each metric."""
    return {
        name: {
            "title": metrics()[name].title,
            "explanation": metrics()[name].explanation,
            "better": metrics()[name].better.value,
            "digits": metrics()[name].digits,
            "highest": metrics()[name].highest,
        }
        for name in names
    }


def score_json(line: ScoreLine) -> dict[str, Any]:
    """A score with its interval."""
    return _with_estimate(line, "estimate")


def estimate_json(estimate: Estimate | None) -> dict[str, Any] | None:
    """An estimate; ends that are not finite are null."""
    if estimate is None:
        return None
    return {key: _finite(value) for key, value in asdict(estimate).items()}


def comparison_json(line: ComparisonLine) -> dict[str, Any]:
    """A paired difference with how sure it is."""
    return {
        **_with_estimate(line, "difference"),
        "p_value": _finite(line.difference.p_value),
        "minimum_detectable_effect": _finite(line.difference.minimum_detectable_effect),
    }


def verdict_json(verdict: GateVerdict) -> dict[str, Any]:
    """A gate's verdict with every rule's numbers."""
    return {"passed": verdict.passed, "rules": [_rule_result(result) for result in verdict.rules]}


def _rule_result(result: RuleResult) -> dict[str, Any]:
    return {
        "rule": rule_to_json(result.rule),
        "passed": result.passed,
        "observed": _finite(result.observed),
        "estimate": estimate_json(result.estimate),
        "explanation": result.explanation,
    }


def _candidate(answered: Answered) -> dict[str, Any]:
    found = answered.found
    tried = [] if found is None else found.tried
    return {
        "id": answered.candidate.candidate_id,
        "model": answered.candidate.model.name,
        "tuned": getattr(answered.candidate.model, "version", None) is not None,
        "prompt": {
            "shots": answered.prompt.shots,
            "choice": answered.prompt.choice.value if answered.prompt.shots else "",
            "description": answered.prompt.description,
            "name": answered.prompt.name,
        },
        "search": None
        if found is None
        else {
            "items": found.items,
            "tried": [
                {
                    "description": one.prompt.description,
                    "shots": one.prompt.shots,
                    "choice": one.prompt.choice.value,
                    "loss": _finite(one.loss),
                    "score": one.score,
                }
                for one in tried
            ],
        },
    }


def _suite(by_candidate: Mapping[str, Sequence[Outcome]]) -> dict[str, Any]:
    items = [outcome.item for outcome in next(iter(by_candidate.values()))]
    return {
        "items": len(items),
        "clusters": len({item.cluster for item in items}),
        "languages": _counts(item.language or "unknown" for item in items),
        "kinds": _counts(item.kind.value for item in items),
        "candidates": list(by_candidate),
    }


def _examples(by_candidate: Mapping[str, Sequence[Outcome]]) -> dict[str, list[dict[str, Any]]]:
    """Items to look at: where the last candidate does worst, and where it differs most from the first."""
    names = list(by_candidate)
    last, first = by_candidate[names[-1]], by_candidate[names[0]]
    worst = sorted(range(len(last)), key=lambda i: (item_score(last[i]), -item_loss(last[i])))
    gains = [item_score(ours) - item_score(theirs) for ours, theirs in zip(last, first, strict=True)]
    ordered = sorted(range(len(gains)), key=gains.__getitem__)
    picked = {
        "worst": worst[:_SHOWN_ITEMS],
        "gained": [i for i in reversed(ordered) if gains[i] > 0][: _SHOWN_ITEMS // 2],
        "lost": [i for i in ordered if gains[i] < 0][: _SHOWN_ITEMS // 2],
    }
    return {
        kind: [_example(last[i].item, {name: by_candidate[name][i] for name in names}) for i in positions]
        for kind, positions in picked.items()
    }


def _example(item: Item, outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    return {
        "item_id": item.item_id,
        "question": item.question,
        "reference": item.reference,
        "language": item.language,
        "label": item.label,
        "answers": [
            {
                "candidate": name,
                "answer": outcome.failure or (outcome.chosen if outcome.answer is None else outcome.answer),
                "score": item_score(outcome),
                "loss": _finite(item_loss(outcome)),
            }
            for name, outcome in outcomes.items()
        ],
    }


def _with_estimate(line: Any, field: str) -> dict[str, Any]:
    return {
        **{k: v for k, v in asdict(line).items() if k != field},
        field: estimate_json(getattr(line, field)),
    }


def _failures(by_candidate: Mapping[str, Sequence[Outcome]]) -> dict[str, dict[str, int]]:
    """candidate -> why -> how often, for those who failed at something."""
    found = {
        name: _counts(o.failure for o in outcomes if o.failure) for name, outcomes in by_candidate.items()
    }
    return {name: counts for name, counts in found.items() if counts}


def _classes(by_candidate: Mapping[str, Sequence[Outcome]]) -> dict[str, Any]:
    """candidate -> confusion matrix and figures a label, where there are labels."""
    found = {}
    for name, outcomes in by_candidate.items():
        labelled = [o for o in outcomes if metrics()["label_accuracy"].applies(o)]
        if labelled:
            found[name] = per_class(labelled)
    return found


def _counts(values: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return dict(sorted(counts.items()))


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
