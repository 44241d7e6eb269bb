import numpy as np
import pytest
from scipy import stats

from jaxval import evaluation


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


def test_ranks_that_all_agree_leave_room_for_chance():
    found = evaluation.spearman(np.arange(4.0), np.arange(4.0) ** 3)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low < 0


def test_the_overlap_of_untied_values(rng):
    x = rng.permutation(10)
    assert evaluation.top_overlap(x, x, 3) == evaluation.Overlap(1.0, 0)
    assert evaluation.top_overlap(x, -x, 3) == evaluation.Overlap(0.0, 0)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_ties_at_the_top_are_expectations_over_their_orders(count):
    x = np.array([2.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    y = np.array([1.0, 1.0, 0.0, 3.0, 0.0, 0.0])
    rng = np.random.default_rng(count)

    def top(values):
        return set(np.lexsort((rng.random(6), -values))[:count].tolist())

    shares = [len(top(x) & top(y)) / count for _ in range(20_000)]
    found = evaluation.top_overlap(x, y, count)
    assert abs(found.share - np.mean(shares)) <= 5 * np.std(shares) / 141
    # The rows' order decides nothing.
    turned = evaluation.top_overlap(x[::-1], y[::-1], count)
    assert found == turned
    assert (found.num_tied > 0) == (count != 1)


@pytest.mark.parametrize("count", [0, 4])
def test_a_top_of_no_players_is_refused(count):
    with pytest.raises(ValueError, match="count must be 1 to 3"):
        evaluation.top_overlap(np.arange(3.0), np.arange(3.0), count)
