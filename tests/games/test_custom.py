import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import get_scorer

from jaxval.games import custom
from jaxval.types import Dataset

RNG = np.random.default_rng(0)
X, OWNER = RNG.normal(size=(20, 3)), np.arange(20) % 4
Y = (X[:, 0] + 0.3 * OWNER > 0.4).astype(int)


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_estimator_is_fitted_on_the_coalition_once(jobs):
    game = custom.from_estimator(
        LogisticRegression(), Dataset(X, Y, OWNER), X, Y, jobs=jobs
    )
    mask = np.array([True, False, True, False])
    rows = mask[OWNER]
    expected = LogisticRegression().fit(X[rows], Y[rows]).score(X, Y)
    scores = game.scores(np.stack([mask, mask, ~mask]))
    np.testing.assert_allclose(scores[:2], expected)
    assert game.score(mask) == scores[0]
    assert game.score.calls == 2


def test_vanished_classes_and_nobody_have_a_score():
    y = np.array([0, 1, 1, 1, 2] * 4)
    owner = np.array([0, 1, 1, 1, 2] * 4)
    game = custom.from_estimator(LogisticRegression(), Dataset(X, y, owner), X, y)
    assert game.score(np.zeros(3, bool)) == pytest.approx(0.6)
    assert game.score(np.array([True, False, False])) == pytest.approx(0.2)


def test_regression_and_scorers():
    y = X @ np.array([1.0, 2.0, 0.0])
    scorer = get_scorer("neg_mean_squared_error")
    game = custom.from_estimator(Ridge(), Dataset(X, y, OWNER), X, y, scorer=scorer)
    np.testing.assert_allclose(game.score(np.zeros(4, bool)), -np.var(y))
    assert game.score(np.ones(4, bool)) > -0.1


def test_a_jittable_function_is_a_plain_game():
    game = custom.from_function(3, lambda mask: mask.sum() * 2.0, jittable=True)
    assert not game.on_host
    assert float(game.score(jnp.array([True, True, False]))) == 4.0


def test_scores_that_are_not_numbers_name_the_coalition():
    game = custom.from_function(2, lambda mask: np.nan, jittable=False)
    with pytest.raises(ValueError, match=r"finite.*players \[1\]"):
        game.score(np.array([False, True]))


def test_shapiq_both_ways():
    square = lambda masks: masks.sum(axis=1) ** 2.0
    game = custom.from_shapiq(square, 3)
    masks = RNG.integers(0, 2, (5, 3)).astype(bool)
    np.testing.assert_allclose(custom.to_shapiq(game)(masks), square(masks))
    assert game.prefix_scores(jnp.array([2, 0, 1])).tolist() == [0, 1, 4, 9]


@pytest.mark.parametrize(
    ("data", "valid", "message"),
    [
        (Dataset(X, Y, 2 * OWNER), (X, Y), "without gaps"),
        (Dataset(X, Y, OWNER), (X[:, :2], Y), "x, x_valid must have the same features"),
        (Dataset(X, Y, OWNER), (X[:0], Y[:0]), "y_valid is empty"),
    ],
)
def test_data_for_an_estimator_are_checked(data, valid, message):
    with pytest.raises(ValueError, match=message):
        custom.from_estimator(LogisticRegression(), data, *valid)


def test_a_shapiq_game_must_score_every_coalition():
    total = custom.from_shapiq(lambda masks: np.asarray([masks.sum() * 1.0]), 3)
    with pytest.raises(ValueError, match="one score for each of 2 coalitions"):
        total.scores(np.ones((2, 3), bool))
    with pytest.raises(ValueError, match="num_players must be at least 1"):
        custom.from_shapiq(lambda masks: masks.sum(axis=1), 0)
