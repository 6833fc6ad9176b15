"""Intervals hold what they say: on simulated data they cover the truth as often as stated."""

import numpy as np
import pytest
from sartor_evaluation.estimates import Estimate, Verdict, in_words, items_needed, t_quantile, verdict
from sartor_evaluation.metrics.labels import macro_f1
from sartor_evaluation.metrics.sums import ratio
from sartor_evaluation.statistics import difference, estimate, resample


def _rows(values):
    return np.column_stack([np.asarray(values, dtype=float), np.ones(len(values))])


def test_the_interval_of_a_mean_covers_the_truth_95_times_in_100():
    """400 samples of 30 skewed values: between 92 and 98 of 100 intervals hold the true mean."""
    generator = np.random.default_rng(1)
    resamples = resample([str(i) for i in range(30)], resamples=1000)
    covered = 0
    for _ in range(400):
        found = estimate(_rows(generator.beta(2, 3, size=30)), ratio, resamples)
        covered += found.lower <= 0.4 <= found.upper
    assert 0.92 <= covered / 400 <= 0.98


def test_clusters_that_are_ignored_make_intervals_too_narrow_and_counted_right():
    """Five copies of each of 12 items are 12 items: the clustered interval is about sqrt(5) times as wide."""
    values = np.repeat(np.random.default_rng(2).random(12), 5)
    clustered = estimate(_rows(values), ratio, resample([str(i // 5) for i in range(60)]))
    naive = estimate(_rows(values), ratio, resample([str(i) for i in range(60)]))
    assert clustered.clusters == 12
    assert 1.9 < clustered.half_width / naive.half_width < 2.8


def test_a_paired_difference_is_tighter_than_two_scores_apart():
    """Hard items are hard for both: what is common cancels."""
    generator = np.random.default_rng(3)
    hard = generator.random(50)
    ours, theirs = _rows(hard * 0.8 + 0.15), _rows(hard * 0.8 + 0.1 + generator.normal(0, 0.01, 50))
    resamples = resample([str(i) for i in range(50)])
    paired = difference(ours, theirs, ratio, resamples)
    assert paired.half_width < estimate(ours, ratio, resamples).half_width / 5
    assert paired.lower > 0
    assert verdict(paired, higher_is_better=True) is Verdict.BETTER
    assert verdict(paired, higher_is_better=False) is Verdict.WORSE


def test_no_true_difference_is_called_one_about_five_times_in_100():
    """The false alarm rate of the paired verdict, 400 experiments of 40 items."""
    generator = np.random.default_rng(4)
    resamples = resample([str(i) for i in range(40)], resamples=1000)
    alarms = 0
    for _ in range(400):
        both = generator.random((2, 40)) < 0.6
        found = difference(_rows(both[0]), _rows(both[1]), ratio, resamples)
        alarms += verdict(found, higher_is_better=True) is not Verdict.CANNOT_TELL
    assert alarms / 400 <= 0.08


def test_all_right_is_not_certainty():
    """20 of 20: the lower end is the exact binomial one, 83 %."""
    found = estimate(_rows([1.0] * 20), ratio, resample([str(i) for i in range(20)]))
    assert (found.value, found.upper) == (1.0, 1.0)
    assert found.lower == pytest.approx(0.8316, abs=1e-3)


def test_one_item_says_nothing():
    """The interval is unbounded, so no rule on an end of it can pass."""
    found = estimate(_rows([0.7]), ratio, resample(["a"]))
    assert (found.lower, found.upper) == (-np.inf, np.inf)
    assert "rough guide" in in_words(found, higher_is_better=True)


def test_the_bootstrap_serves_macro_averages_too():
    """Rows are one-hot true positives, false positives and false negatives."""
    rows = np.zeros((40, 6))
    rows[:20, 0] = 1
    rows[20:30, 1] = 1
    rows[30:, 2] = rows[30:, 5] = 1
    found = estimate(rows, macro_f1, resample([str(i) for i in range(40)]))
    assert found.value == pytest.approx((2 * 20 / 50 + 2 * 10 / 30) / 2)
    assert found.lower < found.value < found.upper


def test_t_quantiles_are_those_of_the_tables():
    """Against the printed values for 5, 10 and 30 degrees of freedom."""
    for freedom, expected in ((5, 2.571), (10, 2.228), (30, 2.042)):
        assert t_quantile(0.975, freedom) == pytest.approx(expected, rel=0.01)


def test_cannot_tell_says_how_many_items_would_do():
    """The half width is four times the difference: about sixteen times the items are needed."""
    found = Estimate(value=0.05, lower=-0.15, upper=0.25, items=40, clusters=40)
    assert items_needed(found) == pytest.approx(704, rel=0.01)
    assert in_words(found, higher_is_better=True) == "cannot tell with 40 items; about 710 would do"


def test_pairs_of_other_items_are_refused():
    """A difference of different items is no paired difference."""
    with pytest.raises(ValueError, match="same items"):
        difference(_rows([1, 0]), _rows([1]), ratio, resample(["a", "b"]))
