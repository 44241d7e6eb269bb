import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jaxval.coalitions import masks
from jaxval.coalitions.game import Game, LeaveOneOut, combine
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
