"""The retraining game: chunks, devices, seeds, rules, and what is compiled."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from jaxval import models
from jaxval.coalitions import masks, queries
from jaxval.evaluation.replicates import leave_one_out, seed_values
from jaxval.execution import parallel as batching
from jaxval.execution.options import Execution
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
from jaxval.types import Dataset, Points

LOSS = negative(cross_entropy)


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 6)).astype(np.float32)
    y = (x @ rng.normal(size=(6, 3))).argmax(axis=1).astype(np.int32)
    data = Dataset(x[:24], y[:24], np.arange(24) % 6)
    network = from_module(models.mlp((8,), num_outputs=3), x)
    return data, Points(x[24:], y[24:]), network


RECIPE = Recipe(optimizer=optax.sgd(0.1), batch_size=5, epochs=4)


def coalitions(count, seed=0):
    return np.random.default_rng(seed).random((count, 6)) < 0.5


def test_scores_are_those_of_the_owners_rows_trained_alone(key, problem):
    data, valid, network = problem
    scores = seed_scores(key, data, valid, network, RECIPE, metric=LOSS)
    mask = np.array([True, False, True, True, False, False])
    rows = mask[data.owner]
    init_key, order_key = jax.random.split(jax.random.fold_in(key, 0))
    network = on_cpu(network)
    out = train(
        order_key, network, network.init(init_key), jnp.asarray(data.x[rows]),
        jnp.asarray(data.y[rows]), jnp.ones(rows.sum(), bool), RECIPE,
    )  # fmt: skip
    alone = LOSS(predict(network, out.variables, jnp.asarray(valid.x)), valid.y)
    np.testing.assert_allclose(scores(mask[None])[0, 0], alone.mean(), atol=1e-5)


@pytest.mark.parametrize(
    ("num_parallel", "devices"), [(4, None), (64, None), (1, 4), (2, 4)]
)
def test_chunks_and_devices_change_nothing(key, problem, num_parallel, devices):
    mesh = None if devices is None else batching.device_mesh(devices)
    asked = coalitions(9)
    build = lambda **options: seed_scores(
        key, *problem, RECIPE, metric=LOSS, seeds=2, execution=Execution(**options)
    )
    expected = build(batch_size=1)(asked)
    found = build(batch_size=num_parallel, mesh=mesh)(asked)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_one_program_for_all_coalitions(key, problem):
    data, valid, _ = problem
    traces = []

    def apply_fn(params, x):
        traces.append(x.shape)
        return x @ params

    network = stateless(lambda key: jnp.zeros((6, 3)), apply_fn)
    game = retraining(key, data, valid, network, RECIPE)
    game.scores(coalitions(5))
    once = len(traces)
    game.scores(coalitions(11, seed=1))
    game.score(np.ones(6, bool))
    game.leave_one_out_scores()
    assert len(traces) == once
    # Another game of the same network, recipe and shapes finds the program again.
    retraining(jax.random.key(7), data, valid, network, RECIPE).scores(coalitions(3))
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
    game = retraining(key, *problem, RECIPE, execution=Execution(progress=progress))
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

    grand = np.ones((1, 6), bool)
    lost = scores(grand)[0][None] - scores(~np.eye(6, dtype=bool))
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
    data, valid, network = problem
    still = Recipe(epochs=0)
    asked = np.eye(6, dtype=bool)
    build = lambda fresh: seed_scores(
        key, data, valid, network, still, metric=LOSS, reinitialise=fresh
    )(asked)
    assert len(np.unique(build(False))) == 1
    assert len(np.unique(build(True))) == 6
    np.testing.assert_array_equal(build(True), build(True))


def test_the_empty_coalitions_score(key, problem):
    data, valid, network = problem
    empty = np.zeros((1, 6), bool)
    untrained = network._replace(init=lambda key: network.init(jax.random.key(3)))
    scores = seed_scores(key, data, valid, untrained, RECIPE)
    outputs = network.apply(network.init(jax.random.key(3)), jnp.asarray(valid.x))
    np.testing.assert_allclose(scores(empty), [[accuracy(outputs, valid.y).mean()]])
    share = majority_share(valid.y)
    rule = retraining(key, *problem, RECIPE, empty_score=share)
    assert rule.score(empty[0]) == share


def test_data_shapleys_rule_for_classes_that_vanish(key, problem):
    data, valid, network = problem
    data = data._replace(owner=data.y)
    build = lambda **rule: retraining(
        key, data, valid, network, RECIPE, empty_score=0.25, **rule
    )
    asked = np.array([[True, True, False], [True, True, True]])
    paid = build(require_all_classes=True).scores(asked)
    assert paid[0] == 0.25
    assert paid[1] == build().scores(asked)[1]
    assert build().scores(asked)[0] != 0.25


def test_a_diverged_run_is_an_error_that_names_the_coalition(key, problem):
    wild = Recipe(optimizer=optax.sgd(1e30), epochs=3)
    game = retraining(key, *problem, wild)
    with pytest.raises(ValueError, match=r"training diverged.*players \[1, 2\], seed"):
        game.scores(np.array([[False, True, True, False, False, False]]))


def test_a_memory_budget_bounds_the_runs_at_once(key, problem):
    build = lambda memory: (
        seed_scores(
            key, *problem, RECIPE, execution=Execution(memory=memory)
        ).num_parallel
    )
    assert build(1) == 1
    assert build(10**9) > build(10**7) > 1


def test_values_of_a_game_of_real_runs_are_efficient(key, problem):
    game = retraining(key, *problem, RECIPE)
    ends = game.scores(np.array([[False] * 6, [True] * 6]))
    values = exact.values(game).values
    np.testing.assert_allclose(values.sum(), ends[1] - ends[0], atol=1e-9)


def test_starting_variables_can_be_given(key, problem):
    data, valid, network = problem
    given = network.init(jax.random.key(5))
    fixed = network._replace(init=lambda key: Variables(given.params, given.state))
    still = Recipe(epochs=0)
    scores = seed_scores(key, data, valid, fixed, still, seeds=2, metric=LOSS)(
        np.ones((1, 6), bool)
    )
    assert scores[0, 0] == scores[0, 1]


X_VALID, Y_VALID = np.zeros((16, 6), np.float32), np.zeros(16, int)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"valid": Points(X_VALID + np.inf, Y_VALID)}, "valid.x must be finite"),
        (
            {"valid": Points(X_VALID, Y_VALID + 3)},
            "must hold class numbers 0 to 2",
        ),
        (
            {"valid": Points(X_VALID[:, :5], Y_VALID)},
            "valid.x must have the same",
        ),
        ({"valid": Points(X_VALID[:3], Y_VALID)}, "valid.x, valid.y must have one row"),
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"empty_score": np.nan}, "empty_score must be a finite score"),
    ],
)
def test_bad_arguments_are_named(key, problem, change, message):
    names = ("data", "valid", "network")
    arguments = dict(zip(names, problem, strict=True)) | change
    with pytest.raises(ValueError, match=message):
        retraining(key, **arguments)


def test_a_metric_of_all_rows_at_once_is_refused(key, problem):
    overall = lambda outputs, targets: -jnp.mean(outputs)
    scores = seed_scores(key, *problem, Recipe(epochs=0), metric=overall)
    with pytest.raises(ValueError, match="one score for each of 16 validation rows"):
        scores(np.ones((1, 6), bool))


def test_scores_are_the_means_of_their_rows_and_train_once(key, problem):
    told = []
    execution = Execution(progress=lambda done, total: told.append((done, total)))
    game = retraining(
        key, *problem, RECIPE, metric=LOSS, seeds=2, execution=execution
    )  # fmt: skip
    asked = coalitions(5)
    rows = queries.row_scores(game, asked)
    assert rows.shape == (5, 16)
    once = len(told)
    np.testing.assert_allclose(game.scores(asked), rows.mean(axis=1), rtol=1e-12)
    assert len(told) == once == 10
    data, valid, network = problem
    single = seed_scores(key, *problem, RECIPE, metric=LOSS)
    one = seed_scores(
        key, data, Points(valid.x[3:4], valid.y[3:4]), network, RECIPE, metric=LOSS
    )
    np.testing.assert_allclose(single.rows(asked)[:, 0, 3], one(asked)[:, 0], atol=1e-5)


def test_the_empty_score_is_that_of_each_row(key, problem):
    game = retraining(key, *problem, Recipe(epochs=0), empty_score=0.25)
    assert (game.row_scores(np.zeros((1, 6), bool)) == 0.25).all()


def test_small_blocks_change_nothing(key, problem, monkeypatch):
    asked = coalitions(7)
    expected = seed_scores(key, *problem, RECIPE, metric=LOSS, seeds=2)(asked)
    monkeypatch.setattr("jaxval.games.seed_scores._BLOCK_BYTES", 3 * 8 * 2 * 16)
    told = []
    execution = Execution(progress=lambda done, total: told.append((done, total)))
    scores = seed_scores(
        key, *problem, RECIPE, metric=LOSS, seeds=2, execution=execution
    )
    np.testing.assert_array_equal(scores(asked), expected)
    assert [done for done, _ in told] == list(range(1, told[-1][1] + 1))


def test_classes_come_in_any_spelling(key, problem):
    data, valid, network = problem
    expected = seed_scores(key, *problem, RECIPE)(coalitions(2))
    for spell in (lambda y: np.eye(3)[y], lambda y: np.array(["a", "b", "c"])[y]):
        found = seed_scores(
            key, data._replace(y=spell(data.y)), valid._replace(y=spell(valid.y)),
            network, RECIPE,
        )  # fmt: skip
        np.testing.assert_array_equal(found(coalitions(2)), expected)


def test_fingerprints_tell_data_keys_and_settings_apart(key, problem):
    data, valid, network = problem
    make = lambda key=key, data=data, recipe=RECIPE, **options: (
        seed_scores(key, data, valid, network, recipe, **options).fingerprint
    )
    others = [
        make(jax.random.key(9)),
        make(data=data._replace(owner=data.owner[::-1].copy())),
        make(recipe=Recipe(epochs=7)),
        make(seeds=2),
        make(empty_score=0.0),
        make(require_all_classes=True),
    ]
    assert make() == make()
    assert len({make(), *others}) == 7


def test_a_game_of_trainings_can_be_hashed(key, problem):
    game = retraining(key, *problem, RECIPE)
    leaves, structure = jax.tree.flatten(game)
    assert not leaves
    assert hash(structure) == hash(jax.tree.structure(game))
