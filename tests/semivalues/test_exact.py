import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from oracles.semivalues import NAMED_WEIGHTS as NAMED
from oracles.semivalues import semivalue, shapley_by_orders

from jaxval.coalitions import masks
from jaxval.coalitions.game import Game
from jaxval.semivalues import exact, weights


def curved(n=5, seed=0):
    """A game without structure: a smooth function of a random linear form."""
    a = jnp.asarray(np.random.default_rng(seed).normal(size=n))
    return Game(n, Partial(lambda a, m: jnp.sin(a @ m) + (a @ m) ** 3 + 1.0, a))


@pytest.mark.parametrize("name", NAMED)
def test_against_the_definition(name, x64):
    game = curved()
    expected = semivalue(game, NAMED[name](5))
    np.testing.assert_allclose(exact.values(game, NAMED[name]).values, expected, 1e-10)


def test_shapley_against_all_orders(x64):
    game = curved()
    np.testing.assert_allclose(
        exact.values(game).values, shapley_by_orders(game), rtol=1e-10
    )


def test_efficiency_and_error_bars(x64):
    estimate = exact.values(curved(8))
    scores = exact.table(curved(8))
    np.testing.assert_allclose(estimate.values.sum(), scores[-1] - scores[0], 1e-12)
    assert (estimate.stderr == 0).all()
    assert (estimate.counts == 256).all()


def test_a_null_player_gets_exactly_nothing():
    game = Game(6, lambda mask: jnp.sqrt(1.0 + mask[1:].sum()))
    for name in NAMED:
        assert exact.values(game, NAMED[name]).values[0] == 0.0


def test_the_host_scores_each_coalition_once():
    asked = []
    game = Game(5, lambda mask: asked.append(1) or mask.sum() ** 2.0, on_host=True)
    seen = []
    scores = exact.table(game, progress=lambda *p: seen.append(p))
    assert len(asked) == 32
    assert seen[-1] == (32, 32)
    expected = np.asarray(masks.powerset(5)).sum(1) ** 2.0
    np.testing.assert_array_equal(scores, expected)


def test_the_table_is_asked_for_at_once_where_the_game_knows_it():
    game = Game(3, lambda mask: 1 / 0, fast_powerset=lambda: jnp.arange(8.0))
    np.testing.assert_array_equal(exact.table(game), np.arange(8.0))


def test_leave_one_out_takes_the_fast_way(x64):
    game = curved()
    expected = exact.from_table(exact.table(game), weights.leave_one_out)
    np.testing.assert_allclose(exact.leave_one_out(game).values, expected, rtol=1e-12)


def test_leave_one_out_weights_need_no_enumeration():
    game = Game(5000, lambda mask: mask.sum() * 1.0, batch_size=100)
    estimate = exact.values(game, weights.leave_one_out)
    np.testing.assert_array_equal(estimate.values, np.ones(5000))


def test_groups_left_out():
    game = Game(4, lambda mask: mask.sum() ** 2.0)
    estimate = exact.leave_groups_out(game, np.array([1, 0, 1, 1]))
    np.testing.assert_array_equal(estimate.values, [16 - 9, 16 - 1])
    with pytest.raises(ValueError, match="groups"):
        exact.leave_groups_out(game, np.array([0, 1]))


def test_more_players_than_enumeration_allows():
    with pytest.raises(ValueError, match="semivalues.antithetic"):
        exact.values(Game(25, lambda mask: mask.sum() * 1.0))


def test_a_score_that_is_not_finite_is_named():
    game = Game(3, lambda mask: jnp.where(mask.sum() == 0, jnp.nan, 1.0))
    with pytest.raises(ValueError, match=r"nan for the coalition of players \[\]"):
        exact.values(game)
    with pytest.raises(ValueError, match="2\\*\\*n"):
        exact.from_table(np.zeros(7), weights.shapley)


def test_a_game_of_one():
    assert exact.values(Game(1, lambda mask: mask.sum() * 3.0)).values.tolist() == [3.0]


def test_a_million_coalitions_fold_in_well_under_a_second():
    scores = np.random.default_rng(0).normal(size=2**20)
    start = time.process_time()
    values = exact.from_table(scores, weights.shapley)
    assert time.process_time() - start < 1.0
    np.testing.assert_allclose(values.sum(), scores[-1] - scores[0], atol=1e-9)


def test_one_compilation_for_all_games_of_a_kind():
    jax.clear_caches()
    traces = []

    def score(a, mask):
        traces.append(1)
        return a @ mask

    for seed in range(3):
        exact.table(Game(3, Partial(score, jnp.arange(3.0) + seed)))
    assert len(traces) == 1
