import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jaxval.coalitions import masks
from jaxval.coalitions.algebra import combine, grouped
from jaxval.coalitions.game import Game, LeaveOneOut, Rows
from jaxval.execution.precision import float64, in_double
from jaxval.types import Dataset


@in_double
def weigh(worth, mask):
    return mask.astype(jnp.float64) @ worth


@in_double
def weigh_prefixes(worth, order):
    return jnp.concatenate([jnp.zeros(1), jnp.cumsum(worth[order])])


@in_double
def weigh_without(worth):
    return LeaveOneOut(worth.sum(), worth.sum() - worth)


def fast(worth):
    worth = float64(worth)
    return Game(
        len(worth),
        Partial(weigh, worth),
        fast_prefixes=Partial(weigh_prefixes, worth),
        fast_leave_one_out=Partial(weigh_without, worth),
    )


def square():
    return Game(3, lambda mask: mask.sum() ** 2 * 1.0)


def test_structured_questions_default_to_scores():
    game, order = square(), jnp.array([2, 0, 1])
    assert game.prefix_scores(order).tolist() == [0, 1, 4, 9]
    full, without = game.leave_one_out_scores()
    assert float(full) == 9
    assert without.tolist() == [4, 4, 4]
    assert game.powerset_scores().tolist() == [0, 1, 1, 4, 1, 4, 4, 9]


def test_batches_give_the_same_scores():
    whole = square()
    parts = Game(3, whole.score, batch_size=3)
    np.testing.assert_array_equal(whole.powerset_scores(), parts.powerset_scores())


def test_a_combination_is_linear_and_keeps_fast_answers():
    a, b = fast([1.0, 2.0, 4.0]), square()
    game, order = 2.0 * a - b, jnp.array([1, 2, 0])
    assert game.fast_prefixes is not None
    assert game.fast_powerset is None
    for ask in (
        lambda g: g.scores(masks.powerset(3)),
        lambda g: g.prefix_scores(order),
        lambda g: g.powerset_scores(),
        lambda g: jnp.append(*g.leave_one_out_scores()[::-1]),
    ):
        expected = 2 * np.asarray(ask(a)) - np.asarray(ask(b))
        np.testing.assert_allclose(ask(game), expected, rtol=1e-12)
    np.testing.assert_allclose((-a).powerset_scores(), -a.powerset_scores())
    np.testing.assert_allclose((a + b).scores(masks.powerset(3))[-1], 16.0)


def climb(carry, mask):
    """Counts the steps of a walk, and pays for them."""
    steps = jnp.zeros(()) if carry is None else carry
    return steps + 1, mask.sum() + steps


def test_a_combination_walks_with_its_parts():
    walker = dataclasses.replace(square(), fast_step=climb)
    both = 2.0 * walker + square()
    mask = jnp.array([True, True, False])
    carry, first = both.fast_step(None, mask)
    _, second = both.fast_step(carry, mask)
    assert (float(first), float(second)) == (2 * 2 + 4, 2 * 3 + 4)
    # All prefixes at once beat one score at a time.
    assert (walker + fast([1.0, 2.0, 4.0])).fast_step is None


def test_combined_games_agree_on_their_players():
    with pytest.raises(ValueError, match="same players"):
        combine((1.0, 1.0), (fast([1.0]), fast([1.0, 2.0])))


def test_a_game_is_a_pytree():
    game = fast([1.0, 2.0]) - 0.5 * fast([3.0, 1.0])
    leaves, structure = jax.tree.flatten(game)
    again = jax.tree.unflatten(structure, leaves)
    assert len(leaves) > 4
    np.testing.assert_array_equal(game.powerset_scores(), again.powerset_scores())


def test_games_of_a_kind_share_one_program():
    traces = 0

    @jax.jit
    def ask(game):
        nonlocal traces
        traces += 1
        return game.powerset_scores()

    for factor in (1.0, 2.0, 3.0):
        table = ask(factor * fast([1.0, factor]))
        np.testing.assert_allclose(table[-1], factor * (1 + factor))
    assert traces == 1


def test_single_precision_callers_get_double_precision_scores():
    game = fast([1.0, 2.0**-40])
    scores = jax.jit(lambda g: g.powerset_scores())(game)
    assert scores.dtype == jnp.float64
    assert float(scores[3]) == 1.0 + 2.0**-40


def test_games_on_the_host_see_numpy_and_combine():
    seen = []

    def score(mask):
        seen.append(type(mask))
        return float(mask.sum())

    host = Game(2, score, on_host=True)
    both = host + fast([1.0, 1.0])
    assert both.on_host
    assert np.asarray(both.scores(masks.powerset(2))).tolist() == [0, 2, 2, 4]
    assert set(seen) == {np.ndarray}


def test_a_score_on_the_host_that_is_no_number_is_an_error():
    host = Game(2, lambda mask: np.inf if mask[1] else 0.0, on_host=True)
    with pytest.raises(ValueError, match=r"finite.*players \[1\]"):
        host.powerset_scores()


def test_datasets_count_owners():
    data = Dataset(np.zeros((3, 2)), np.zeros(3), np.array([0, 2, 2]))
    assert data.num_owners == 3
    assert data.sizes.tolist() == [1, 0, 2]


def row_game(reduce=None):
    """Three rows that each weigh the players in their own way."""
    weights = float64(np.array([[1.0, 2.0, 4.0], [0.0, 1.0, 0.0], [3.0, 0.0, -1.0]]))
    rows = Rows(3, Partial(by_row, weights), reduce=reduce)
    return Game(3, Partial(row_mean, weights), rows=rows)


@in_double
def by_row(weights, masks):
    return masks.astype(jnp.float64) @ weights.T


@in_double
def row_mean(weights, mask):
    return (weights @ mask.astype(jnp.float64)).mean()


def test_rows_reduce_to_the_score_and_survive_scaling_sums_and_groups():
    all_of_three = np.asarray(masks.powerset(3))
    game = row_game()
    for some in (
        game,
        2.0 * game - 0.5 * row_game(),
        grouped(game, np.array([0, 1, 0]), 2),
    ):
        asked = all_of_three if some.num_players == 3 else np.asarray(masks.powerset(2))
        by_rows = some.row_scores(asked)
        reduced = np.asarray(some.reduce_rows(by_rows))
        np.testing.assert_allclose(reduced, some.scores(asked), rtol=1e-12)
        full, without = some.row_leave_one_out_scores()
        np.testing.assert_allclose(full, by_rows[-1], rtol=1e-12)
        assert without.shape == (some.num_players, 3)
        prefixes = some.row_prefix_scores(jnp.arange(some.num_players))
        np.testing.assert_allclose(prefixes[-1], by_rows[-1], rtol=1e-12)


def test_rows_with_a_metric_of_their_own_are_kept_by_groups_only():
    best = row_game(reduce=lambda scores, weights: scores.max(-1))
    assert grouped(best, np.array([0, 0, 1]), 2).rows.reduce is best.rows.reduce
    assert (2.0 * best).rows is None
    assert (best + row_game()).rows is None
    with pytest.raises(ValueError, match="does not answer by validation row"):
        square().row_scores(np.ones((1, 3), bool))


def test_a_group_brings_all_its_players():
    game = grouped(fast([1.0, 2.0, 4.0]), np.array([0, 1, 0]), 3)
    table = np.asarray(game.powerset_scores())
    assert table.tolist() == [0, 5, 2, 7, 0, 5, 2, 7]
    with pytest.raises(ValueError, match="owner must name the group"):
        grouped(square(), np.array([0, 1]), 2)


SHAPES = [(), (1,), (1, 1)]


@pytest.mark.parametrize("on_host", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_score_of_one_entry_is_a_number(shape, on_host):
    xp = np if on_host else jnp
    game = Game(3, lambda mask: xp.full(shape, 1.0) * mask.sum(), on_host=on_host)
    for some in (game, 2.0 * game, grouped(game, np.array([0, 1, 1]), 2)):
        table = np.asarray(some.powerset_scores())
        assert table.shape == (2**some.num_players,)


@pytest.mark.parametrize("on_host", [False, True])
@pytest.mark.parametrize("shape", [(2,), (0,), (1, 2), (1, 1, 1)])
def test_a_score_of_many_entries_is_refused(shape, on_host):
    xp = np if on_host else jnp
    game = Game(2, lambda mask: xp.zeros(shape), on_host=on_host)
    for some in (game, game + game):
        with pytest.raises(ValueError, match="must be one number"):
            some.powerset_scores()


def test_games_pickle_in_double_precision():
    game = dataclasses.replace(
        fast([1.0, 2.0**-40]) - 0.5 * fast([3.0, 1.0]), fingerprint="data"
    )
    again = pickle.loads(pickle.dumps(game))
    leaves = jax.tree.leaves(again)
    assert {str(leaf.dtype) for leaf in leaves} == {"float64"}
    assert all(isinstance(leaf, jax.Array) for leaf in leaves)
    np.testing.assert_array_equal(again.powerset_scores(), game.powerset_scores())
    assert again.fingerprint == "data"
    host = Game(2, total, on_host=True)
    assert pickle.loads(pickle.dumps(host)).powerset_scores().tolist() == [0, 1, 1, 2]


def total(mask):
    return float(mask.sum())


def test_a_fingerprint_belongs_to_no_program_and_is_passed_on():
    one = dataclasses.replace(fast([1.0, 2.0]), fingerprint="one")
    two = dataclasses.replace(fast([3.0, 4.0]), fingerprint="two")
    assert jax.tree.structure(one) == jax.tree.structure(two)
    assert (one - two).fingerprint == "one+two"
    assert grouped(one, np.array([0, 0]), 1).fingerprint == "one"
    assert (fast([1.0]) * 2).fingerprint is None
