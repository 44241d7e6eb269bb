import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.games import subsets

from jaxval.coalitions import masks
from jaxval.games import kernel_regression as kr

OWNER = np.array([0, 1, 1, 2, 0, 3, 3, 2])
METRICS = [kr.accuracy, kr.negative_squared_error, kr.margin]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x, x_valid = rng.normal(size=(8, 3)), rng.normal(size=(6, 3))
    y = kr.one_hot(rng.integers(0, 3, 8), 3)
    y_valid = kr.one_hot(rng.integers(0, 3, 6), 3)
    return x, x_valid, y, y_valid


def truth(x, x_valid, y, y_valid, ridge, metric):
    """Each coalition fitted by itself, in plain numpy."""
    scores = []
    for mask in subsets(4):
        r = mask[OWNER]
        weights = np.linalg.solve(x[r].T @ x[r] + ridge * np.eye(3), x[r].T @ y[r])
        scores.append(metric_oracle(x_valid @ weights, y_valid, metric))
    return np.array(scores)


def metric_oracle(predicted, y, metric):
    if metric is kr.negative_squared_error:
        return -np.mean(np.sum((predicted - y) ** 2, 1))
    right = y.argmax(1)
    if metric is kr.margin:
        others = [np.delete(p, r).max() for p, r in zip(predicted, right, strict=True)]
        return np.mean(predicted[np.arange(len(y)), right] - others)
    best = [np.flatnonzero(p == p.max()) for p in predicted]
    return np.mean([(r in b) / len(b) for b, r in zip(best, right, strict=True)])


@pytest.mark.parametrize("metric", METRICS)
def test_kernel_and_primal_forms_are_the_subset_fits(data, metric):
    x, x_valid, y, y_valid = data
    expected = truth(*data, 0.5, metric)
    kernel = kr.kernel_regression(
        x @ x.T, x_valid @ x.T, y, y_valid, OWNER, ridge=0.5, metric=metric
    )
    primal = kr.ridge_regression(
        x, x_valid, y, y_valid, OWNER, ridge=0.5, metric=metric
    )
    number = lambda m: np.asarray(m) @ 2 ** np.arange(4)
    order = jnp.array([2, 0, 3, 1])
    for game in (kernel, primal):
        full, without = game.leave_one_out_scores()
        for scores, chosen in (
            (game.powerset_scores(), masks.powerset(4)),
            (game.prefix_scores(order), masks.prefixes(order)),
            (np.r_[full, np.asarray(without)], masks.leave_one_out(4)),
        ):
            np.testing.assert_allclose(scores, expected[number(chosen)], rtol=1e-9)


def test_points_are_players_when_nobody_owns_them(data):
    x, x_valid, y, y_valid = data
    points = kr.kernel_regression(x @ x.T, x_valid @ x.T, y, y_valid, ridge=0.5)
    owners = kr.kernel_regression(x @ x.T, x_valid @ x.T, y, y_valid, OWNER, ridge=0.5)
    mask = jnp.array([True, False, True, False])
    assert points.num_players == 8
    np.testing.assert_allclose(points.score(mask[OWNER]), owners.score(mask))


def test_games_of_a_kind_compile_once(data):
    x, x_valid, y, y_valid = data
    traces = 0

    @jax.jit
    def walk(game):
        nonlocal traces
        traces += 1
        return game.prefix_scores(jnp.arange(8))

    for ridge in (0.1, 0.2):
        walk(kr.kernel_regression(x @ x.T, x_valid @ x.T, y, y_valid, ridge=ridge))
    assert traces == 1


def test_a_singular_gram_matrix_says_what_to_add(data):
    x, x_valid, y, y_valid = data
    with pytest.raises(ValueError, match=r"positive definite.*Add at least"):
        kr.kernel_regression(x @ x.T, x_valid @ x.T, y, y_valid, ridge=0.0)


def test_class_numbers_are_refused_for_accuracy(data):
    x, x_valid, y, y_valid = data
    with pytest.raises(ValueError, match="one-hot"):
        kr.kernel_regression(
            x @ x.T, x_valid @ x.T, y.argmax(1), y_valid.argmax(1), ridge=1.0
        )
