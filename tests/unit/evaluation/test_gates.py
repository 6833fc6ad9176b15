"""A gate passes only what its rules say, and keeps the numbers that decided."""

import math

import pytest
from sartor_evaluation.estimates import Estimate
from sartor_evaluation.gates import Baseline, Bound, Rule, faults, judge, with_forgetting


class _Findings:
    def __init__(self, value=None, change=None, parts=(), failed=0):
        self._value, self._change = value, change
        self._parts, self._failed = parts, failed

    def score(self, suite, metric, candidate, part=""):
        return self._value

    def difference(self, suite, metric, candidate, baseline, part=""):
        return self._change[part] if isinstance(self._change, dict) else self._change

    def parts(self, suite, field):
        return list(self._parts)

    def failed(self, suite, candidate):
        return self._failed


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


def test_a_rule_on_the_general_suite_needs_one():
    """Where the gate turned it off there is nothing to measure; by default there is."""
    rule = _rule(suite="general")
    assert "set it to builtin" in faults([rule], general_suite="none")["rules[0].suite"]
    assert not faults([rule])


def test_forgetting_blocks_unless_a_rule_of_ones_own_or_none_is_said():
    """Without being asked a gate has a bound on the general suite."""
    [own, added] = with_forgetting([_rule()], "builtin")
    assert (own, added.suite, added.at_least) == (_rule(), "general", -0.1)
    assert with_forgetting([_rule()], "none") == [_rule()]
    assert with_forgetting([_rule(suite="general")], "") == [_rule(suite="general")]
    forgot = _Findings(change=_estimate(-0.15, -0.3, 0.0))
    assert not judge([added], forgot).passed


def test_not_worse_by_follows_the_metrics_direction():
    """Half a point less is allowed of a score, half a nat more of a loss; and only where that is sure."""
    score = Rule("token_f1", "held_out", Baseline.BASE, None, None, None, not_worse_by=0.05)
    assert judge([score], _Findings(change=_estimate(-0.01, -0.04, 0.02))).passed
    assert not judge([score], _Findings(change=_estimate(0.01, -0.06, 0.08))).passed
    loss = Rule("loss", "held_out", Baseline.BASE, None, None, None, not_worse_by=0.05)
    assert judge([loss], _Findings(change=_estimate(0.01, -0.3, 0.04))).passed
    assert not judge([loss], _Findings(change=_estimate(0.01, -0.3, 0.06))).passed
    alone = Rule("loss", "held_out", Baseline.NOTHING, None, None, None, not_worse_by=-1.0)
    assert "compare" in faults([alone])["rules[0].not_worse_by"]


def test_a_rule_for_every_part_is_judged_part_by_part():
    """Good on the whole does not make up for bad in German."""
    changes = {"language=de": _estimate(-0.2, -0.3, -0.1), "language=en": _estimate(0.2, 0.1, 0.3)}
    rule = Rule("token_f1", "held_out", Baseline.BASE, 0.0, None, None, slice="language")
    verdict = judge([rule], _Findings(change=changes, parts=list(changes)))
    assert [(one.rule.slice, one.passed) for one in verdict.rules] == [
        ("language=de", False),
        ("language=en", True),
    ]
    assert "where language is de" in verdict.rules[0].explanation
    [missing] = judge([rule], _Findings(change={"language": None})).rules
    assert not missing.passed
    assert "no part language" in missing.explanation


def test_items_without_an_answer_pass_no_rule():
    """Whoever failed at the hard items must not look good on the others."""
    findings = _Findings(change=_estimate(0.3, 0.2, 0.4), failed=2)
    [result] = judge([_rule()], findings).rules
    assert not result.passed
    assert "2 items" in result.explanation


def test_holm_asks_more_of_many_statements():
    """A rule that just holds alone does not among ten; one that surely holds does."""
    barely = Estimate(0.1, 0.001, 0.199, 200, 200, standard_error=0.05)
    surely = Estimate(0.4, 0.3, 0.5, 200, 200, standard_error=0.05)
    assert judge([_rule()], _Findings(change=barely), correction="holm").passed
    assert not judge([_rule()] * 10, _Findings(change=barely), correction="holm").passed
    assert judge([_rule()] * 10, _Findings(change=surely), correction="holm").passed
    assert judge([_rule()] * 10, _Findings(change=barely)).passed
