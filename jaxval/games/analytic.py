r"""Games whose values are known in closed form: to test estimators, and to learn by.

Each comes as a `Game` and with a function of its exact values: Shapley values where
nothing is said, and any semi-value, given as the weight $p_s$ of a marginal
contribution to a coalition of $s$ players ($\sum_s \binom{n-1}{s} p_s = 1$, in logs so
that $n$ may be large), for `size_game`, `unanimity_sum` and `pairwise`.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Num

from jaxval._checks import check
from jaxval.coalitions.game import Game
from jaxval.execution.precision import float64, in_double
from jaxval.games._analytic_counts import completion_chance, size_chances
from jaxval.games.classic_games import (
    Numbers,
    airport,
    airport_shapley,
    gloves,
    gloves_shapley,
    voting,
    voting_shapley,
)
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


def additive(worth: Numbers) -> Game:
    """Players add the same to every coalition; every semi-value is `worth`.

    Args:
      worth: Marginal contribution of each player.

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


def size_game(worth: Numbers) -> Game:
    r"""$v(S) = w_{|S|}$, from the worth of 0, 1, ..., n players.

    Args:
      worth: Scores of coalitions of 0, 1, ..., n players.

    Example:
      >>> float(size_game([0.0, 1.0, 4.0]).score(jnp.array([True, True])))
      4.0
    """
    worth = float64(worth)
    check(len(worth) >= 2, "worth needs the scores of 0 players and of 1 at least.")
    return Game(len(worth) - 1, Partial(_size_game, worth))


def _size_game(worth, mask):
    return worth[jnp.sum(mask)]


def size_game_values(
    worth: Num[np.ndarray, " sizes"], log_weights: LogWeights | None = None
) -> Float[np.ndarray, " n"]:
    r"""Any semi-value: the mean step between sizes, the same for all players.

    Args:
      worth: Scores of coalitions of 0, 1, ..., n players.
      log_weights: Logarithms $\log p_s$ for $s = 0, ..., n - 1$; Shapley's when left
        out.

    Example:
      >>> size_game_values(np.array([0.0, 1.0, 4.0]))
      array([2., 2.])
    """
    n = len(worth) - 1
    chances = size_chances(n, log_weights)
    return np.full(n, float(chances @ np.diff(np.asarray(worth, np.float64))))


class UnanimitySum(NamedTuple):
    r"""$v(S) = \sum_t c_t\, 1[T_t \subseteq S]$: every game is one of these.

    Attributes:
      coefficients: Coefficients $c_t$.
      members: Masks of the coalitions $T_t$.

    Example:
      >>> UnanimitySum(jnp.array([2.0]), jnp.array([[True, False]])).members.shape
      (1, 2)
    """

    coefficients: Float[Array, " terms"]
    members: Bool[Array, "terms n"]


def random_unanimity_sum(
    num_players: int, num_terms: int, *, max_size: int, seed: int
) -> UnanimitySum:
    """Terms over random coalitions of 1 to `max_size` players, normal coefficients.

    Args:
      num_players: Players of the game.
      num_terms: Terms of the sum.
      max_size: Players of a term at most.
      seed: Seed of NumPy's generator.

    Example:
      >>> random_unanimity_sum(3, 2, max_size=2, seed=0).members.shape
      (2, 3)
    """
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

    Args:
      terms: Coefficients and coalitions.

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
      terms: Coefficients and coalitions of the game.
      log_weights: Logarithms $\log p_s$ for $s = 0, ..., n - 1$; Shapley's when left
        out.

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
        chance = np.array(
            [completion_chance(n, t, log_weights) for t in range(1, n + 1)]
        )
    sizes = members.sum(axis=1)
    shares = np.where(sizes > 0, chance[np.maximum(sizes, 1) - 1], 0.0)
    return (np.asarray(terms.coefficients, np.float64) * shares) @ members


def pairwise(
    own: Numbers, interaction: Num[Array, "n n"] | Num[np.ndarray, "n n"]
) -> Game:
    r"""$v(S) = \sum_{i \in S} a_i + \sum_{i < j \in S} B_{ij}$, $B$ symmetric.

    One antithetic pair of orders gives its Shapley values exactly.

    Args:
      own: Numbers $a_i$, one per player.
      interaction: Symmetric matrix $B$, of which the diagonal is not used.

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
    r"""$a_i + c \sum_{j \ne i} B_{ij}$, with $c$ the chance to meet a given other.

    $c = \sum_s \binom{n-1}{s} p_s\, s/(n-1)$: 1/2 for Shapley and for Banzhaf.

    Args:
      own: Numbers $a_i$, one per player.
      interaction: Symmetric matrix $B$, of which the diagonal is not used.
      log_weights: Logarithms $\log p_s$ for $s = 0, ..., n - 1$; Shapley's when left
        out.

    Example:
      >>> pairwise_values([1.0, 2.0], np.array([[0.0, 3.0], [3.0, 0.0]]))
      array([2.5, 3.5])
    """
    interaction = np.array(interaction, np.float64)
    np.fill_diagonal(interaction, 0.0)
    n = len(interaction)
    chances = size_chances(n, log_weights)
    chance = float(chances @ np.arange(n)) / max(n - 1, 1)
    return np.asarray(own, np.float64) + chance * interaction.sum(axis=1)
