import numpy as np
import pytest
from scipy import stats

from jaxval import evaluation
from jaxval.evaluation import ranking


def test_order_says_what_breaks_ties():
    values = np.array([0.0, 1.0, 0.0, 0.0])
    assert evaluation.order_descending(values).tolist() == [1, 0, 2, 3]
    second = np.array([0.0, 0.0, 2.0, 1.0])
    assert evaluation.order_descending(values, second).tolist() == [1, 2, 3, 0]


def test_unresolved_neighbours():
    count = evaluation.num_unresolved_neighbours
    assert count(np.array([0.0, 0.0, 1.0]), np.zeros(3)) == 1
    assert count(np.array([0.0, 0.3, 1.0]), np.full(3, 0.2)) == 1


def test_tied_players_are_counted_with_their_second_criterion():
    values = np.array([1.0, 0.0, 1.0, 1.0, 5.0])
    assert evaluation.num_tied(values) == 3
    assert evaluation.num_tied(values, np.array([0.0, 0.0, 0.0, 1.0, 0.0])) == 2
    assert ranking.tie_groups(values).tolist() == [1, 0, 1, 1, 2]


def test_tied_ranks_do_not_follow_the_rows():
    values = np.array([2.0, 1.0, 2.0, 0.0])
    assert evaluation.ranks(values).tolist() == [1, 3, 1, 4]
    assert evaluation.ranks(values[::-1]).tolist() == [4, 1, 3, 1]


@pytest.mark.parametrize("function", [evaluation.ranks, evaluation.mean_ranks])
def test_ranks_of_nan_are_refused(function):
    with pytest.raises(ValueError, match="finite"):
        function(np.array([1.0, np.nan]))


def test_confidence_is_that_of_the_paired_t_test():
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(6, 1)) * 10 + rng.normal(size=(6, 4))
    found = evaluation.prob_greater(draws)
    for i in range(4):
        for j in range(4):
            if i == j:
                assert found[i, j] == 0.5
                continue
            test = stats.ttest_rel(draws[:, i], draws[:, j], alternative="greater")
            np.testing.assert_allclose(found[i, j], 1 - test.pvalue, atol=1e-12)
    assert (evaluation.prob_greater(draws[:1]) == 0.5).all()


def test_rank_ranges_of_what_is_resolved():
    # 0 and 1 are both above 2; nothing is known between 0 and 1.
    chance = np.array([[0.5, 0.8, 0.99], [0.2, 0.5, 0.97], [0.01, 0.03, 0.5]])
    best, worst = evaluation.rank_ranges(chance)
    assert best.tolist() == [1, 1, 3]
    assert worst.tolist() == [2, 2, 3]


def test_who_beats_the_next_agrees_with_the_confidence():
    rng = np.random.default_rng(1)
    draws = np.arange(6) * 0.8 + rng.normal(size=(8, 6))
    chance = evaluation.prob_greater(draws)
    order = evaluation.order_descending(draws.mean(0))
    expected = np.zeros(6, bool)
    expected[order[:-1]] = chance[order[:-1], order[1:]] > 0.95
    np.testing.assert_array_equal(evaluation.beats_next(draws), expected)


def test_tied_means_beat_the_next_alike():
    draws = np.array([[5.0, 5.0, 1.0], [5.1, 5.1, 0.9], [5.2, 5.2, 1.1]])
    assert evaluation.beats_next(draws).tolist() == [True, True, False]
    turned = evaluation.beats_next(draws[:, ::-1])
    assert turned.tolist() == [False, True, True]
    assert not evaluation.beats_next(draws[:1]).any()
