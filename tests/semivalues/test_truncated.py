import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxval.coalitions import masks
from jaxval.coalitions.game import Game
from jaxval.games import linear_models as convex
from jaxval.games.linear_models import logistic
from jaxval.semivalues import Ends, run, stopping, truncated
from jaxval.training import negative
from jaxval.training.losses import cross_entropy
from jaxval.types import Dataset, Points


def saturating(n=12, *, fast=False, host=False):
    """Worth that is nearly all there after a few players, and then wobbles."""
    bent = lambda size: 1.0 - 0.4**size + 0.004 * jnp.cos(3.0 * size)
    score = lambda mask: bent(mask.sum() + 0.5 * mask[0])

    def on_host(mask):
        size = mask.sum() + 0.5 * mask[0]
        return float(1.0 - 0.4**size + 0.004 * np.cos(3.0 * size))

    def prefixes(order):
        return jax.vmap(score)(masks.prefixes(order))

    if host:
        return Game(n, on_host, on_host=True)
    return Game(n, score, fast_prefixes=prefixes if fast else None)


def by_hand(order, game, band, patience):
    """Data Shapley's loop, as its authors wrote it down."""
    mask = np.zeros(game.num_players, bool)
    empty = before = float(game.score(jnp.asarray(mask)))
    full = float(game.score(jnp.asarray(~mask)))
    del empty
    paid, hits, calls = np.zeros(game.num_players), 0, 0
    for place, player in enumerate(order):
        mask[player] = True
        after = float(game.score(jnp.asarray(mask)))
        calls += place < game.num_players - 1
        paid[player] = after - before
        before = after
        hits = hits + 1 if abs(after - full) <= band * abs(full) else 0
        if hits > patience - 1:
            break
    return paid, calls


@pytest.mark.parametrize("lanes", [1, 3, 7])
def test_lanes_walk_as_the_rule_says(lanes, key, x64):
    game = saturating()
    method = truncated.tmc(12, permutations=7, num_parallel=lanes, patience=3)
    empty, full = np.zeros(12, bool), np.ones(12, bool)
    known = Ends(*(game.score(jnp.asarray(m)) for m in (empty, full)))
    sample = jax.jit(method.sample)(key, game, known)
    orders = np.asarray(truncated._orders.shuffles(key, 7, 12))
    told = [by_hand(order, game, 0.01, 3) for order in orders]
    np.testing.assert_allclose(sample.units, np.stack([t[0] for t in told]), atol=1e-12)
    assert int(sample.num_evaluations) == sum(t[1] for t in told)
    assert 0 < int(sample.num_evaluations) < 7 * 11


@pytest.mark.parametrize("kind", ["fast", "host"])
def test_fast_and_host_games_truncate_alike(kind, key):
    method = truncated.tmc(12, patience=3)
    rule = stopping.units(32)
    one = run(key, method, saturating(), until=rule, every=2)
    two = run(key, method, saturating(**{kind: True}), until=rule, every=2)
    np.testing.assert_allclose(one.estimate.values, two.estimate.values, atol=1e-6)
    np.testing.assert_array_equal(one.state.reached, two.state.reached)


def test_the_host_is_asked_for_all_live_lanes_at_once(key):
    asked = []
    table = saturating(host=True)

    def scores(masks):
        asked.append(len(masks))
        return np.array([table.score(mask) for mask in np.asarray(masks)])

    game = Game(12, table.score, fast_scores=scores, on_host=True)
    rule = stopping.units(8)
    outs, sizes = [], []
    for lanes in (None, 1, 3):
        method = truncated.tmc(12, permutations=8, num_parallel=lanes, patience=3)
        asked.clear()
        outs.append(run(key, method, game, until=rule, every=1))
        sizes.append(asked[1:])
    assert sizes[0][0] == 8
    assert len(sizes[0]) <= 11
    assert set(sizes[1]) == {1}
    assert max(sizes[2]) == 3
    for out, size in zip(outs, sizes, strict=True):
        assert out.num_evaluations == sum(size)
        np.testing.assert_array_equal(out.estimate.values, outs[0].estimate.values)
        np.testing.assert_array_equal(out.state.reached, outs[0].state.reached)


def test_refilled_lanes_stay_full_until_nothing_is_left(key):
    asked = []
    game = Game(
        30,
        lambda mask: 1.0,
        fast_scores=lambda masks: asked.append(len(masks)) or np.ones(len(masks)),
        on_host=True,
    )
    method = truncated.tmc(30, permutations=12, num_parallel=4, patience=2)
    out = run(key, method, game, until=stopping.units(12), every=1)
    assert asked[1:] == [4] * 6
    assert out.num_evaluations == 24


def of_digits(n, **options):
    x, y = load_digits(return_X_y=True)
    chosen = np.random.default_rng(0).permutation(len(y))[: n + 60]
    x, y = x[chosen] / 16, y[chosen]
    return logistic(
        Dataset(x[:n], y[:n], np.arange(n)), Points(x[n:], y[n:]), **options
    )


SMOOTH = {"metric": negative(cross_entropy), "tolerance": 1e-9}


@pytest.mark.parametrize("lanes", [1, 3])
def test_warm_walks_truncate_as_all_prefixes_do(lanes, key):
    game = of_digits(14, **SMOOTH)
    whole = dataclasses.replace(game, fast_step=None)
    band = truncated.relative_to_full(0.5)
    options = {"band": band, "patience": 2, "permutations": 4}
    method = truncated.tmc(14, num_parallel=lanes, **options)
    rule = stopping.units(8)
    walked = run(key, method, game, until=rule, every=2)
    scored = run(key, truncated.tmc(14, **options), whole, until=rule, every=2)
    np.testing.assert_allclose(
        walked.estimate.values, scored.estimate.values, atol=1e-6
    )
    np.testing.assert_array_equal(walked.state.reached, scored.state.reached)
    assert scored.num_evaluations == 8 * 15
    finished = np.asarray(walked.state.reached).sum() - walked.num_evaluations
    assert 0 <= finished < 8
    assert walked.num_evaluations < 8 * 13


def test_walks_that_are_not_truncated_are_permutation_sampling(key):
    game = of_digits(8, **SMOOTH)
    rule = stopping.units(4)
    band = truncated.absolute(0.0)
    method = truncated.tmc(8, band=band, patience=100, permutations=4)
    out = run(key, method, game, until=rule, every=1)
    orders = np.asarray(truncated._orders.shuffles(jax.random.fold_in(key, 0), 4, 8))
    ask = jax.jit(lambda game, members: game.scores(members))
    paid = np.zeros(8)
    for order in orders:
        paid[order] += np.diff(ask(game, masks.prefixes(jnp.asarray(order)))) / 4
    np.testing.assert_allclose(out.estimate.values, paid, atol=1e-6)
    assert out.num_evaluations == 4 * 7
    assert truncated.bias(out.state).missing == pytest.approx(0.0, abs=1e-9)


def test_data_shapleys_rules_under_one_name(key):
    x, y = load_digits(n_class=2, return_X_y=True)
    x, y = x[:60] / 16, y[:60]
    game = convex.data_shapley(
        Dataset(x[:20], y[:20], np.arange(20)), Points(x[20:], y[20:])
    )
    method = truncated.data_shapley(20, permutations=4)
    out = run(key, method, game, until=stopping.units(4), every=1)
    table = Game(20, jax.jit(game.score))
    orders = np.asarray(truncated._orders.shuffles(jax.random.fold_in(key, 0), 4, 20))
    told = [by_hand(order, table, 0.01, 6) for order in orders]
    np.testing.assert_allclose(
        out.estimate.values, np.mean([t[0] for t in told], axis=0), atol=1e-12
    )
    assert out.num_evaluations == sum(t[1] for t in told) < 4 * 19
    share = np.bincount(y[20:]).max() / 40
    lacking = jnp.asarray(y[:20] == 0)
    assert float(table.score(jnp.zeros(20, bool))) == pytest.approx(share)
    assert float(table.score(lacking)) == pytest.approx(share)


def test_the_bias_is_reported(key):
    # Late players would lose a little each: truncation leaves their losses out.
    game = Game(30, lambda mask: jnp.tanh(mask.sum()) - 0.0001 * mask.sum())
    out = run(key, truncated.tmc(30), game, until=stopping.units(64), every=1)
    told = truncated.bias(out.state)
    worth = np.tanh(30.0) - 0.003
    np.testing.assert_allclose(told.missing, worth - out.estimate.values.sum(), 1e-6)
    assert told.missing < -0.001
    assert (told.skipped > 0.5).all()


def test_a_negative_full_score_does_not_misfire(key):
    # Relative to v(N) = -10, not to a running sum that crosses zero.
    game = Game(10, lambda mask: -1.0 * mask.sum())
    out = run(key, truncated.tmc(10), game, until=stopping.units(16))
    np.testing.assert_allclose(out.estimate.values, -np.ones(10), rtol=1e-12)
    assert truncated.bias(out.state).missing == pytest.approx(0, abs=1e-9)


def test_zeros_do_not_stop_a_walk_before_they_must(key):
    # Nobody adds anything until all are there; full = 1, so zeros are no hits.
    game = Game(8, lambda mask: mask.all() * 1.0)
    out = run(key, truncated.tmc(8), game, until=stopping.units(16))
    np.testing.assert_allclose(out.estimate.values.sum(), 1.0)


def test_an_absolute_band(key):
    game = Game(20, lambda mask: 5.0 - 4.0 * 0.3 ** mask.sum())
    wide = truncated.tmc(20, band=truncated.absolute(1.0), name="absolute(1)")
    tight = truncated.tmc(20, band=truncated.absolute(1e-9), name="absolute(0)")
    ask = lambda method: run(key, method, game, until=stopping.units(16))
    assert ask(wide).num_evaluations < ask(tight).num_evaluations
