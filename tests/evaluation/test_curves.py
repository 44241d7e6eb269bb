import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxval import Game, evaluation


@pytest.fixture
def rng():
    return np.random.default_rng(0)


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


def test_a_tie_break_decides():
    game = weighted_game(np.array([1.0, 2.0]))
    zeros, steps = np.zeros(2), np.arange(3)
    second = np.array([0, 1.0])
    curve = evaluation.removal_curve(game, zeros, tie_break=second, steps=steps)
    assert curve.scores.tolist() == [3, 1, 0]
    assert (curve.num_tied, curve.num_orders) == (0, 1)
    lowest = evaluation.removal_curve(
        game, zeros, tie_break=second, steps=steps, highest_first=False
    )
    assert lowest.scores.tolist() == [3, 2, 0]


CURVES = (evaluation.removal_curve, evaluation.addition_curve)


@pytest.mark.parametrize("curve", CURVES)
def test_ties_without_a_key_are_refused(curve):
    game = weighted_game(np.arange(4.0))
    with pytest.raises(ValueError, match="3 players of equal value are parted"):
        curve(game, np.array([1.0, 1.0, 1.0, 2.0]), steps=np.arange(5))
    # Where no step parts them there is nothing to decide.
    whole = curve(game, np.array([1.0, 1.0, 1.0, 2.0]), steps=np.array([0, 1, 4]))
    assert (whole.num_tied, whole.num_orders) == (0, 1)


@pytest.mark.parametrize("highest_first", [True, False])
@pytest.mark.parametrize("curve", CURVES)
def test_tied_players_move_in_all_orders(key, curve, highest_first):
    weights = np.array([1.0, 4.0, 2.0, 8.0])
    values = np.array([0.0, 1.0, 1.0, 1.0])
    total = weights.sum()
    moved = []
    for tied in itertools.permutations([1, 2, 3]):
        order = [*tied, 0] if highest_first else [0, *tied]
        moved.append(np.concatenate([[0], np.cumsum(weights[order])]))
    expected = np.mean(moved, axis=0)
    if curve is evaluation.removal_curve:
        expected = total - expected
    found = curve(
        weighted_game(weights), values, key=key, num_orders=600,
        highest_first=highest_first, steps=np.arange(5),
    )  # fmt: skip
    assert (found.num_tied, found.num_orders) == (3, 600)
    np.testing.assert_allclose(found.scores, expected, atol=5 * 3 / 600**0.5)


def test_orders_share_their_coalitions(key):
    asked = []

    def score(mask):
        asked.append(tuple(np.asarray(mask).tolist()))
        return float(np.asarray(mask).sum())

    game = Game(6, score, on_host=True)
    values = np.array([1.0, 1.0, 0.0, -1.0, -2.0, -3.0])
    found = evaluation.removal_curve(game, values, key=key, steps=np.arange(7))
    assert found.scores.tolist() == [6, 5, 4, 3, 2, 1, 0]
    # Two coalitions at the one step that parts the tied pair, one at all others.
    assert len(asked) == len(set(asked)) == 8


@pytest.mark.parametrize("wrong", [{"num_orders": 0}, {"steps": np.array([0, 4])}])
def test_what_curves_refuse(key, wrong):
    with pytest.raises(ValueError, match="num_orders|steps"):
        evaluation.removal_curve(
            weighted_game(np.ones(3)), np.zeros(3), key=key, **wrong
        )


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
    assert evaluation.even_steps(200).tolist() == list(range(0, 201, 10))
    assert evaluation.even_steps(3, 20).tolist() == [0, 1, 2, 3]
    assert evaluation.even_steps(100, 5, 0.5).tolist() == [0, 10, 20, 30, 40, 50]


def test_curves_refuse_other_players():
    with pytest.raises(ValueError, match="values must hold"):
        evaluation.removal_curve(weighted_game(np.ones(2)), np.ones(3))


def test_curves_work_on_contributors(key):
    # Players are whatever the game's players are: here three owners of five points.
    owner = jnp.array([0, 0, 1, 2, 2])
    points = jax.random.uniform(key, (5,))
    game = Game(3, lambda mask: jnp.where(mask[owner], points, 0.0).sum())
    curve = evaluation.removal_curve(
        game, np.array([3.0, 1.0, 2.0]), steps=np.arange(4)
    )
    np.testing.assert_allclose(curve.scores[1], points[2:].sum(), rtol=1e-6)
