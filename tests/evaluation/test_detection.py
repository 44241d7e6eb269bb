import itertools

import numpy as np
import pytest

from jaxval import evaluation


@pytest.fixture
def rng():
    return np.random.default_rng(0)


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


def one_order(values, bad, order):
    """Scores of one order of the players, by the definitions."""
    hits = bad[list(order)]
    found, count = np.cumsum(hits), bad.sum()
    precision = found / np.arange(1, len(bad) + 1)
    before = np.flatnonzero(hits)[:, None] < np.flatnonzero(~hits)[None, :]
    return {
        "precision": precision,
        "recall": found / count,
        "auc": before.mean(),
        "average_precision": precision[hits].mean(),
        "f1": 2 * found[count - 1] / (2 * count),
    }


@pytest.mark.parametrize("values", [
    [0, 0, 0, 0, 0], [0, 0, 1, 1, 1], [1, 0, 0, 0, 2], [2, 0, 1, 0, 2], [0, 1, 2, 3, 4],
])  # fmt: skip
@pytest.mark.parametrize("bad", [[0, 1, 0, 1, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 0]])
def test_ties_are_expectations_over_all_orders(values, bad):
    values, bad = np.array(values, float), np.array(bad, bool)
    orders = [
        order
        for order in itertools.permutations(range(5))
        if (np.diff(values[list(order)]) >= 0).all()
    ]
    scores = [one_order(values, bad, order) for order in orders]
    found = evaluation.detect(values, bad)
    for name in scores[0]:
        expected = np.mean([each[name] for each in scores], axis=0)
        np.testing.assert_allclose(getattr(found, name), expected, rtol=1e-12)
    sizes = np.unique(values, return_counts=True)[1]
    assert found.num_tied == sizes[sizes > 1].sum()


def test_the_order_of_rows_decides_nothing(rng):
    values, bad = rng.integers(0, 4, 40) * 1.0, rng.random(40) < 0.3
    first = evaluation.detect(values, bad)
    for _ in range(20):
        order = rng.permutation(40)
        again = evaluation.detect(values[order], bad[order])
        for name in ("f1", "auc", "average_precision", "f1_kmeans", "num_tied"):
            np.testing.assert_allclose(getattr(again, name), getattr(first, name))
        np.testing.assert_allclose(again.recall, first.recall)


def test_values_that_are_all_equal_tell_nothing():
    bad = np.arange(40) < 4
    for order in (bad, bad[::-1]):
        found = evaluation.detect(np.zeros(40), order)
        assert (found.auc, found.f1, found.num_tied) == (0.5, 0.1, 40)


def test_a_tie_break_is_a_second_value():
    bad = np.array([True, False, True, False])
    second = np.array([0.0, 1.0, 0.5, 2.0])
    found = evaluation.detect(np.zeros(4), bad, second)
    assert (found.auc, found.f1, found.num_tied) == (1.0, 1.0, 0)


def test_detection_needs_both_kinds():
    with pytest.raises(ValueError, match="both kinds"):
        evaluation.detect(np.zeros(3), np.zeros(3, bool))


def test_the_threshold_is_the_best_cut(rng):
    values = np.round(rng.normal(size=12), 1)
    cost = lambda low: sum(
        ((values[part] - values[part].mean()) ** 2).sum() for part in (low, ~low)
    )
    best = min(cost(values <= cut) for cut in np.unique(values)[:-1])
    np.testing.assert_allclose(
        cost(evaluation.kmeans_threshold(values)), best, rtol=1e-9
    )
    assert not evaluation.kmeans_threshold(np.ones(3)).any()
