import itertools

import jax
import numpy as np
import pytest
from scipy import stats

from jaxval import evaluation


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_stability_is_the_mean_of_all_pairs(rng):
    runs = rng.normal(size=(3, 10))
    expected = np.mean(
        [stats.spearmanr(a, b).statistic for a, b in itertools.combinations(runs, 2)]
    )
    np.testing.assert_allclose(evaluation.rank_stability(runs), expected, rtol=1e-12)


def test_reliability_of_a_noisy_truth(key, rng):
    truth = rng.normal(size=200)
    # Signal 1, noise 4 a run: halves of four runs correlate at 1 / (1 + 1) in theory.
    runs = truth + 2 * rng.normal(size=(8, 200))
    found = evaluation.split_half_reliability(key, runs)
    assert abs(found.half - 0.5) < 5 * 0.06
    np.testing.assert_allclose(found.full, 2 * found.half / (1 + found.half))
    reached = evaluation.pearson(truth, runs.mean(0)).value
    assert abs(reached - found.ceiling) < 0.15


def test_reliability_of_two_runs_that_disagree(key):
    runs = np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
    found = evaluation.split_half_reliability(key, runs)
    assert found.half == -1.0
    assert np.isnan(found.ceiling)


def test_a_constant_half_leaves_the_other_splits(key):
    runs = np.array(
        [[0.1, 0.1, 0.1], [0.1, 0.1, 0.1], [0.1, 0.2, 0.3], [0.1, 0.3, 0.2]]
    )
    found = evaluation.split_half_reliability(key, runs)
    # Of the three ways to halve four runs one puts the constant ones together.
    assert found.num_splits == 2
    np.testing.assert_allclose(
        found.half, evaluation.pearson(runs[2], runs[3]).value, rtol=1e-12
    )
    flat = evaluation.split_half_reliability(key, np.ones((4, 3)))
    assert np.isnan(flat.half)
    assert flat.num_splits == 0


@pytest.mark.parametrize(("runs", "splits"), [(2, 1), (3, 3), (4, 3), (5, 15), (8, 35)])
def test_few_runs_are_split_in_all_ways(rng, runs, splits):
    values = rng.normal(size=12) + rng.normal(size=(runs, 12))
    a, b = (
        evaluation.split_half_reliability(jax.random.key(i), values) for i in (0, 1)
    )
    assert a == b
    assert a.num_splits == splits


def test_odd_runs_are_stepped_up_to_all_of_them(key, rng):
    # Signal 1, noise 1 a run: one run correlates with another at 1/2, and the mean of
    # three has reliability 1 / (1 + 1/3).
    truth = rng.normal(size=20_000)
    found = evaluation.split_half_reliability(key, truth + rng.normal(size=(3, 20_000)))
    assert abs(found.half - 0.5) < 0.02
    assert abs(found.full - 0.75) < 0.02
