"""The retraining game: chunks, devices, seeds, rules, and what is compiled."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jaxval import models
from jaxval.coalitions import masks
from jaxval.evaluation.replicates import leave_one_out, seed_values
from jaxval.execution import parallel as batching
from jaxval.execution.precision import double
from jaxval.games.retraining import majority_share, retraining, seed_scores
from jaxval.semivalues import exact, weights
from jaxval.training import (
    Recipe,
    Variables,
    accuracy,
    cross_entropy,
    from_module,
    negative,
    on_cpu,
    predict,
    stateless,
    train,
)
from jaxval.types import Dataset

LOSS = negative(cross_entropy)


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 6)).astype(np.float32)
    y = (x @ rng.normal(size=(6, 3))).argmax(axis=1).astype(np.int32)
    data = Dataset(x[:24], y[:24], np.arange(24) % 6)
    network = from_module(models.mlp((8,), num_outputs=3), x)
    return data, x[24:], y[24:], network


RECIPE = Recipe(optimizer=optax.sgd(0.1), batch_size=5, epochs=4)


def coalitions(count, seed=0):
    return np.random.default_rng(seed).random((count, 6)) < 0.5


def test_scores_are_those_of_the_owners_rows_trained_alone(key, problem):
    data, x_valid, y_valid, network = problem
    scores = seed_scores(key, data, x_valid, y_valid, network, RECIPE, metric=LOSS)
    mask = np.array([True, False, True, True, False, False])
    rows = mask[data.owner]
    init_key, order_key = jax.random.split(jax.random.fold_in(key, 0))
    network = on_cpu(network)
    out = train(
        order_key, network, network.init(init_key), jnp.asarray(data.x[rows]),
        jnp.asarray(data.y[rows]), jnp.ones(rows.sum(), bool), RECIPE,
    )  # fmt: skip
    alone = LOSS(predict(network, out.variables, jnp.asarray(x_valid)), y_valid)
    np.testing.assert_allclose(scores(mask[None])[0, 0], alone.mean(), atol=1e-5)


@pytest.mark.parametrize(("lanes", "devices"), [(4, None), (64, None), (1, 4), (2, 4)])
def test_chunks_and_devices_change_nothing(key, problem, lanes, devices):
    mesh = None if devices is None else batching.device_mesh(devices)
    asked = coalitions(9)
    build = lambda **options: seed_scores(
        key, *problem, RECIPE, metric=LOSS, seeds=2, **options
    )
    expected = build(lanes=1)(asked)
    found = build(lanes=lanes, mesh=mesh)(asked)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_one_program_for_all_coalitions(key, problem):
    data, x_valid, y_valid, _ = problem
    traces = []

    def apply_fn(params, x):
        traces.append(x.shape)
        return x @ params

    network = stateless(lambda key: jnp.zeros((6, 3)), apply_fn)
    game = retraining(key, data, x_valid, y_valid, network, RECIPE)
    game.scores(coalitions(5))
    once = len(traces)
    game.scores(coalitions(11, seed=1))
    game.score(np.ones(6, bool))
    game.leave_one_out_scores()
    assert len(traces) == once
    # Another game of the same network, recipe and shapes finds the program again.
    retraining(jax.random.key(7), data, x_valid, y_valid, network, RECIPE).scores(
        coalitions(3)
    )
    assert len(traces) == once


def test_drivers_in_double_precision_see_the_same_trainings(key, problem):
    game = retraining(key, *problem, RECIPE, metric=LOSS)
    asked = np.asarray(masks.powerset(6))[[1, 5, 30, 62]]
    expected = game.scores(asked)
    with double():
        np.testing.assert_allclose(game.scores(asked), expected, atol=1e-6)


def test_same_mask_same_number_and_asked_twice_runs_once(key, problem):
    calls = []
    progress = lambda done, total: calls.append((done, total))
    game = retraining(key, *problem, RECIPE, progress=progress)
    asked = np.stack([masks.prefixes(jnp.arange(6))[3]] * 4)
    scores = game.scores(asked)
    assert len(set(scores.tolist())) == 1
    assert calls == [(1, 1)]
    assert game.score(asked[0]) == scores[0]


def test_the_game_is_the_mean_over_seeds(key, problem):
    asked = coalitions(4)
    single = seed_scores(key, *problem, RECIPE, seeds=3)(asked)
    assert single.shape == (4, 3)
    game = retraining(key, *problem, RECIPE, seeds=3)
    np.testing.assert_allclose(game.scores(asked), single.mean(axis=1))
    first = seed_scores(key, *problem, RECIPE, seeds=1)(asked)
    np.testing.assert_array_equal(single[:, :1], first)


def test_scores_and_values_come_with_errors_over_seeds(key, problem):
    asked = coalitions(4)
    scores = seed_scores(key, *problem, RECIPE, metric=LOSS, seeds=3)
    single = scores(asked)
    found = scores.estimate(asked)
    np.testing.assert_allclose(found.scores, single.mean(axis=1))
    np.testing.assert_allclose(found.stderr, stats.sem(single, axis=1))
    assert found.seeds == 3

    everybody = np.ones((1, 6), bool)
    lost = scores(everybody)[0][None] - scores(~np.eye(6, dtype=bool))
    values = leave_one_out(scores)
    np.testing.assert_allclose(values.values, lost.mean(axis=1))
    np.testing.assert_allclose(values.stderr, stats.sem(lost, axis=1))
    assert values.counts.tolist() == [3] * 6

    game = retraining(key, *problem, RECIPE, metric=LOSS, seeds=3)
    table = masks.powerset(6)
    shapley = seed_values(
        scores, table, lambda column: exact.from_table(column, weights.shapley)
    )
    np.testing.assert_allclose(shapley.values, exact.values(game).values)
    assert (shapley.stderr > 0).all()


def test_one_seed_knows_no_error(key, problem):
    scores = seed_scores(key, *problem, Recipe(epochs=0))
    assert np.isnan(scores.estimate(coalitions(2)).stderr).all()
    assert np.isnan(leave_one_out(scores).stderr).all()


def test_all_start_from_one_theta_or_each_from_its_own(key, problem):
    data, x_valid, y_valid, network = problem
    still = Recipe(epochs=0)
    asked = np.eye(6, dtype=bool)
    build = lambda fresh: seed_scores(
        key, data, x_valid, y_valid, network, still, metric=LOSS, fresh=fresh
    )(asked)
    assert len(np.unique(build(False))) == 1
    assert len(np.unique(build(True))) == 6
    np.testing.assert_array_equal(build(True), build(True))


def test_what_nobody_is_paid(key, problem):
    data, x_valid, y_valid, network = problem
    nobody = np.zeros((1, 6), bool)
    untrained = network._replace(init=lambda key: network.init(jax.random.key(3)))
    scores = seed_scores(key, data, x_valid, y_valid, untrained, RECIPE)
    outputs = network.apply(network.init(jax.random.key(3)), jnp.asarray(x_valid))
    np.testing.assert_allclose(scores(nobody), [[accuracy(outputs, y_valid).mean()]])
    share = majority_share(y_valid)
    rule = retraining(key, *problem, RECIPE, empty=share)
    assert rule.score(nobody[0]) == share


def test_data_shapleys_rule_for_classes_that_vanish(key, problem):
    data, x_valid, y_valid, network = problem
    data = data._replace(owner=data.y)
    build = lambda **rule: retraining(
        key, data, x_valid, y_valid, network, RECIPE, empty=0.25, **rule
    )
    asked = np.array([[True, True, False], [True, True, True]])
    paid = build(all_classes=True).scores(asked)
    assert paid[0] == 0.25
    assert paid[1] == build().scores(asked)[1]
    assert build().scores(asked)[0] != 0.25


def test_a_diverged_run_is_an_error_that_names_the_coalition(key, problem):
    wild = Recipe(optimizer=optax.sgd(1e30), epochs=3)
    game = retraining(key, *problem, wild)
    with pytest.raises(ValueError, match=r"training diverged.*players \[1, 2\], seed"):
        game.scores(np.array([[False, True, True, False, False, False]]))


def test_a_memory_budget_bounds_the_lanes(key, problem):
    build = lambda memory: seed_scores(key, *problem, RECIPE, memory=memory).lanes
    assert build(1.0) == 1
    assert build(1e9) > build(1e7) > 1


def test_values_of_a_game_of_real_runs_are_efficient(key, problem):
    game = retraining(key, *problem, RECIPE)
    ends = game.scores(np.array([[False] * 6, [True] * 6]))
    values = exact.values(game).values
    np.testing.assert_allclose(values.sum(), ends[1] - ends[0], atol=1e-9)


def test_starting_variables_can_be_given(key, problem):
    data, x_valid, y_valid, network = problem
    given = network.init(jax.random.key(5))
    fixed = network._replace(init=lambda key: Variables(given.params, given.state))
    still = Recipe(epochs=0)
    scores = seed_scores(
        key, data, x_valid, y_valid, fixed, still, seeds=2, metric=LOSS
    )(np.ones((1, 6), bool))
    assert scores[0, 0] == scores[0, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_valid": np.full((16, 6), np.inf, np.float32)}, "x_valid must be finite"),
        ({"y_valid": np.full(16, 3)}, "y_valid must hold class numbers 0 to 2"),
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"memory": -1.0}, "memory must be a positive"),
        ({"empty": np.nan}, "empty must be a finite score"),
        ({"lanes": 0}, "lanes must be at least 1"),
        ({"x_valid": np.zeros((16, 5), np.float32)}, "x, x_valid must have the same"),
        (
            {"data": Dataset(np.zeros((6, 6), np.float32), np.zeros((6, 1), int),
                             np.arange(6)),
             "y_valid": np.zeros((16, 1), int)},
            "y must be a vector of class numbers",
        ),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(key, problem, change, message):
    names = ("data", "x_valid", "y_valid", "network")
    arguments = dict(zip(names, problem, strict=True)) | change
    with pytest.raises(ValueError, match=message):
        retraining(key, **arguments)
