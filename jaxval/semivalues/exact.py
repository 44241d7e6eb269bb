r"""Exact values: enumeration of all coalitions, leave-one-out, leave-groups-out.

A game of $n$ players is a table of $2^n$ scores. One table holds every semi-value: the
mean contribution $D_{ik}$ of player $i$ to the coalitions of size $k$ is computed
once, and any semi-value is $\phi_i = \sum_k p_k D_{ik}$.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxval._checks import check
from jaxval._targets import numbers
from jaxval.coalitions import queries
from jaxval.coalitions.game import Game
from jaxval.execution.precision import in_double
from jaxval.semivalues import weights as _weights
from jaxval.types import AnyArray, ValueEstimate

__all__ = [
    "MAX_PLAYERS",
    "contributions_by_size",
    "from_table",
    "leave_groups_out",
    "leave_one_out",
    "table",
    "values",
]

MAX_PLAYERS = 24
"""Players that enumeration takes: 16,777,216 coalitions."""


def values(
    game: Game,
    weights: _weights.Weights = _weights.shapley,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> ValueEstimate:
    r"""The exact semi-value of every player, from at most $2^n$ scores.

    Weights on the last size alone are leave-one-out and cost $n + 1$ scores.

    Args:
      game: Game of 24 players at most.
      weights: Function from `weights`, or an array of $\log w(k)$.
      progress: Called with (coalitions done, coalitions in all) after each chunk.

    Returns:
      Values with a standard error of 0; counts are coalitions scored.

    Raises:
      ValueError: If there are more players than enumeration allows, or a score is not
        finite.

    Example:
      >>> majority = Game(3, lambda mask: (mask.sum() >= 2) * 1.0)
      >>> values(majority).values.round(4).tolist()
      [0.3333, 0.3333, 0.3333]

    References:
      Shapley, *A value for n-person games*, 1953.
      Dubey, Neyman and Weber, *Value theory without efficiency*, 1981.
    """
    log_weights = _weights.resolve(weights, game.num_players)
    if np.isneginf(log_weights[:-1]).all():
        return leave_one_out(game)
    scores = table(game, progress=progress)
    return _exact(from_table(scores, log_weights), len(scores))


def table(
    game: Game,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Float[AnyArray, " coalitions"]:
    """The scores of all coalitions, in the order of `masks.powerset`.

    Args:
      game: Game of 24 players at most.
      progress: Called with (coalitions done, coalitions in all) after each chunk.

    Raises:
      ValueError: If there are more players than enumeration allows, or a score is not
        finite.

    Example:
      >>> table(Game(2, lambda mask: mask.sum() * 1.0)).tolist()
      [0.0, 1.0, 1.0, 2.0]
    """
    n = game.num_players
    check(
        n <= MAX_PLAYERS,
        f"game has {n} players, more than enumeration allows ({MAX_PLAYERS}: 2**n "
        "scores). Sample instead: semivalues.run(key, semivalues.antithetic(...), game,"
        " until=...), or value groups of players.",
    )
    return queries.powerset_scores(game, progress=progress)


def contributions_by_size(
    scores: Float[AnyArray, " coalitions"],
) -> Float[AnyArray, "n n"]:
    r"""$D_{ik}$: the mean of $v(S \cup i) - v(S)$ over the $S \not\ni i$ of size $k$.

    $n$ passes over half the table, $O(n 2^n)$; no $2^n \times n$ matrix is formed, and
    a player who never adds anything gets exact zeros.

    Args:
      scores: All $2^n$ scores, as `table` returns them.

    Example:
      >>> contributions_by_size(np.array([0.0, 1.0, 1.0, 3.0])).tolist()
      [[1.0, 2.0], [1.0, 2.0]]

    References:
      Castro, Gomez, Molina and Tejada, *Improving polynomial estimation of the Shapley
      value by stratified random sampling with optimum allocation*, 2017.
    """
    if isinstance(scores, jax.core.Tracer):
        return _by_size(scores)
    n = _num_players(scores)
    # The others of player i, numbered as coalitions of n - 1: the same sizes each time.
    sizes = _sizes(n)
    total = np.empty((n, n))
    for i in range(n):
        # (above, without or with i, below): the coalitions with and without player i.
        pairs = scores.reshape(2 ** (n - 1 - i), 2, 2**i)
        added = (pairs[:, 1] - pairs[:, 0]).ravel()
        total[i] = np.bincount(sizes, weights=added, minlength=n)
    return total / np.bincount(sizes, minlength=n)


@in_double
def _by_size(scores: Float[Array, " coalitions"]) -> Float[Array, "n n"]:
    """The same inside a trace."""
    n, scores = _num_players(scores), jnp.asarray(scores, jnp.float64)
    sizes = _sizes(n)
    rows = []
    for i in range(n):
        pairs = scores.reshape(2 ** (n - 1 - i), 2, 2**i)
        added = (pairs[:, 1] - pairs[:, 0]).ravel()
        rows.append(jax.ops.segment_sum(added, sizes, num_segments=n))
    counts = np.bincount(sizes, minlength=n).astype(np.float64)
    return jnp.stack(rows) / counts[None, :]


def _sizes(num_players: int) -> Int[np.ndarray, " half"]:
    """Sizes of the coalitions of the n - 1 others, by their number."""
    numbers = np.arange(2 ** (num_players - 1), dtype=np.uint32)
    return np.bitwise_count(numbers).astype(np.intp)


def from_table(
    scores: Float[AnyArray, " coalitions"], weights: _weights.Weights
) -> Float[AnyArray, " n"]:
    r"""The semi-value of a tabulated game, $\phi_i = \sum_k p_k D_{ik}$.

    Args:
      scores: All $2^n$ scores, as `table` returns them.
      weights: Function from `weights`, or an array of $\log w(k)$.

    Raises:
      ValueError: If the number of scores is not a power of two.

    Example:
      >>> scores = np.array([0.0, 1.0, 1.0, 3.0])
      >>> from_table(scores, _weights.banzhaf).tolist()
      [1.5, 1.5]

    References:
      Dubey, Neyman and Weber, *Value theory without efficiency*, 1981.
    """
    check(np.ndim(scores) == 1, f"scores must be a vector; got {np.ndim(scores)} axes.")
    log_weights = _weights.resolve(weights, _num_players(scores))
    share = _weights.size_distribution(log_weights)
    if isinstance(scores, jax.core.Tracer):
        return _weigh(contributions_by_size(scores), share)
    return contributions_by_size(numbers("scores", scores, ndim=1)) @ share


@in_double
def _weigh(
    contributions: Float[Array, "n n"], share: Float[np.ndarray, " n"]
) -> Float[Array, " n"]:
    # A sum of products: its derivative may be taken in single precision.
    return (contributions * share[None, :]).sum(1)


def leave_one_out(game: Game) -> ValueEstimate:
    r"""$v(N) - v(N \setminus i)$ for every player, the fastest way the game knows.

    Example:
      >>> squares = Game(3, lambda mask: mask.sum() ** 2.0)
      >>> leave_one_out(squares).values.tolist()
      [5.0, 5.0, 5.0]

    References:
      Cook, *Detection of influential observation in linear regression*, 1977.
    """
    full, without = queries.leave_one_out_scores(game)
    return _exact(full - without, game.num_players + 1)


def leave_groups_out(
    game: Game, groups: Int[np.ndarray, " n"] | Int[Array, " n"]
) -> ValueEstimate:
    r"""$v(N) - v(N \setminus g)$ for every group of players.

    Args:
      game: Game of single players.
      groups: Group, 0 to G-1, of each player.

    Returns:
      One value per group.

    Example:
      >>> squares = Game(3, lambda mask: mask.sum() ** 2.0)
      >>> leave_groups_out(squares, np.array([0, 1, 1])).values.tolist()
      [5.0, 8.0]
    """
    groups = np.asarray(groups)
    check(
        groups.shape == (game.num_players,) and groups.min(initial=0) >= 0,
        f"groups must be one number, 0 or more, for each of {game.num_players} "
        f"players; got shape {groups.shape}.",
    )
    kept = groups[None, :] != np.arange(-1, groups.max() + 1)[:, None]
    scores = queries.scores(game, kept)
    return _exact(scores[0] - scores[1:], len(scores))


def _exact(answer: Float[AnyArray, " n"], num_scores: int) -> ValueEstimate:
    xp = np if isinstance(answer, np.ndarray) else jnp
    return ValueEstimate(
        values=answer,
        stderr=xp.zeros_like(answer),
        counts=xp.full(answer.shape, num_scores),
        degrees=xp.full(answer.shape, xp.inf),
    )


def _num_players(scores: Float[AnyArray, " coalitions"]) -> int:
    n = len(scores).bit_length() - 1
    check(
        len(scores) == 2**n and n >= 1,
        f"scores must be all 2**n of a game, in the order of `masks.powerset`; got "
        f"{len(scores)}, not a power of two.",
    )
    return n
