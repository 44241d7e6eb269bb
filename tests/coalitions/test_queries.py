import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jaxval.coalitions import masks, queries
from jaxval.coalitions.game import Game, LeaveOneOut, Rows
from jaxval.evaluation import curves
from jaxval.execution.precision import float64, in_double
from jaxval.semivalues import exact


@in_double
def bent(worth, mask):
    return jnp.tanh(worth @ mask.astype(jnp.float64)) + 0.25


@in_double
def bent_many(worth, members):
    return jnp.tanh(members.astype(jnp.float64) @ worth) + 0.25


@in_double
def bent_prefixes(worth, order):
    sums = jnp.concatenate([jnp.zeros(1), jnp.cumsum(worth[order])])
    return jnp.tanh(sums) + 0.25


@in_double
def bent_left_out(worth):
    return LeaveOneOut(
        jnp.tanh(worth.sum()) + 0.25, jnp.tanh(worth.sum() - worth) + 0.25
    )


def worths(n):
    return np.random.default_rng(n).normal(size=n)


def games(n):
    worth = float64(worths(n))
    traced = Game(n, Partial(bent, worth))
    numpy = lambda mask: float(np.tanh(worths(n) @ mask) + 0.25)
    return {
        "traced": traced,
        "batches": dataclasses.replace(traced, batch_size=3),
        "host": Game(n, numpy, on_host=True),
        "fast": dataclasses.replace(
            traced,
            fast_scores=Partial(bent_many, worth),
            fast_prefixes=Partial(bent_prefixes, worth),
            fast_leave_one_out=Partial(bent_left_out, worth),
        ),
    }


def by_numpy(n, members):
    return np.tanh(np.asarray(members) @ worths(n)) + 0.25


@pytest.mark.parametrize("kind", ["traced", "batches", "host", "fast"])
@pytest.mark.parametrize("n", [1, 2, 7, 300])
def test_every_question_equals_numpy(kind, n):
    game = games(n)[kind]
    rng = np.random.default_rng(0)
    members = rng.random((37, n)) < 0.5
    close = {"rtol": 1e-12, "atol": 1e-14}
    np.testing.assert_allclose(
        queries.scores(game, members), by_numpy(n, members), **close
    )
    order = rng.permutation(n)
    np.testing.assert_allclose(
        queries.prefix_scores(game, order),
        by_numpy(n, masks.prefixes(jnp.asarray(order))),
        **close,
    )
    full, without = queries.leave_one_out_scores(game)
    left = by_numpy(n, masks.leave_one_out(n))
    np.testing.assert_allclose(np.append(full, without), left, **close)
    empty, full = queries.ends(game)
    assert float(empty) == 0.25
    np.testing.assert_allclose(float(full), left[0], **close)
    if n <= 7:
        table = queries.powerset_scores(game)
        np.testing.assert_allclose(table, by_numpy(n, masks.powerset(n)), **close)


def test_five_thousand_players():
    game = games(5000)["traced"]
    _, without = queries.leave_one_out_scores(game)
    expected = by_numpy(5000, ~np.eye(5000, dtype=bool))
    np.testing.assert_allclose(without, expected, rtol=1e-9, atol=1e-12)


def test_no_masks_no_scores():
    for game in games(3).values():
        assert queries.scores(game, np.zeros((0, 3), bool)).shape == (0,)


def test_one_trace_for_exact_leave_one_out_endpoints_and_curve():
    traces = []

    def score(worth, mask):
        traces.append(1)
        return worth @ mask

    for seed in range(2):
        game = Game(6, Partial(score, float64(worths(6) + seed)))
        exact.values(game)
        exact.leave_one_out(game)
        queries.ends(game)
        queries.prefix_scores(game, np.arange(6))
        curves.removal_curve(game, worths(6))
    assert len(traces) == 1


@pytest.mark.parametrize("kind", ["traced", "host", "fast"])
def test_progress_ends_at_all(kind):
    told = []
    queries.powerset_scores(games(7)[kind], progress=lambda *at: told.append(at))
    assert told[-1] == (128, 128)
    assert [at[0] for at in told] == sorted({at[0] for at in told})


@pytest.mark.parametrize("on_host", [False, True])
def test_a_score_that_is_no_number_names_its_coalition(on_host):
    if on_host:
        bad = lambda mask: np.nan if mask[1] and mask[3] else 1.0
    else:
        bad = lambda mask: jnp.where(mask[1] & mask[3], jnp.nan, 1.0)
    game = Game(4, bad, on_host=on_host)
    with pytest.raises(ValueError, match=r"got nan for the coalition of.*\[1, 3\]"):
        queries.powerset_scores(game)
    with pytest.raises(ValueError, match=r"\[0, 1, 3\]"):
        queries.prefix_scores(game, np.array([0, 1, 3, 2]))
    with pytest.raises(ValueError, match=r"\[0, 1, 2, 3\]"):
        queries.ends(game)


def test_masks_of_other_players_are_refused():
    with pytest.raises(ValueError, match="column for each of the 3 players"):
        queries.scores(games(3)["traced"], np.ones((2, 4), bool))


def additive(worth):
    return Game(3, Partial(lambda w, mask: w @ mask.astype(w.dtype), worth))


def closing_over(worth):
    return Game(3, lambda mask: worth @ mask.astype(worth.dtype))


@pytest.mark.parametrize("make", [additive, closing_over])
def test_exact_values_under_jit_grad_and_vmap(make):
    worth = jnp.asarray(np.array([1.0, 2.0, 4.0], np.float32))
    values = lambda w: exact.values(make(w)).values
    np.testing.assert_allclose(jax.jit(values)(worth), worth, rtol=1e-6)
    slope = jax.grad(lambda w: values(w)[1].astype(jnp.float32))(worth)
    np.testing.assert_allclose(slope, [0.0, 1.0, 0.0], atol=1e-6)
    many = jax.vmap(values)(jnp.stack([worth, 2 * worth]))
    np.testing.assert_allclose(many, np.stack([worth, 2 * worth]), rtol=1e-6)
    left = jax.jit(lambda w: exact.leave_one_out(make(w)).values)(worth)
    np.testing.assert_allclose(left, worth, rtol=1e-6)


def test_a_table_under_jit_grad_and_vmap():
    table = np.random.default_rng(0).normal(size=16)
    for law in (exact._weights.shapley, exact._weights.banzhaf):
        expected = exact.from_table(table, law)
        ask = lambda t, law=law: exact.from_table(t, law)
        with jax.enable_x64(True):
            traced = jnp.asarray(table)
            np.testing.assert_allclose(jax.jit(ask)(traced), expected, rtol=1e-12)
            twice = jax.vmap(ask)(jnp.stack([traced, -traced]))
            np.testing.assert_allclose(twice[1], -expected, rtol=1e-12)
            slope = jax.grad(lambda t, ask=ask: ask(t).sum())(traced)
            np.testing.assert_allclose(slope @ traced, expected.sum(), rtol=1e-12)


def rows_of(weights, members):
    return members.astype(weights.dtype) @ weights.T


@pytest.mark.parametrize("on_host", [False, True])
@pytest.mark.parametrize("block", [1, 3, 256])
def test_row_scores_in_blocks(on_host, block):
    weights = np.random.default_rng(0).normal(size=(5, 3))
    held = weights if on_host else float64(weights)
    rows = Rows(5, Partial(rows_of, held))
    game = Game(3, lambda mask: 0.0, on_host=on_host, rows=rows)
    members = np.asarray(masks.powerset(3))
    expected = members @ weights.T
    found = queries.row_scores(game, members, block=block)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    means = queries.row_scores(
        game, members, block=block, reduce=lambda scores: scores.mean(1)
    )
    np.testing.assert_allclose(np.concatenate(means), expected.mean(1), rtol=1e-12)


def test_row_scores_name_the_coalition_that_is_not_finite():
    rows = Rows(2, lambda members: jnp.where(members[:, :2], jnp.nan, 0.0))
    game = Game(3, lambda mask: 0.0, rows=rows)
    with pytest.raises(ValueError, match=r"not finite in some row.*\[1\]"):
        queries.row_scores(game, np.array([[0, 0, 1], [0, 1, 0]], bool))
    with pytest.raises(ValueError, match="does not answer by validation row"):
        queries.row_scores(Game(3, lambda mask: 0.0), np.ones((1, 3), bool))
