"""The textbook games of gloves, airports and votes, with their Shapley values.

They are part of `games.analytic`, from which they are used.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Num

from jaxval._checks import check
from jaxval.coalitions.game import Game
from jaxval.execution.precision import float64, in_double
from jaxval.games._analytic_counts import glove_value, voting_power

__all__ = [
    "airport",
    "airport_shapley",
    "gloves",
    "gloves_shapley",
    "voting",
    "voting_shapley",
]

Numbers = Num[Array, " n"] | Num[np.ndarray, " n"] | Sequence[float]


def gloves(num_left: int, num_right: int) -> Game:
    r"""Pairs of gloves: $v(S) = \min(|S \cap L|, |S \cap R|)$.

    Args:
      num_left: Players with a left glove, the first ones.
      num_right: Players with a right glove.

    Example:
      >>> float(gloves(1, 2).score(jnp.array([True, True, True])))
      1.0
    """
    check(num_left >= 1, f"num_left must be at least 1; got {num_left}.")
    check(num_right >= 1, f"num_right must be at least 1; got {num_right}.")
    left = jnp.arange(num_left + num_right) < num_left
    return Game(num_left + num_right, Partial(_gloves, left))


@in_double
def _gloves(left, mask):
    return jnp.minimum(jnp.sum(mask & left), jnp.sum(mask & ~left)).astype(jnp.float64)


def gloves_shapley(num_left: int, num_right: int) -> Float[np.ndarray, " n"]:
    """A left glove adds a pair when it finds more right ones than left ones there.

    Args:
      num_left: Players with a left glove, the first ones.
      num_right: Players with a right glove.

    Returns:
      Shapley values of `gloves`.

    Example:
      >>> gloves_shapley(1, 2).round(4)
      array([0.6667, 0.1667, 0.1667])
    """
    values = glove_value(num_left, num_right), glove_value(num_right, num_left)
    return np.repeat(values, [num_left, num_right])


def airport(costs: Numbers) -> Game:
    r"""A runway for the largest aircraft: $v(S) = \max_{i \in S} c_i$.

    Args:
      costs: Cost of the runway that each player needs; not negative.

    Example:
      >>> float(airport([1.0, 3.0]).score(jnp.array([True, True])))
      3.0
    """
    costs = float64(costs)
    check(bool((np.asarray(costs) >= 0).all()), "costs must not be negative.")
    return Game(len(costs), Partial(_airport, costs))


@in_double
def _airport(costs, mask):
    return jnp.max(jnp.where(mask, costs, 0.0), initial=0.0)


def airport_shapley(costs: Numbers) -> Float[np.ndarray, " n"]:
    """Players share each stretch of runway with those who need it too.

    Args:
      costs: Cost of the runway that each player needs.

    Returns:
      Shapley values of `airport`.

    Example:
      >>> airport_shapley(np.array([3.0, 1.0]))
      array([2.5, 0.5])
    """
    costs = np.asarray(costs, np.float64)
    order = np.argsort(costs, kind="stable")
    stretches = np.diff(costs[order], prepend=0.0) / np.arange(len(costs), 0, -1)
    values = np.empty_like(costs)
    values[order] = np.cumsum(stretches)
    return values


def voting(weights: Sequence[int], quota: int) -> Game:
    r"""$v(S) = 1[\sum_{i \in S} w_i \ge q]$.

    Args:
      weights: Votes of each player, in whole numbers.
      quota: Votes that win.

    Example:
      >>> float(voting((3, 2), 3).score(jnp.array([False, True])))
      0.0
    """
    _check_votes(weights, quota)
    return Game(len(weights), Partial(_voting, (float64(weights), float64(quota))))


@in_double
def _voting(rules, mask):
    weights, quota = rules
    return (mask.astype(jnp.float64) @ weights >= quota).astype(jnp.float64)


def voting_shapley(weights: Sequence[int], quota: int) -> Float[np.ndarray, " n"]:
    """Shapley-Shubik power by counting coalitions of each size and weight.

    The table of all players is filled once and each taken out of it again, in exact
    integers: 51 players with weights of some tens take a second.

    Args:
      weights: Votes of each player, in whole numbers.
      quota: Votes that win.

    Returns:
      Shapley values of `voting`.

    Example:
      >>> voting_shapley((3, 2, 2), 4).round(4)
      array([0.3333, 0.3333, 0.3333])
    """
    _check_votes(weights, quota)
    return voting_power(weights, quota)


def _check_votes(weights, quota):
    check(len(weights) >= 1, "weights is empty: at least one player must vote.")
    good = all(int(w) == w and w >= 0 for w in weights)
    check(good, f"weights must be whole non-negative numbers; got {weights}.")
    check(
        0 < quota <= sum(weights),
        f"quota must lie between 1 and the sum of weights {sum(weights)}; got {quota}.",
    )
