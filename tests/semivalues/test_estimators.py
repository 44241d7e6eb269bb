"""Every estimator, every semi-value it serves, every game: one table of cases."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles.semivalues import five_player_tables, table_game

from jaxval.coalitions import masks
from jaxval.coalitions.game import Game
from jaxval.semivalues import (
    Ends,
    exact,
    least_squares,
    permutation,
    regression_adjustment,
    run,
    sample_reuse,
    stopping,
    truncated,
    weights,
)

N = 5
SEMIVALUES = {
    "shapley": weights.shapley,
    "banzhaf_0.3": weights.weighted_banzhaf(0.3),
    "beta_4_1": weights.beta(4, 1),
    "leave_two_out": weights.leave_group_out(2),
}
ANY = {
    "permutation": permutation.permutation_sampling,
    "antithetic": permutation.antithetic,
    "quasi_random": functools.partial(permutation.quasi_random, num_directions=2),
    "stratified": functools.partial(permutation.stratified, num_rotations=3),
    "msr": sample_reuse.msr,
    "msr_plain": sample_reuse.msr_unbiased,
    "adjusted": functools.partial(
        regression_adjustment.regression_adjusted, coalitions=16
    ),
}
CASES = {(m, v): make(N, SEMIVALUES[v]) for m, make in ANY.items() for v in SEMIVALUES}
CASES |= {
    ("kernel_shap", "shapley"): least_squares.kernel_shap(N, groups=16),
    ("kernel_banzhaf", "banzhaf"): least_squares.kernel_banzhaf(N, groups=16),
    ("kernel_banzhaf", "banzhaf_0.3"): least_squares.kernel_banzhaf(
        N, probability=0.3, groups=16
    ),
    ("adjusted_quadratic", "shapley"): regression_adjustment.regression_adjusted(
        N, basis=regression_adjustment.quadratic(N), coalitions=32
    ),
    ("truncated_not", "shapley"): truncated.tmc(N, patience=N + 1),
}
RATIOS = {"msr", "kernel_shap", "kernel_banzhaf"}
"""Consistent, with a bias of order 1/M: judged with more steps."""


@functools.lru_cache
def repeat(case, num_runs, num_steps):
    """Estimates of all games with many keys: arrays (games, runs, players)."""
    estimator = CASES[case]
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(3), (num_runs, num_steps))
        tables = jnp.asarray(five_player_tables())
        start = jax.vmap(lambda t: estimator.init(Ends(t[0], t[-1])))(tables)
        functions = (estimator.sample, estimator.fold, estimator.estimate)
        functions = tuple(as_partial(fn) for fn in functions)
        return jax.tree.map(np.asarray, _every(functions, tables, start, keys))


def as_partial(fn):
    partial = jax.tree_util.Partial
    return fn if isinstance(fn, partial) else partial(fn)


@jax.jit
def _every(functions, tables, start, keys):
    sample, fold, estimate = functions

    def one(table, state, keys):
        known = Ends(table[0], table[-1])
        draw = lambda key: sample(key, table_game(table), known)
        step = lambda state, key: (fold(state, draw(key)), None)
        return estimate(jax.lax.scan(step, state, keys)[0])

    over_runs = jax.vmap(one, in_axes=(None, None, 0))
    return jax.vmap(over_runs, in_axes=(0, 0, None))(tables, start, keys)


def exact_values(semivalue):
    log_weights = SEMIVALUES.get(semivalue, weights.banzhaf)
    return np.stack([exact.from_table(t, log_weights) for t in five_player_tables()])


def name(case):
    return "-".join(case)


def steps_of(case):
    return 64 if case[0] in RATIOS else 9


@pytest.mark.parametrize("case", CASES, ids=name)
def test_unbiased_and_with_a_true_standard_error(case):
    out = repeat(case, 300, steps_of(case))
    error = out.values - exact_values(case[1])[:, None]
    spread = error.std(1, ddof=1)
    bias = error.mean(1)
    assert (np.abs(bias) < 5 * spread / np.sqrt(300) + 1e-9).all()
    # The root mean square of the claimed errors is the true spread, within noise.
    claimed = np.sqrt(np.mean(out.stderr**2, axis=1))
    loud = spread > 1e-6
    ratio = claimed[loud] / spread[loud]
    assert (ratio > 0.75).all()
    assert (ratio < 1.35).all()
    np.testing.assert_allclose(claimed[~loud], 0, atol=1e-6)


EFFICIENT = [
    ("permutation", "shapley"),
    ("antithetic", "shapley"),
    ("quasi_random", "shapley"),
    ("stratified", "shapley"),
    ("truncated_not", "shapley"),
    ("kernel_shap", "shapley"),
]


@pytest.mark.parametrize("case", EFFICIENT, ids=name)
def test_efficient_exactly_in_every_run(case):
    out = repeat(case, 300, steps_of(case))
    tables = five_player_tables()
    worth = np.broadcast_to((tables[:, -1] - tables[:, 0])[:, None], (6, 300))
    np.testing.assert_allclose(out.values.sum(-1), worth, atol=1e-9)


WALKS = ["permutation", "antithetic", "quasi_random", "stratified"]


@pytest.mark.parametrize("method", WALKS)
@pytest.mark.parametrize("semivalue", SEMIVALUES)
def test_a_null_player_is_paid_exactly_nothing(method, semivalue):
    # Player 4 has no votes in the third game.
    out = repeat((method, semivalue), 300, 9)
    assert (out.values[2, :, 4] == 0).all()
    assert (out.stderr[2, :, 4] == 0).all()


@pytest.mark.parametrize("case", CASES, ids=name)
def test_equals_are_paid_alike_within_error(case):
    # Players 0 and 1 hold left gloves, 2 to 4 right gloves; 3 and 4 share a runway.
    out = repeat(case, 300, steps_of(case))
    for game, i, j in [(0, 0, 1), (0, 2, 4), (1, 3, 4)]:
        gap = out.values[game, :, i] - out.values[game, :, j]
        assert abs(gap.mean()) < 5 * gap.std(ddof=1) / np.sqrt(300) + 1e-9


@pytest.mark.parametrize("method", sorted({m for m, _ in CASES} - {"truncated_not"}))
def test_linear_in_the_game_for_the_same_key(method):
    case = next(c for c in CASES if c[0] == method)
    tables = five_player_tables()
    key, rule = jax.random.key(8), stopping.units(1)
    rule = lambda status: status.steps >= 32
    ask = lambda t: run(key, CASES[case], table_game(t), until=rule).values
    a, b = ask(tables[0]), ask(tables[5])
    np.testing.assert_allclose(ask(2 * tables[0] - tables[5]), 2 * a - b, atol=1e-9)


def test_one_antithetic_pair_is_exact_for_pairwise_games(key, x64):
    pairwise = np.random.default_rng(1).normal(size=(30, 30))
    linear = np.random.default_rng(2).normal(size=30)
    pairwise = jnp.asarray(pairwise + pairwise.T)

    def score(mask):
        return mask @ pairwise @ mask / 2 + mask @ linear

    off = np.asarray(pairwise) - np.diag(np.diag(pairwise))
    expected = linear + np.diag(pairwise) / 2 + off.sum(1) / 2
    rule = stopping.units(1)
    estimate = run(
        key, permutation.antithetic(30), Game(30, score), until=rule, every=1
    )
    np.testing.assert_allclose(estimate.values, expected, rtol=1e-10)
    assert np.isnan(estimate.stderr).all()


def test_kernel_fits_are_exact_for_additive_games(key):
    worth = jnp.arange(1.0, 9.0)
    game = Game(8, lambda mask: mask @ worth + 3.0)
    for method in [least_squares.kernel_shap(8), least_squares.kernel_banzhaf(8)]:
        estimate = run(key, method, game, until=stopping.budget(600))
        np.testing.assert_allclose(estimate.values, worth, rtol=1e-6)


def test_an_undetermined_fit_is_refused(key):
    game = Game(40, lambda mask: mask.sum() * 1.0)
    method = least_squares.kernel_shap(40, pairs=2)
    with pytest.raises(ValueError, match="no value yet"):
        run(key, method, game, until=lambda status: True, every=1)


def test_adjustment_pays_where_the_fit_is_good(key):
    rng = np.random.default_rng(0)
    worth = jnp.asarray(rng.normal(size=20))
    game = Game(20, lambda mask: mask @ worth + 0.1 * jnp.sin(mask @ worth))
    rule = stopping.budget(4000)
    plain = run(key, sample_reuse.msr_unbiased(20, weights.shapley), game, until=rule)
    fitted = run(key, regression_adjustment.regression_adjusted(20), game, until=rule)
    assert fitted.stderr.mean() < plain.stderr.mean() / 5


def test_walks_ask_what_the_game_answers_cheaply(key):
    asked = []

    def prefixes(order):
        asked.append("prefixes")
        return jnp.arange(order.shape[0] + 1.0)

    fast = Game(4, lambda mask: mask.sum() * 1.0, fast_prefixes=prefixes)
    out = run(key, permutation.permutation_sampling(4), fast, until=stopping.units(1))
    assert asked == ["prefixes"]
    assert out.num_evaluations == 16 * 5
    np.testing.assert_allclose(out.estimate.values, np.ones(4), rtol=1e-12)
    slow = Game(4, lambda mask: mask.sum() * 1.0)
    out = run(key, permutation.permutation_sampling(4), slow, until=stopping.units(1))
    assert out.num_evaluations == 16 * 3


@pytest.mark.parametrize("method", sorted({m for m, _ in CASES}))
def test_host_games_give_what_traced_games_give(method, key):
    case = next(c for c in CASES if c[0] == method)
    table = five_player_tables()[3]
    bits = 1 << np.arange(5)
    host = Game(5, lambda mask: table[int(mask @ bits)], on_host=True)
    rule = lambda status: status.steps >= 8
    a = run(key, CASES[case], host, until=rule, every=8)
    b = run(key, CASES[case], table_game(table), until=rule, every=8)
    np.testing.assert_allclose(a.values, b.values, atol=1e-9)
    np.testing.assert_array_equal(a.counts, b.counts)


def test_the_driver_traces_a_game_once_for_all_of_its_kind(key):
    traces = []

    def score(a, mask):
        traces.append(1)
        return a @ mask

    method = permutation.permutation_sampling(3)
    for seed in range(3):
        game = Game(3, jax.tree_util.Partial(score, jnp.arange(3.0) + seed))
        run(key, method, game, until=stopping.units(64))
    # Once to score the endpoints, once to walk.
    assert len(traces) == 2


def test_large_games_of_ten_thousand_players(key):
    game = Game(
        10_000,
        lambda mask: mask.sum() * 1.0,
        fast_prefixes=lambda order: jnp.arange(order.shape[0] + 1.0),
    )
    for law in [weights.shapley, weights.banzhaf, weights.beta(16, 1)]:
        estimate = run(
            key,
            permutation.permutation_sampling(10_000, law),
            game,
            until=stopping.units(4),
        )
        assert np.isfinite(estimate.values).all()


@pytest.mark.parametrize(
    "make",
    [
        sample_reuse.msr,
        sample_reuse.msr_unbiased,
        regression_adjustment.regression_adjusted,
    ],
)
def test_weights_that_need_no_sampling_are_referred(make):
    with pytest.raises(ValueError, match="leave_one_out"):
        make(5, weights.leave_one_out)


def test_players_must_match(key):
    game = Game(3, lambda mask: mask.sum() * 1.0)
    with pytest.raises(ValueError, match="made for 4 players; the game has 3"):
        run(key, permutation.permutation_sampling(4), game, until=stopping.units(1))


def test_a_score_that_is_not_finite_stops_the_run(key):
    game = Game(4, lambda mask: jnp.where(mask.sum() == 2, jnp.nan, 1.0))
    with pytest.raises(
        ValueError, match=r"finite; got nan for the coalition of players \["
    ):
        run(key, permutation.permutation_sampling(4), game, until=stopping.units(1))


def test_masks_of_walks_are_prefixes(key):
    order = jax.random.permutation(key, 6)
    assert np.asarray(masks.prefixes(order)).sum(1).tolist() == list(range(7))
