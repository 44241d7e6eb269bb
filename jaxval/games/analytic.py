r"""Games whose values are known in closed form: to test estimators, and to learn by.

Each comes as a `Game` and with a function of its exact values: Shapley values where
nothing is said, and any semi-value, given as the weight $p_s$ of a marginal
contribution to a coalition of $s$ players ($\sum_s \binom{n-1}{s} p_s = 1$, in logs so
that $n$ may be large), for `size_game`, `unanimity_sum` and `pairwise`.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Num
from scipy.special import gammaln, logsumexp

from jaxval._checks import check
from jaxval.coalitions.game import Game
from jaxval.execution.precision import float64, in_double
from jaxval.linalg import additive_table, pairwise_table

__all__ = [
    "UnanimitySum",
    "additive",
    "airport",
    "airport_shapley",
    "gloves",
    "gloves_shapley",
    "pairwise",
    "pairwise_values",
    "random_unanimity_sum",
    "size_game",
    "size_game_values",
    "unanimity_sum",
    "unanimity_sum_values",
    "voting",
    "voting_shapley",
]

LogWeights = Float[np.ndarray, " n"] | Float[Array, " n"]
Numbers = Num[Array, " n"] | Num[np.ndarray, " n"] | Sequence[float]


def additive(worth: Numbers) -> Game:
    """Everybody is worth the same to everybody; every semi-value is `worth`.

    Example:
      >>> float(additive([1.0, 2.0]).score(jnp.array([False, True])))
      2.0
    """
    worth = float64(worth)
    return Game(
        len(worth),
        Partial(_additive, worth),
        fast_powerset=Partial(additive_table, worth),
    )


@in_double
def _additive(worth, mask):
    return mask.astype(jnp.float64) @ worth


def gloves(num_left: int, num_right: int) -> Game:
    r"""Pairs of gloves: $v(S) = \min(|S \cap L|, |S \cap R|)$.

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

    Example:
      >>> gloves_shapley(1, 2).round(4)
      array([0.6667, 0.1667, 0.1667])
    """

    def one(same, other):
        n, total = same + other, 0.0
        for s in range(same):
            for o in range(s + 1, other + 1):
                ways = _log_choose(same - 1, s) + _log_choose(other, o)
                total += math.exp(ways - _log_choose(n - 1, s + o)) / n
        return total

    left, right = one(num_left, num_right), one(num_right, num_left)
    return np.repeat([left, right], [num_left, num_right])


def airport(costs: Numbers) -> Game:
    r"""A runway for the largest aircraft: $v(S) = \max_{i \in S} c_i$, 0 for nobody.

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
    """Everybody shares each stretch of runway with those who need it too.

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

    Example:
      >>> float(voting((3, 2), 3).score(jnp.array([False, True])))
      0.0
    """
    _check_votes(weights, quota)
    return Game(len(weights), Partial(_voting, (float64(weights), float64(quota))))


@in_double
def _voting(known, mask):
    weights, quota = known
    return (mask.astype(jnp.float64) @ weights >= quota).astype(jnp.float64)


def voting_shapley(weights: Sequence[int], quota: int) -> Float[np.ndarray, " n"]:
    """Shapley-Shubik power by counting coalitions of each size and weight.

    The table of everybody is filled once and each player taken out of it again, in
    exact integers: 51 players with weights of some tens take a second.

    Example:
      >>> voting_shapley((3, 2, 2), 4).round(4)
      array([0.3333, 0.3333, 0.3333])
    """
    _check_votes(weights, quota)
    n, total = len(weights), int(sum(weights))
    table = np.zeros((n + 1, total + 1), dtype=object)
    table[0, 0] = 1
    for weight in weights:
        joined = table[:-1, : total + 1 - weight]
        table[1:, weight:] = table[1:, weight:] + joined
    cache = {weight: _power(table, weight, quota, n) for weight in set(weights)}
    return np.array([cache[weight] for weight in weights])


def _power(table, weight, quota, n):
    """Swings of one player of this weight, over all sizes of the others' coalition."""
    without = table[:-1].copy()
    for size in range(1, n):
        if weight == 0:
            without[size] = without[size] - without[size - 1]
        else:
            without[size, weight:] -= without[size - 1, :-weight]
    swings = without[:, max(quota - weight, 0) : quota].sum(axis=1)
    return sum(
        int(count) / (n * math.comb(n - 1, size)) for size, count in enumerate(swings)
    )


def _check_votes(weights, quota):
    check(len(weights) >= 1, "weights is empty: there is nobody to vote.")
    good = all(int(w) == w and w >= 0 for w in weights)
    check(good, f"weights must be whole non-negative numbers; got {weights}.")
    check(
        0 < quota <= sum(weights),
        f"quota must lie between 1 and the sum of weights {sum(weights)}; got {quota}.",
    )


def size_game(worth: Numbers) -> Game:
    r"""$v(S) = w_{|S|}$, from the worth of 0, 1, ..., n players.

    Example:
      >>> float(size_game([0.0, 1.0, 4.0]).score(jnp.array([True, True])))
      4.0
    """
    worth = float64(worth)
    check(len(worth) >= 2, "worth needs the scores of nobody and of one at least.")
    return Game(len(worth) - 1, Partial(_size_game, worth))


def _size_game(worth, mask):
    return worth[jnp.sum(mask)]


def size_game_values(
    worth: Num[np.ndarray, " sizes"], log_weights: LogWeights | None = None
) -> Float[np.ndarray, " n"]:
    """Any semi-value: the mean step between sizes, the same for everybody.

    Example:
      >>> size_game_values(np.array([0.0, 1.0, 4.0]))
      array([2., 2.])
    """
    n = len(worth) - 1
    chances = _size_chances(n, log_weights)
    return np.full(n, float(chances @ np.diff(np.asarray(worth, np.float64))))


class UnanimitySum(NamedTuple):
    r"""$v(S) = \sum_t c_t\, 1[T_t \subseteq S]$: every game is one of these.

    Attributes:
      coefficients: $c_t$.
      members: $T_t$ as masks.
    """

    coefficients: Float[Array, " terms"]
    members: Bool[Array, "terms n"]


def random_unanimity_sum(
    num_players: int, num_terms: int, *, max_size: int, seed: int
) -> UnanimitySum:
    """Terms over random coalitions of 1 to `max_size` players, normal coefficients."""
    check(
        1 <= max_size <= num_players,
        f"max_size must lie between 1 and num_players = {num_players}; got {max_size}.",
    )
    rng = np.random.default_rng(seed)
    members = np.zeros((num_terms, num_players), bool)
    for row in members:
        size = rng.integers(1, max_size + 1)
        row[rng.choice(num_players, size, replace=False)] = True
    return UnanimitySum(float64(rng.normal(size=num_terms)), jnp.asarray(members))


def unanimity_sum(terms: UnanimitySum) -> Game:
    """The game of such a sum.

    Example:
      >>> terms = UnanimitySum(jnp.array([2.0]), jnp.array([[True, False]]))
      >>> unanimity_sum(terms).powerset_scores().tolist()
      [0.0, 2.0, 0.0, 2.0]
    """
    return Game(terms.members.shape[1], Partial(_unanimity_sum, terms))


@in_double
def _unanimity_sum(terms, mask):
    complete = jnp.all(mask[None, :] | ~terms.members, axis=1)
    return complete.astype(jnp.float64) @ terms.coefficients.astype(jnp.float64)


def unanimity_sum_values(
    terms: UnanimitySum, log_weights: LogWeights | None = None
) -> Float[np.ndarray, " n"]:
    r"""Any semi-value: each member of $T$ gets $c_T$ times one chance.

    A member of $T$ completes it when the other $t - 1$ are there, which has chance
    $\sum_s \binom{n-t}{s-t+1} p_s$; $1/t$ for Shapley, $2^{1-t}$ for Banzhaf.

    Args:
      terms: the game.
      log_weights: $\log p_s$ for $s = 0, ..., n - 1$; Shapley's when left out.

    Example:
      >>> terms = UnanimitySum(jnp.array([2.0]), jnp.array([[True, True, False]]))
      >>> unanimity_sum_values(terms)
      array([1., 1., 0.])
    """
    members = np.asarray(terms.members)
    n = members.shape[1]
    if log_weights is None:
        chance = 1.0 / np.arange(1, n + 1)
    else:
        log_weights = np.asarray(log_weights, np.float64)
        chance = np.array([_completion(n, t, log_weights) for t in range(1, n + 1)])
    sizes = members.sum(axis=1)
    shares = np.where(sizes > 0, chance[np.maximum(sizes, 1) - 1], 0.0)
    return (np.asarray(terms.coefficients, np.float64) * shares) @ members


def _completion(n, t, log_weights):
    s = np.arange(t - 1, n)
    return float(np.exp(logsumexp(_log_choose(n - t, s - t + 1) + log_weights[s])))


def pairwise(
    own: Numbers, interaction: Num[Array, "n n"] | Num[np.ndarray, "n n"]
) -> Game:
    r"""$v(S) = \sum_{i \in S} a_i + \sum_{i < j \in S} B_{ij}$, $B$ symmetric.

    One antithetic pair of orders gives its Shapley values exactly.

    Example:
      >>> eye = np.array([[0.0, 3.0], [3.0, 0.0]])
      >>> pairwise([1.0, 2.0], eye).powerset_scores().tolist()
      [0.0, 1.0, 2.0, 6.0]
    """
    interaction = np.asarray(interaction, np.float64)
    check(
        bool(np.array_equal(interaction, interaction.T)),
        "interaction must be a symmetric matrix.",
    )
    matrix = interaction / 2
    np.fill_diagonal(matrix, np.asarray(own, np.float64))
    matrix = float64(matrix)
    return Game(
        len(matrix),
        Partial(_pairwise, matrix),
        fast_powerset=Partial(pairwise_table, matrix),
    )


@in_double
def _pairwise(matrix, mask):
    inside = mask.astype(jnp.float64)
    return inside @ matrix @ inside


def pairwise_values(
    own: Numbers,
    interaction: Num[Array, "n n"] | Num[np.ndarray, "n n"],
    log_weights: LogWeights | None = None,
) -> Float[np.ndarray, " n"]:
    r"""$a_i + c \sum_{j \ne i} B_{ij}$, with $c$ the chance to find a given other.

    $c = \sum_s \binom{n-1}{s} p_s\, s/(n-1)$: 1/2 for Shapley and for Banzhaf.
    """
    interaction = np.array(interaction, np.float64)
    np.fill_diagonal(interaction, 0.0)
    n = len(interaction)
    chances = _size_chances(n, log_weights)
    found = float(chances @ np.arange(n)) / max(n - 1, 1)
    return np.asarray(own, np.float64) + found * interaction.sum(axis=1)


def _size_chances(n, log_weights):
    """The chance that a coalition of each size is met, under a semi-value."""
    if log_weights is None:
        return np.full(n, 1.0 / n)
    return np.exp(_log_choose(n - 1, np.arange(n)) + np.asarray(log_weights, float))


def _log_choose(n, k):
    return gammaln(n + 1) - gammaln(np.asarray(k) + 1) - gammaln(n - np.asarray(k) + 1)
