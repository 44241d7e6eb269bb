import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxval import Game, evaluation
from jaxval.evaluation.curves import steps_of


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_ranks_and_correlations_equal_scipys_with_ties(rng):
    x, y = rng.integers(0, 6, 30) * 1.0, rng.normal(size=30)
    np.testing.assert_array_equal(evaluation.mean_ranks(x), stats.rankdata(x))
    np.testing.assert_allclose(
        evaluation.spearman(x, y).value, stats.spearmanr(x, y).statistic, rtol=1e-12
    )
    expected = stats.pearsonr(x, y)
    found = evaluation.pearson(x, y)
    np.testing.assert_allclose(found.value, expected.statistic, rtol=1e-12)
    low, high = expected.confidence_interval(0.95)
    np.testing.assert_allclose((found.low, found.high), (low, high), rtol=1e-6)


def test_correlations_without_meaning():
    flat = evaluation.spearman(np.ones(5), np.arange(5.0))
    assert np.isnan(flat.value)
    assert np.isnan(evaluation.pearson(np.arange(3.0), np.arange(3.0)).low)
    with pytest.raises(ValueError, match="finite"):
        evaluation.pearson(np.array([1.0, np.nan]), np.arange(2.0))


def test_tiny_and_huge_values_correlate():
    x = np.array([1.0, 2.0, 4.0, 3.0])
    want = evaluation.pearson(x, x**2).value
    found = evaluation.pearson(x * 1e-300, x**2 * 1e300).value
    np.testing.assert_allclose(found, want, rtol=1e-12)


def test_fisher_intervals_cover(rng):
    truth, hits = 0.6, 0
    for _ in range(400):
        x = rng.normal(size=20)
        y = truth * x + np.sqrt(1 - truth**2) * rng.normal(size=20)
        found = evaluation.pearson(x, y)
        hits += found.low <= truth <= found.high
    assert abs(hits / 400 - 0.95) < 5 * np.sqrt(0.95 * 0.05 / 400)


def test_bootstrap_interval_holds_the_value(key, rng):
    x = rng.normal(size=40)
    y = x + rng.normal(size=40)
    found = evaluation.bootstrap_interval(key, x, y, num_resamples=200)
    assert found.low < found.value < found.high
    assert found.value == evaluation.spearman(x, y).value


def test_order_says_what_breaks_ties():
    values = np.array([0.0, 1.0, 0.0, 0.0])
    assert evaluation.descending(values).tolist() == [1, 0, 2, 3]
    by = np.array([0.0, 0.0, 2.0, 1.0])
    assert evaluation.descending(values, by).tolist() == [1, 2, 3, 0]


def test_near_ties():
    assert evaluation.near_ties(np.array([0.0, 0.0, 1.0]), np.zeros(3)) == 1
    assert evaluation.near_ties(np.array([0.0, 0.3, 1.0]), np.full(3, 0.2)) == 1


def test_stability_and_overlap(rng):
    runs = rng.normal(size=(3, 10))
    expected = np.mean(
        [stats.spearmanr(a, b).statistic for a, b in itertools.combinations(runs, 2)]
    )
    np.testing.assert_allclose(evaluation.rank_stability(runs), expected, rtol=1e-12)
    assert evaluation.top_overlap(runs[0], runs[0], 3) == 1.0


def test_reliability_of_a_noisy_truth(key, rng):
    truth = rng.normal(size=200)
    # Signal 1, noise 4 a run: halves of four runs correlate at 1 / (1 + 1) in theory.
    runs = truth + 2 * rng.normal(size=(8, 200))
    found = evaluation.split_half_reliability(key, runs)
    assert abs(found.half - 0.5) < 5 * 0.06
    np.testing.assert_allclose(found.whole, 2 * found.half / (1 + found.half))
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
    assert found.splits == 2
    np.testing.assert_allclose(
        found.half, evaluation.pearson(runs[2], runs[3]).value, rtol=1e-12
    )
    flat = evaluation.split_half_reliability(key, np.ones((4, 3)))
    assert np.isnan(flat.half)
    assert flat.splits == 0


@pytest.mark.parametrize(("runs", "splits"), [(2, 1), (3, 3), (4, 3), (5, 15), (8, 35)])
def test_few_runs_are_split_in_all_ways(rng, runs, splits):
    values = rng.normal(size=12) + rng.normal(size=(runs, 12))
    a, b = (
        evaluation.split_half_reliability(jax.random.key(i), values) for i in (0, 1)
    )
    assert a == b
    assert a.splits == splits


def test_odd_runs_are_stepped_up_to_all_of_them(key, rng):
    # Signal 1, noise 1 a run: one run correlates with another at 1/2, and the mean of
    # three has reliability 1 / (1 + 1/3).
    truth = rng.normal(size=20_000)
    found = evaluation.split_half_reliability(key, truth + rng.normal(size=(3, 20_000)))
    assert abs(found.half - 0.5) < 0.02
    assert abs(found.whole - 0.75) < 0.02


def test_ranks_that_all_agree_leave_room_for_chance():
    found = evaluation.spearman(np.arange(4.0), np.arange(4.0) ** 3)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low < 0


def weighted_game(weights):
    weights = jnp.asarray(weights)
    return Game(len(weights), lambda mask: jnp.where(mask, weights, 0.0).sum())


def test_curves_are_scores_of_what_is_left():
    weights = np.array([1.0, 4.0, 2.0])
    game = weighted_game(weights)
    steps = np.arange(4)
    removal = evaluation.removal_curve(game, weights, steps=steps)
    assert removal.scores.tolist() == [7, 3, 1, 0]
    lowest = evaluation.removal_curve(game, weights, highest_first=False, steps=steps)
    assert lowest.scores.tolist() == [7, 6, 4, 0]
    addition = evaluation.addition_curve(game, weights, steps=steps)
    assert addition.scores.tolist() == [0, 4, 6, 7]
    np.testing.assert_allclose(evaluation.area(removal), (5 + 2 + 0.5) / 3)
    np.testing.assert_allclose(evaluation.area_between(lowest, removal), 4.5 - 2.5)


def test_curves_break_ties_as_told():
    game = weighted_game(np.array([1.0, 2.0]))
    zeros, steps = np.zeros(2), np.arange(3)
    first = evaluation.removal_curve(game, zeros, steps=steps)
    other = evaluation.removal_curve(
        game, zeros, tie_break=np.array([0, 1.0]), steps=steps
    )
    assert first.scores.tolist() == [3, 2, 0]
    assert other.scores.tolist() == [3, 1, 0]


def test_bands(rng):
    curves = [evaluation.Curve(np.arange(3), rng.normal(size=3)) for _ in range(5)]
    found = evaluation.band(curves)
    scores = np.array([c.scores for c in curves])
    np.testing.assert_allclose(found.stderr, stats.sem(scores), rtol=1e-12)
    np.testing.assert_allclose(
        evaluation.area(found), np.mean([evaluation.area(c) for c in curves])
    )
    assert np.isnan(evaluation.band(curves[:1]).stderr).all()
    with pytest.raises(ValueError, match="same steps"):
        evaluation.band([curves[0], evaluation.Curve(np.arange(2), np.zeros(2))])


def test_steps():
    assert steps_of(200).tolist() == list(range(0, 201, 10))
    assert steps_of(3, 20).tolist() == [0, 1, 2, 3]
    assert steps_of(100, 5, 0.5).tolist() == [0, 10, 20, 30, 40, 50]


def test_curves_refuse_other_players():
    with pytest.raises(ValueError, match="values must hold"):
        evaluation.removal_curve(weighted_game(np.ones(2)), np.ones(3))


def test_detection_equals_scikit_learns(rng):
    from sklearn import metrics

    values, bad = rng.normal(size=50), rng.random(50) < 0.3
    values[bad] -= 1.0
    found = evaluation.detect(values, bad)
    np.testing.assert_allclose(found.auc, metrics.roc_auc_score(bad, -values))
    np.testing.assert_allclose(
        found.average_precision, metrics.average_precision_score(bad, -values)
    )
    lowest = np.argsort(values)[: bad.sum()]
    called = np.isin(np.arange(50), lowest)
    np.testing.assert_allclose(found.f1, metrics.f1_score(bad, called))
    assert found.recall[-1] == 1.0


def test_detection_counts_ties_half():
    assert (
        evaluation.detect(np.zeros(4), np.array([True, False, False, True])).auc == 0.5
    )


def test_detection_needs_both_kinds():
    with pytest.raises(ValueError, match="both kinds"):
        evaluation.detect(np.zeros(3), np.zeros(3, bool))


def test_two_means_is_the_best_cut(rng):
    values = np.round(rng.normal(size=12), 1)
    cost = lambda low: sum(
        ((values[part] - values[part].mean()) ** 2).sum() for part in (low, ~low)
    )
    best = min(cost(values <= cut) for cut in np.unique(values)[:-1])
    np.testing.assert_allclose(cost(evaluation.two_means(values)), best, rtol=1e-9)
    assert not evaluation.two_means(np.ones(3)).any()


def test_curves_work_on_contributors(key):
    # Players are whatever the game's players are: here three owners of five points.
    owner = jnp.array([0, 0, 1, 2, 2])
    points = jax.random.uniform(key, (5,))
    game = Game(3, lambda mask: jnp.where(mask[owner], points, 0.0).sum())
    curve = evaluation.removal_curve(
        game, np.array([3.0, 1.0, 2.0]), steps=np.arange(4)
    )
    np.testing.assert_allclose(curve.scores[1], points[2:].sum(), rtol=1e-6)
