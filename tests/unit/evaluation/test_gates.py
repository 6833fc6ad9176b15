"""A gate passes only what its rules say, and keeps the numbers that decided."""

import math

import pytest
from sartor_evaluation.estimates import Estimate
from sartor_evaluation.gates import Baseline, Bound, Rule, faults, judge


class _Findings:
    def __init__(self, value=None, change=None):
        self._value, self._change = value, change

    def score(self, suite, metric, candidate):
        return self._value

    def difference(self, suite, metric, candidate, baseline):
        return self._change


def _rule(
    metric="token_f1", suite="held_out", compared_to=Baseline.BASE, at_least=0.0, at_most=None, bound=None
):
    return Rule(metric, suite, compared_to, at_least, at_most, bound)


def _estimate(value, lower, upper):
    return Estimate(value, lower, upper, 60, 60)


def test_the_cautious_end_decides_unless_the_rule_says_otherwise():
    """at_least looks at the lower end: a gain that may be none does not pass; its point would."""
    findings = _Findings(change=_estimate(0.1, -0.02, 0.2))
    assert not judge([_rule()], findings).passed
    assert judge([_rule(bound=Bound.POINT)], findings).passed
    [result] = judge([_rule()], findings).rules
    assert result.observed == -0.02
    assert "the lower end, -0.020, is not at least 0" in result.explanation
    assert "60 items" in result.explanation


def test_at_most_looks_at_the_upper_end():
    """A loss that may rise by more than allowed does not pass."""
    rule = _rule("loss", "general", Baseline.BASE, None, 0.1)
    assert judge([rule], _Findings(change=_estimate(0.02, -0.05, 0.09))).passed
    assert not judge([rule], _Findings(change=_estimate(0.02, -0.05, 0.11))).passed


def test_every_rule_must_pass_and_each_is_kept():
    """One failure stops the version; the others are still listed."""
    findings = _Findings(value=_estimate(0.5, 0.4, 0.6), change=_estimate(0.2, 0.1, 0.3))
    verdict = judge([_rule(), _rule(compared_to=Baseline.NOTHING, at_least=0.55)], findings)
    assert not verdict.passed
    assert [result.passed for result in verdict.rules] == [True, False]


def test_what_was_not_measured_does_not_pass():
    """A suite without labels cannot satisfy a rule on label accuracy, and NaN satisfies nothing."""
    [result] = judge([_rule("label_accuracy")], _Findings()).rules
    assert not result.passed
    assert "could not be measured" in result.explanation
    assert math.isnan(result.observed)
    assert not judge([_rule()], _Findings(change=_estimate(math.nan, math.nan, math.nan))).passed
    assert not judge([_rule()], _Findings(change=_estimate(0.3, math.nan, math.nan))).passed


def test_both_limits_are_checked():
    """Inside both passes, outside either does not, and the failing one is told."""
    rule = _rule(compared_to=Baseline.NOTHING, at_least=0.2, at_most=0.8)
    assert judge([rule], _Findings(value=_estimate(0.5, 0.4, 0.6))).passed
    [result] = judge([rule], _Findings(value=_estimate(0.7, 0.6, 0.9))).rules
    assert not result.passed
    assert "is not at most 0.8" in result.explanation


def test_a_gate_without_rules_lets_nothing_pass():
    """Silence is no approval."""
    assert not judge([], _Findings()).passed


@pytest.mark.parametrize(
    ("rule", "path", "words"),
    [
        (_rule("blue"), "rules[0].metric", "known are token_f1"),
        (_rule(suite="secret"), "rules[0].suite", "held_out and general"),
        (_rule(suite="general"), "rules[0].suite", "names no general_suite"),
        (_rule(at_least=None), "rules[0]", "neither at_least nor at_most"),
        (_rule(at_least=math.nan), "rules[0]", "finite"),
    ],
)
def test_a_faulty_rule_is_told_with_its_path(rule, path, words):
    """The message says what to write instead."""
    found = faults([rule])
    assert words in found[path]


def test_all_faults_are_told_at_once_and_none_where_there_is_none():
    """Also that there are no rules at all."""
    assert len(faults([_rule("blue"), _rule(at_least=None)])) == 2
    assert "rules" in faults([])
    assert faults([_rule()]) == {}
