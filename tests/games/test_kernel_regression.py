import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from oracles import games as oracle

from jaxval.coalitions import masks, queries
from jaxval.games import kernel_regression as kr
from jaxval.training.losses import accuracy, margin

OWNER = np.array([0, 1, 1, 2, 0, 3, 3, 2])
METRICS = {
    accuracy: oracle.accuracy_of_row,
    margin: oracle.margin_of_row,
    kr.negative_squared_error: oracle.negative_square_of_row,
}
PENALTY = 0.5


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x, x_valid = rng.normal(size=(8, 3)), rng.normal(size=(6, 3))
    y = kr.one_hot(rng.integers(0, 3, 8), 3)
    y_valid = kr.one_hot(rng.integers(0, 3, 6), 3)
    return x, x_valid, y, y_valid


def kernel_game(data, owner=OWNER, **options):
    x, x_valid, y, y_valid = data
    options = {"penalty": PENALTY} | options
    return kr.kernel_regression(x @ x.T, x_valid @ x.T, y, y_valid, owner, **options)


def primal_game(data, owner=OWNER, **options):
    return kr.ridge_regression(*data, owner, **({"penalty": PENALTY} | options))


@jax.jit
def answers(game, order):
    return (
        game.powerset_scores(),
        game.prefix_scores(order),
        game.leave_one_out_scores(),
        game.row_scores(masks.powerset(4)),
        game.row_prefix_scores(order),
        game.row_leave_one_out_scores(),
    )


@pytest.mark.parametrize("make", [kernel_game, primal_game])
@pytest.mark.parametrize("metric", METRICS)
def test_every_answer_is_that_of_the_subset_fits(data, make, metric):
    rows = oracle.ridge_rows(*data, OWNER, PENALTY, METRICS[metric], 4)
    order = jnp.array([2, 0, 3, 1])
    table, prefixes, left_out, *by_row = answers(make(data, metric=metric), order)
    number = lambda m: np.asarray(m) @ 2 ** np.arange(4)
    chosen = masks.powerset(4), masks.prefixes(order), masks.leave_one_out(4)
    joined = lambda full, without: np.r_[np.asarray(full)[None], np.asarray(without)]
    for got, members in zip((table, prefixes, joined(*left_out)), chosen, strict=True):
        expected = rows[number(members)].mean(1)
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)
    table, prefixes, left_out = by_row
    for got, members in zip((table, prefixes, joined(*left_out)), chosen, strict=True):
        expected = rows[number(members)]
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("make", [kernel_game, primal_game])
def test_rows_reduce_to_the_score_under_any_weights(data, make):
    game = make(data, metric=margin)
    rows = queries.row_scores(game, np.asarray(masks.powerset(4)), block=5)
    weights = np.array([0.5, 0.1, 0.1, 0.1, 0.2, 0.0])
    scores = queries.powerset_scores(game)
    np.testing.assert_allclose(game.reduce_rows(rows), scores, rtol=1e-12)
    picked = data[1][[0] * 5 + [1, 2, 3, 4, 4]], data[3][[0] * 5 + [1, 2, 3, 4, 4]]
    weighed = make((data[0], picked[0], data[2], picked[1]), metric=margin)
    np.testing.assert_allclose(
        game.reduce_rows(rows, weights), queries.powerset_scores(weighed), rtol=1e-9
    )


def test_coalitions_are_scored_in_batches_by_row(data):
    rows = kernel_game(data).rows
    fn, arrays = rows.scores.func, rows.scores.args
    few = fn.__class__(fn.score, 3)(*arrays, masks.powerset(4))
    np.testing.assert_allclose(few, rows.scores(masks.powerset(4)), rtol=1e-12)


def test_points_are_players_when_owner_is_left_out(data):
    points, owners = kernel_game(data, None), kernel_game(data)
    mask = jnp.array([True, False, True, False])
    assert points.num_players == 8
    np.testing.assert_allclose(points.score(mask[OWNER]), owners.score(mask))


@pytest.mark.parametrize("make", [kernel_game, primal_game])
def test_equal_settings_trace_nothing_the_second_time(data, make):
    traces = 0

    @jax.jit
    def walk(game):
        nonlocal traces
        traces += 1
        return game.prefix_scores(jnp.arange(4)), game.row_scores(masks.powerset(4))

    for penalty in (0.1, 0.2):
        walk(make(data, penalty=penalty))
    assert traces == 1


def spelled(y, spelling):
    labels = np.asarray(y).argmax(1)
    return {
        "numbers": labels,
        "column": labels[:, None],
        "floats": labels.astype(np.float32),
        "text": np.array(["ape", "bee", "cat"])[labels],
        "series": pd.Series(labels, index=range(5, 5 + len(labels))),
        "frame": pd.DataFrame({"y": labels}),
    }[spelling]


@pytest.mark.parametrize("make", [kernel_game, primal_game])
@pytest.mark.parametrize(
    "spelling", ["numbers", "column", "floats", "text", "series", "frame"]
)
def test_classes_are_the_one_hot_rows_however_they_are_spelled(data, make, spelling):
    x, x_valid, y, y_valid = data
    expected = queries.powerset_scores(make(data))
    game = make((x, x_valid, spelled(y, spelling), spelled(y_valid, spelling)))
    np.testing.assert_array_equal(queries.powerset_scores(game), expected)


def test_a_singular_gram_matrix_says_what_to_add(data):
    with pytest.raises(ValueError, match=r"positive definite.*Add at least"):
        kernel_game(data, penalty=0.0)


@pytest.mark.parametrize("make", [kernel_game, primal_game])
@pytest.mark.parametrize(
    ("y", "y_valid", "metric", "message"),
    [
        (np.arange(8), ["a"] * 6, accuracy, "y, y_valid must all be labels"),
        (np.arange(8) / 3, np.arange(6), accuracy, "y must hold whole numbers"),
        (["a"] * 8, ["a"] * 6, kr.negative_squared_error, "y must hold real numbers"),
        (np.ones(8), np.ones((6, 2)), kr.negative_squared_error, "same outputs"),
        (np.arange(7), np.arange(6), accuracy, "one row a sample"),
    ],
)
def test_targets_that_fit_no_metric_are_refused(
    data, make, y, y_valid, metric, message
):
    with pytest.raises(ValueError, match=message):
        make((data[0], data[1], y, y_valid), metric=metric)


def test_a_lopsided_gram_matrix_is_refused(data):
    x, x_valid, y, y_valid = data
    gram = x @ x.T
    gram[1, 2] += 1.0
    with pytest.raises(ValueError, match="gram must be symmetric"):
        kr.kernel_regression(gram, x_valid @ x.T, y, y_valid, penalty=1.0)
    with pytest.raises(ValueError, match="gram_valid must have"):
        kr.kernel_regression(x @ x.T, x @ x_valid.T, y, y_valid, penalty=1.0)


def test_a_metric_of_all_rows_at_once_is_refused(data):
    game = kernel_game(data, metric=lambda outputs, y: -jnp.mean((outputs - y) ** 2))
    with pytest.raises(ValueError, match="metric must return one score for each"):
        game.score(jnp.ones(4, bool))
