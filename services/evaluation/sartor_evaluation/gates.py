"""Gates: rules that a new model version must pass, each kept with the numbers that decided. Standard library
only.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from sartor_evaluation.estimates import Estimate
from sartor_evaluation.metrics.catalogue import METRICS, known_metrics


class Baseline(StrEnum):
    """With what a rule compares the new version."""

    NOTHING = "nothing"
    BASE = "base"
    PROMPTED = "prompted"


class Bound(StrEnum):
    """Which figure of the estimate must pass."""

    LOWER = "lower"
    UPPER = "upper"
    POINT = "point"


@dataclass(frozen=True, slots=True)
class Rule:
    """One condition on a metric's value (`compared_to` NOTHING) or on its paired difference, tuned minus
    baseline.
    """

    metric: str
    suite: str
    compared_to: Baseline
    at_least: float | None
    at_most: float | None
    bound: Bound | None
    """None takes the cautious end: LOWER for at_least, UPPER for at_most."""


@dataclass(frozen=True, slots=True)
class RuleResult:
    """A rule with what was found. `observed` is the figure that decided; NaN where there was nothing to
    measure.
    """

    rule: Rule
    passed: bool
    observed: float
    estimate: Estimate | None
    explanation: str


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """What a gate said: it passes if every rule does."""

    passed: bool
    rules: tuple[RuleResult, ...]


class Findings(Protocol):
    """Where a gate finds its numbers."""

    def score(self, suite: str, metric: str, candidate: str) -> Estimate | None:
        """The metric of a candidate, None where it was not measured."""
        ...

    def difference(self, suite: str, metric: str, candidate: str, baseline: str) -> Estimate | None:
        """Candidate minus baseline on the same items, None where it was not measured."""
        ...


def faults(rules: Sequence[Rule], *, general_suite: str = "") -> Mapping[str, str]:
    """What is wrong with the rules, all of it: path of the field -> what to do. Empty if nothing is."""
    found: dict[str, str] = {}
    if not rules:
        found["rules"] = "is empty: a gate without a rule would let everything pass; give at least one"
    for index, rule in enumerate(rules):
        path = f"rules[{index}]"
        if rule.metric not in METRICS:
            found[f"{path}.metric"] = f"{rule.metric!r} is no metric; known are {known_metrics()}"
        if rule.suite not in ("held_out", "general"):
            found[f"{path}.suite"] = f"is {rule.suite!r}; known are held_out and general"
        elif rule.suite == "general" and not general_suite:
            found[f"{path}.suite"] = "is general, but the gate names no general_suite; set it to builtin"
        if rule.suite == "general" and rule.compared_to is Baseline.PROMPTED:
            found[f"{path}.compared_to"] = (
                "is prompted, but the general suite is asked without examples; use base"
            )
        if rule.at_least is None and rule.at_most is None:
            found[path] = "sets neither at_least nor at_most; set one"
        if any(limit is not None and not math.isfinite(limit) for limit in (rule.at_least, rule.at_most)):
            found[path] = "has a limit that is not a finite number"
    return found


def judge(rules: Sequence[Rule], findings: Findings, *, candidate: str = "tuned") -> GateVerdict:
    """Apply every rule. A rule that could not be measured does not pass: silence is no approval."""
    results = tuple(_apply(rule, findings, candidate) for rule in rules)
    return GateVerdict(bool(results) and all(result.passed for result in results), results)


def _apply(rule: Rule, findings: Findings, candidate: str) -> RuleResult:
    if rule.compared_to is Baseline.NOTHING:
        estimate = findings.score(rule.suite, rule.metric, candidate)
    else:
        estimate = findings.difference(rule.suite, rule.metric, candidate, rule.compared_to.value)
    if estimate is None or not math.isfinite(estimate.value):
        why = (
            f"{_subject(rule)} could not be measured: the {rule.suite} suite has no items that it applies to"
        )
        return RuleResult(rule, False, math.nan, None, why)
    checks = _checks(rule, estimate)
    decisive = next((check for check in checks if not check.holds), checks[-1])
    passed = all(check.holds for check in checks)
    return RuleResult(rule, passed, decisive.figure, estimate, _explain(rule, estimate, decisive))


@dataclass(frozen=True, slots=True)
class _Check:
    figure: float
    bound: Bound
    limit: str
    holds: bool


def _checks(rule: Rule, estimate: Estimate) -> list[_Check]:
    """One check for each limit that is set. A NaN holds nothing."""
    ends = {Bound.LOWER: estimate.lower, Bound.UPPER: estimate.upper, Bound.POINT: estimate.value}
    checks = []
    if rule.at_least is not None:
        bound = rule.bound or Bound.LOWER
        checks.append(_Check(ends[bound], bound, f"at least {rule.at_least:g}", ends[bound] >= rule.at_least))
    if rule.at_most is not None:
        bound = rule.bound or Bound.UPPER
        checks.append(_Check(ends[bound], bound, f"at most {rule.at_most:g}", ends[bound] <= rule.at_most))
    return checks


def _subject(rule: Rule) -> str:
    title = METRICS[rule.metric].title if rule.metric in METRICS else rule.metric
    where = " of the general suite" if rule.suite == "general" else ""
    against = {"nothing": "", "base": " minus the base model's", "prompted": " minus the best prompt's"}
    return f"{title}{where}{against[rule.compared_to.value]}"


def _explain(rule: Rule, estimate: Estimate, check: _Check) -> str:
    digits = METRICS[rule.metric].digits
    which = "the estimate" if check.bound is Bound.POINT else f"the {check.bound.value} end"
    return (
        f"{_subject(rule)} is {estimate.value:.{digits}f} (95 % interval {estimate.lower:.{digits}f} to "
        f"{estimate.upper:.{digits}f}, {estimate.items} items); {which}, {check.figure:.{digits}f}, "
        f"{'is' if check.holds else 'is not'} {check.limit}"
    )


def rule_to_json(rule: Rule) -> dict[str, Any]:
    """As it is kept in a standing order's revision and in reports."""
    return {
        "metric": rule.metric,
        "suite": rule.suite,
        "compared_to": rule.compared_to.value,
        "at_least": rule.at_least,
        "at_most": rule.at_most,
        "bound": rule.bound.value if rule.bound else "",
    }


def rule_from_json(value: Mapping[str, Any]) -> Rule:
    """The rule that `rule_to_json` wrote."""
    return Rule(
        metric=value["metric"],
        suite=value["suite"],
        compared_to=Baseline(value["compared_to"]),
        at_least=value["at_least"],
        at_most=value["at_most"],
        bound=Bound(value["bound"]) if value["bound"] else None,
    )
