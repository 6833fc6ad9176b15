"""The stated error rates hold on simulated data: seeded, so the same in every run."""

import math

import numpy as np
import pytest
from sartor_evaluation.comparing import clustered_mean
from sartor_evaluation.estimates import Estimate, holm, items_needed
from sartor_evaluation.metrics.sums import ratio
from sartor_evaluation.statistics import MOST_GROUPS, difference, estimate, resample

TRIALS = 400


def _rows(values):
    return np.stack([values, np.ones(len(values))], axis=1)


def _clustered(generator, clusters, size, effect=0.0):
    """Paired differences whose clusters of `size` items share most of their noise."""
    shared = np.repeat(generator.normal(size=clusters), size)
    return effect + shared + 0.5 * generator.normal(size=clusters * size)


def _names(clusters, size):
    return [f"k{number // size}" for number in range(clusters * size)]


def test_intervals_of_clustered_differences_cover_the_truth():
    """About 95 of 100 intervals hold the true difference; without clusters half would miss it."""
    generator = np.random.default_rng(1)
    covered = naive = 0
    for trial in range(TRIALS):
        values = _clustered(generator, 40, 5, effect=0.3)
        zero = _rows(np.zeros(200))
        found = difference(_rows(values), zero, ratio, resample(_names(40, 5), seed=trial, resamples=600))
        alone = [str(number) for number in range(200)]
        plain = difference(_rows(values), zero, ratio, resample(alone, seed=trial, resamples=600))
        covered += found.lower <= 0.3 <= found.upper
        naive += plain.lower <= 0.3 <= plain.upper
    assert 0.92 <= covered / TRIALS <= 0.98
    assert naive / TRIALS < 0.8


def test_a_difference_that_is_none_is_seldom_called_one():
    """p below 0.05 in about 5 of 100 comparisons of the same model with itself."""
    generator = np.random.default_rng(2)
    drawn = [_clustered(generator, 30, 3).reshape(30, 3) for _ in range(TRIALS)]
    found = [clustered_mean(groups.tolist()) for groups in drawn]
    called = sum(one.p_value < 0.05 for one in found) / TRIALS
    outside = sum(not one.lower <= 0 <= one.upper for one in found) / TRIALS
    assert 0.025 <= called <= 0.08
    assert 0.025 <= outside <= 0.08


def test_of_many_metrics_without_a_difference_seldom_any_is_called_one():
    """Ten independent metrics: uncorrected two in five evaluations err, corrected one in twenty."""
    generator = np.random.default_rng(3)
    plain = corrected = 0
    for _ in range(TRIALS):
        chances = [clustered_mean(generator.normal(size=(40, 1)).tolist()).p_value for _ in range(10)]
        plain += min(chances) < 0.05
        corrected += min(holm(chances)) < 0.05
    assert plain / TRIALS > 0.3
    assert corrected / TRIALS <= 0.075


def test_the_minimum_detectable_effect_is_found_four_times_in_five():
    """A true difference of that size is significant in about 80 of 100 evaluations."""
    generator = np.random.default_rng(4)
    size = clustered_mean(generator.normal(size=(4000, 1)).tolist()).standard_error * math.sqrt(4000 / 60)
    effect = Estimate(0, 0, 0, 60, 60, size).minimum_detectable_effect
    found = [clustered_mean((effect + generator.normal(size=(60, 1))).tolist()) for _ in range(TRIALS)]
    assert 0.74 <= sum(one.lower > 0 for one in found) / TRIALS <= 0.86


def test_non_inferiority_lets_a_worse_model_pass_seldom():
    """At exactly the margin the lower end clears it in 2.5 of 100 evaluations."""
    generator = np.random.default_rng(5)
    margin = 0.2
    found = [clustered_mean((-margin + generator.normal(size=(50, 1))).tolist()) for _ in range(TRIALS)]
    assert sum(one.lower >= -margin for one in found) / TRIALS <= 0.05


def test_random_groups_give_the_intervals_of_single_clusters():
    """More clusters than groups: the same centre, and an error within a tenth of the textbook's."""
    generator = np.random.default_rng(6)
    values = generator.normal(size=20_000)
    found = estimate(_rows(values), ratio, resample([f"i{n}" for n in range(20_000)], resamples=500))
    assert found.value == pytest.approx(values.mean())
    assert found.clusters == MOST_GROUPS
    assert found.standard_error == pytest.approx(values.std() / math.sqrt(20_000), rel=0.1)


def test_both_ways_to_an_interval_agree():
    """The bootstrap of an evaluation and the closed form of CompareEvaluations on the same clusters."""
    generator = np.random.default_rng(7)
    values = _clustered(generator, 60, 4, effect=0.2)
    ours = difference(_rows(values), _rows(np.zeros(240)), ratio, resample(_names(60, 4)))
    closed = clustered_mean(values.reshape(60, 4).tolist())
    assert closed.value == pytest.approx(ours.value)
    assert closed.lower == pytest.approx(ours.lower, abs=0.05)
    assert closed.upper == pytest.approx(ours.upper, abs=0.05)
    assert closed.standard_error == pytest.approx(ours.standard_error, rel=0.1)


def test_as_many_items_as_it_says_are_enough():
    """A verdict that cannot be told with 40 items can with about as many as are named."""
    generator = np.random.default_rng(8)
    few = clustered_mean((0.2 + generator.normal(size=(40, 1))).tolist())
    assert few.lower < 0
    needed = items_needed(Estimate(0.2, 0.2 - 0.32, 0.2 + 0.32, 40, 40))
    found = [clustered_mean((0.2 + generator.normal(size=(needed, 1))).tolist()) for _ in range(100)]
    assert sum(one.lower > 0 for one in found) >= 45


def test_holm_is_the_published_procedure():
    """Holm 1979: the smallest times m, the next times m - 1, never falling."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]
