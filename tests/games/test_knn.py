import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.games import shapley, subsets

from jaxval.coalitions import queries
from jaxval.games import knn


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    return rng.uniform(size=(4, 6)), rng.integers(0, 2, 6), rng.integers(0, 2, 4)


@pytest.mark.parametrize("kind", ["classification", "soft", "regression"])
@pytest.mark.parametrize("k", [1, 2, 3, 6, 9])
def test_values_are_the_definitions(rows, kind, k):
    distances, y, y_valid = rows
    if kind == "regression":
        y, y_valid = y + 0.3 * np.arange(6), y_valid * 1.5
    game = knn.knn(distances, y, y_valid, k=k, kind=kind)
    values = knn.knn_shapley(distances, y, y_valid, k=k, kind=kind)
    np.testing.assert_allclose(
        values, shapley(game.powerset_scores(), 6), rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("radius", [0.2, 0.5, 2.0])
def test_threshold_values_are_the_definitions(rows, radius):
    game = knn.threshold_knn(*rows, radius=radius, empty_score=0.5)
    values = knn.threshold_knn_shapley(*rows, radius=radius, empty_score=0.5)
    np.testing.assert_allclose(
        values, shapley(game.powerset_scores(), 6), rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("kind", ["classification", "soft", "regression"])
def test_utility_is_the_definition(rows, kind):
    distances, y, y_valid = rows
    game = knn.knn(distances, y, y_valid, k=2, kind=kind)
    mask = np.array([True, False, True, True, False, False])

    def one(row, target):
        chosen = [j for j in np.argsort(row) if mask[j]][:2]
        if kind == "regression":
            return -((y[chosen].sum() / 2 - target) ** 2)
        return np.mean(y[chosen] == target)

    expected = np.mean([one(r, t) for r, t in zip(distances, y_valid, strict=True)])
    np.testing.assert_allclose(game.score(jnp.asarray(mask)), expected, rtol=1e-12)


def test_owners_bring_all_their_rows(rows):
    distances, y, y_valid = rows
    points = knn.knn(distances, y, y_valid, k=2)
    owners = knn.knn(distances, y, y_valid, np.array([0, 0, 1, 1, 2, 2]), k=2)
    together = jnp.array([True, True, False, False, True, True])
    assert points.score(together) == owners.score(jnp.array([True, False, True]))


@pytest.mark.parametrize("kind", ["classification", "soft", "regression", "radius"])
def test_the_game_is_the_mean_of_its_rows(rows, kind):
    owner = np.array([0, 0, 1, 1, 2, 2])
    game = (
        knn.threshold_knn(*rows, owner, radius=0.5, empty_score=0.25)
        if kind == "radius"
        else knn.knn(*rows, owner, k=2, kind=kind)
    )
    masks = subsets(3)
    by_row = queries.row_scores(game, masks)
    assert by_row.shape == (8, 4)
    np.testing.assert_allclose(
        game.reduce_rows(by_row), queries.scores(game, masks), atol=1e-15
    )
    distances, y, y_valid = rows
    for row in range(4):
        alone = (distances[row : row + 1], y, y_valid[row : row + 1], owner)
        one = (
            knn.threshold_knn(*alone, radius=0.5, empty_score=0.25)
            if kind == "radius"
            else knn.knn(*alone, k=2, kind=kind)
        )
        np.testing.assert_allclose(by_row[:, row], one.scores(masks), atol=1e-15)
    left_out = game.row_leave_one_out_scores()
    np.testing.assert_allclose(left_out.full, by_row[-1], atol=1e-15)


def test_equal_games_trace_nothing_twice(rows):
    traces = []

    @jax.jit
    def ask(game, masks):
        traces.append(1)
        return game.scores(masks), game.row_scores(masks)

    distances, y, y_valid = rows
    for shift in (0.0, 1.0):
        ask(knn.knn(distances + shift, y, y_valid, k=2), subsets(6))
        ask(knn.threshold_knn(distances + shift, y, y_valid, radius=0.5), subsets(6))
    assert len(traces) == 2


def test_pairwise_distances_are_euclidean():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(3, 2, 2)) + 100.0, rng.normal(size=(4, 2, 2))
    expected = [[np.linalg.norm(p - q) for q in b] for p in a]
    np.testing.assert_allclose(knn.pairwise_distances(a, b), expected, rtol=1e-10)


def test_no_neighbours_is_an_error(rows):
    with pytest.raises(ValueError, match="k must be"):
        knn.knn(*rows, k=0)
