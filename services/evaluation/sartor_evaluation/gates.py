"""Gates: rules that a new model version must pass, each kept with the numbers that decided."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

from sartor_evaluation.cost_suites import clients_of
from sartor_evaluation.estimates import CONFIDENCE, Estimate, holm
from sartor_evaluation.metrics.catalogue import Better, known_metrics, metrics

SLICE_FIELDS_MAY_BE_ANY = "language, label, source, length, kind or an attribute of the items"


class Baseline(StrEnum):
    """With what a rule compares the new version."""

    NOTHING = "nothing"
    BASE = "base"
    PROMPTED = "prompted"
    LIVE = "live"
    MAJORITY = "majority"


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
    slice: str = ""
    """"field=value", or "field" for every value with enough items."""
    not_worse_by: float | None = None
    """Non-inferiority margin, in the metric's own direction."""


FORGETTING = Rule("choice_accuracy", "general", Baseline.BASE, -0.1, None, Bound.POINT)
"""Holds where a gate has no rule of its own on the general suite."""


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
    """Where a gate finds its numbers. A `part` is a slice, "language=de"."""

    def score(self, suite: str, metric: str, candidate: str, part: str = "") -> Estimate | None:
        """The metric of a candidate, None where it was not measured."""
        ...

    def difference(
        self, suite: str, metric: str, candidate: str, baseline: str, part: str = ""
    ) -> Estimate | None:
        """Candidate minus baseline on the same items, None where it was not measured."""
        ...

    def parts(self, suite: str, field: str) -> list[str]:
        """The parts of a field that have enough items."""
        ...

    def failed(self, suite: str, candidate: str) -> int:
        """How many items have no answer."""
        ...


def nothing_live(rule: Rule) -> RuleResult:
    """A rule about the live model, where there is none yet: it is no hindrance to the first one."""
    why = f"{_subject(rule)}: nothing is live yet, so there is nothing to be worse than"
    return RuleResult(rule, True, math.nan, None, why)


def with_forgetting(rules: Sequence[Rule], general_suite: str) -> list[Rule]:
    """The rules, and FORGETTING where the general suite is asked and no rule is about it."""
    if general_suite == "none" or any(rule.suite == "general" for rule in rules):
        return list(rules)
    return [*rules, FORGETTING]


def faults(
    rules: Sequence[Rule], *, general_suite: str = "", suites: Sequence[str] = ()
) -> Mapping[str, str]:
    """What is wrong with the rules, all of it: path of the field -> what to do. Empty if nothing is."""
    found: dict[str, str] = {}
    if not rules:
        found["rules"] = "is empty: a gate without a rule would let everything pass; give at least one"
    for index, rule in enumerate(rules):
        for name, text in _rule_faults(rule, general_suite, suites):
            found[f"rules[{index}]{name}"] = text
    return found


def _rule_faults(rule: Rule, general_suite: str, suites: Sequence[str]) -> Iterable[tuple[str, str]]:
    known = metrics().get(rule.metric)
    if known is None:
        yield ".metric", f"{rule.metric!r} is no metric; known are {known_metrics()}"
    if rule.suite not in ("held_out", "general", *suites) and clients_of(rule.suite) is None:
        named = "".join(f", {suite}" for suite in suites)
        yield ".suite", f"is {rule.suite!r}; known are held_out and general{named}, and cost_8 for 8 clients"
    elif rule.suite == "general" and general_suite == "none":
        yield ".suite", "is general, but the gate's general_suite is none; set it to builtin"
    if rule.suite == "general" and rule.compared_to is Baseline.PROMPTED:
        yield ".compared_to", "is prompted, but the general suite is asked without examples; use base"
    limits = (rule.at_least, rule.at_most, rule.not_worse_by)
    if all(limit is None for limit in limits):
        yield "", "sets neither at_least nor at_most; set one, or not_worse_by"
    if any(limit is not None and not math.isfinite(limit) for limit in limits):
        yield "", "has a limit that is not a finite number"
    if rule.not_worse_by is not None:
        if rule.compared_to is Baseline.NOTHING:
            yield ".not_worse_by", "needs something to compare with; set compared_to to base or prompted"
        elif rule.not_worse_by < 0:
            yield ".not_worse_by", "is negative; give how much worse would still do"
        elif known is not None and known.better is Better.NEITHER:
            yield ".not_worse_by", f"says nothing: neither more nor less {rule.metric} is better"
    field, mark, value = rule.slice.partition("=")
    if rule.slice and (not field or (mark and not value)):
        yield ".slice", f"is {rule.slice!r}; write field=value or field, with {SLICE_FIELDS_MAY_BE_ANY}"


def judge(
    rules: Sequence[Rule], findings: Findings, *, candidate: str = "tuned", correction: str = "none"
) -> GateVerdict:
    """Apply every rule. A rule that could not be measured does not pass: silence is no approval.

    Args:
        correction: "holm" lets every rule's statement hold for all together.
    """
    each = [one for rule in rules for one in _for_every_part(rule, findings)]
    results = [_apply(rule, findings, candidate) for rule in each]
    if correction == "holm":
        results = _corrected(results)
    return GateVerdict(bool(results) and all(result.passed for result in results), tuple(results))


def _for_every_part(rule: Rule, findings: Findings) -> list[Rule]:
    if not rule.slice or "=" in rule.slice:
        return [rule]
    parts = findings.parts(rule.suite, rule.slice)
    return [replace(rule, slice=part) for part in parts] or [rule]


def _apply(rule: Rule, findings: Findings, candidate: str) -> RuleResult:
    if rule.compared_to is Baseline.NOTHING:
        estimate = findings.score(rule.suite, rule.metric, candidate, rule.slice)
    else:
        baseline = rule.compared_to.value
        estimate = findings.difference(rule.suite, rule.metric, candidate, baseline, rule.slice)
    if estimate is None or not math.isfinite(estimate.value):
        where = f"no part {rule.slice} with enough items" if rule.slice else "no items that it applies to"
        why = f"{_subject(rule)} could not be measured: the {rule.suite} suite has {where}"
        return RuleResult(rule, False, math.nan, None, why)
    if failed := findings.failed(rule.suite, candidate):
        why = f"{_subject(rule)} is not known: {failed} items of the {rule.suite} suite have no answer"
        return RuleResult(rule, False, math.nan, estimate, why)
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
    chance: float | None
    """One-sided p value of the statement; None for one about the estimate itself."""


def _checks(rule: Rule, estimate: Estimate) -> list[_Check]:
    """One check for each limit that is set. A NaN holds nothing."""
    at_least, at_most = rule.at_least, rule.at_most
    if rule.not_worse_by is not None:
        if metrics()[rule.metric].better is Better.LOWER:
            at_most = rule.not_worse_by
        else:
            at_least = -rule.not_worse_by
    ends = {Bound.LOWER: estimate.lower, Bound.UPPER: estimate.upper, Bound.POINT: estimate.value}
    checks = []
    if at_least is not None:
        bound = rule.bound or Bound.LOWER
        chance = estimate.chance_below(at_least) if bound is Bound.LOWER else None
        holds = ends[bound] >= at_least
        checks.append(_Check(ends[bound], bound, f"at least {at_least:g}", holds, chance))
    if at_most is not None:
        bound = rule.bound or Bound.UPPER
        chance = 1 - estimate.chance_below(at_most) if bound is Bound.UPPER else None
        checks.append(_Check(ends[bound], bound, f"at most {at_most:g}", ends[bound] <= at_most, chance))
    return checks


def _corrected(results: Sequence[RuleResult]) -> list[RuleResult]:
    """Holm over all statements about an end of an interval; a rule passes if it also does so corrected."""
    chances: list[tuple[int, float]] = []
    for index, result in enumerate(results):
        if result.estimate is not None:
            found = [check.chance for check in _checks(result.rule, result.estimate)]
            chances += [(index, chance) for chance in found if chance is not None]
    level = (1 - CONFIDENCE) / 2
    corrected = list(results)
    for (index, _), adjusted in zip(chances, holm([chance for _, chance in chances]), strict=True):
        result = corrected[index]
        if result.passed and adjusted > level:
            text = f"{result.explanation}; but not after Holm's correction for {len(chances)} statements"
            corrected[index] = replace(result, passed=False, explanation=text)
    return corrected


def _subject(rule: Rule) -> str:
    title = metrics()[rule.metric].title if rule.metric in metrics() else rule.metric
    where = "" if rule.suite == "held_out" else f" of the {rule.suite} suite"
    part = f" where {rule.slice.replace('=', ' is ')}" if rule.slice else ""
    against = {
        "nothing": "",
        "base": " minus the base model's",
        "prompted": " minus the best prompt's",
        "live": " minus the live model's",
        "majority": " minus that of the most frequent answer",
    }
    return f"{title}{where}{part}{against[rule.compared_to.value]}"


def _explain(rule: Rule, estimate: Estimate, check: _Check) -> str:
    digits = metrics()[rule.metric].digits
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
        "slice": rule.slice,
        "not_worse_by": rule.not_worse_by,
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
        slice=value.get("slice", ""),
        not_worse_by=value.get("not_worse_by"),
    )
