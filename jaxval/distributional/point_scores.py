r"""Utilities of a set $S$ and of $S + z$ for many points $z$ at once: their contract.

What Distributional Shapley asks for. `utilities` makes them of models,
`from_counts` and `from_game` of anything else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int

from jaxval._checks import check, class_numbers
from jaxval.coalitions.game import Game
from jaxval.execution.precision import float64, in_double
from jaxval.types import AnyArray

__all__ = ["PointScores", "from_counts", "from_game", "with_class_rule"]


@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True)
class PointScores:
    """`(rows, size)` to $U(S)$ and then $U(S + z)$ of each point $z$ to be valued.

    $S$ are the first `size` of the drawn rows of the pool; a row can come more than
    once. A pytree: the arrays of a `Partial` are arguments of compiled programs, which
    all point scores of the same kind and shapes share.

    Attributes:
      num_pool: Rows of the pool.
      num_points: Points to be valued.
      score: Function of (drawn rows, size).

    Example:
      >>> of_size = lambda rows, size: jnp.array([1.0, 2.0, 2.0]) * size
      >>> PointScores(3, 2, of_size)(jnp.array([0, 2]), jnp.int32(2)).tolist()
      [2.0, 4.0, 4.0]
    """

    num_pool: int
    num_points: int
    score: Callable[[Int[Array, " most"], Int[Array, ""]], Float[Array, " scores"]]

    @property
    def num_players(self) -> int:
        """The points, which are the players of `semivalues.run`."""
        return self.num_points

    @property
    def on_host(self) -> bool:
        """Whether they can't be traced by JAX: they always can."""
        return False

    def __call__(
        self, rows: Int[Array, " most"], size: Int[Array, ""]
    ) -> Float[Array, " scores"]:
        """$U(S)$, and $U(S + z)$ of each point."""
        return self.score(rows, size)

    def tree_flatten(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """The function is a child where it carries arrays."""
        if isinstance(self.score, Partial):
            return (self.score,), (self.num_pool, self.num_points, None)
        return (), (self.num_pool, self.num_points, self.score)

    @classmethod
    def tree_unflatten(cls, aux: tuple[Any, ...], children: Any) -> PointScores:
        """The inverse of `tree_flatten`."""
        num_pool, num_points, score = aux
        return cls(num_pool, num_points, *(children or (score,)))


def from_counts(
    score: Callable[[Int[Array, " total"]], Float[Array, ""]],
    num_pool: int,
    num_points: int,
    *,
    batch_size: int | None = None,
) -> PointScores:
    """Point scores from a utility of a multiset of rows.

    Args:
      score: Utility of the counts: how often each row takes part, those of the pool
        first, then the points.
      num_pool: Rows of the pool.
      num_points: Points to be valued.
      batch_size: Points scored at once; all when left out.

    Raises:
      ValueError: If a number is below 1.

    Example:
      >>> scores = from_counts(lambda counts: counts.sum() ** 2.0, 3, num_points=2)
      >>> scores(jnp.array([0, 2, 2, 1]), jnp.int32(3)).tolist()
      [9.0, 16.0, 16.0]
    """
    for name, number in {"num_pool": num_pool, "num_points": num_points}.items():
        check(number >= 1, f"{name} must be at least 1; got {number}.")
    check(
        batch_size is None or batch_size >= 1,
        f"batch_size must be at least 1; got {batch_size}.",
    )
    score = score if isinstance(score, Partial) else Partial(score)
    of_counts = _FromCounts(num_pool, num_points, batch_size)
    return PointScores(num_pool, num_points, Partial(of_counts, score))


def from_game(
    game: Game, num_pool: int, *, batch_size: int | None = None
) -> PointScores:
    """Point scores from a game over the pool's rows followed by the points.

    A game knows who takes part and not how often, so a row that was drawn twice counts
    once; with $m$ far below the pool's size that hardly ever happens.

    Args:
      game: Game whose first `num_pool` players are the pool.
      num_pool: Rows of the pool.
      batch_size: Points scored at once; all when left out.

    Raises:
      ValueError: If the game has no players beyond the pool.

    Example:
      >>> game = Game(5, lambda mask: mask.sum() ** 2.0)
      >>> from_game(game, 3)(jnp.array([0, 2, 2, 1]), jnp.int32(3)).tolist()
      [4.0, 9.0, 9.0]
    """
    check(
        0 < num_pool < game.num_players,
        f"the game must have more players than the pool's {num_pool} rows, the points "
        f"to be valued behind them; it has {game.num_players}.",
    )
    score = Partial(_score_of_present, game)
    return from_counts(
        score, num_pool, game.num_players - num_pool, batch_size=batch_size
    )


def with_class_rule(
    point_scores: PointScores,
    pool_labels: Int[AnyArray, " pool"],
    point_labels: Int[AnyArray, " n"],
    empty_score: float,
) -> PointScores:
    r"""Data Shapley's rule for data that lack a class.

    $U(S)$ is the score of the empty set where $S$ lacks a class, and a point that
    doesn't complete the classes changes nothing: only data with every class are trained
    on.

    Args:
      point_scores: Utility.
      pool_labels: Class numbers of the pool.
      point_labels: Class numbers of the points.
      empty_score: $U(\emptyset)$, the accuracy of the most frequent class.

    Raises:
      ValueError: If there are not as many labels as rows of the pool, or as points.

    Example:
      >>> scores = from_counts(lambda counts: counts.sum() * 1.0, 3, num_points=2)
      >>> ruled = with_class_rule(scores, np.array([0, 0, 1]), np.array([0, 1]), 0.5)
      >>> ruled(jnp.array([0, 1, 2]), jnp.int32(2)).tolist()
      [0.5, 0.5, 3.0]

    References:
      Ghorbani and Zou, *Data Shapley*, ICML 2019, and its released code.
    """
    pool_labels = class_numbers("pool_labels", pool_labels)
    point_labels = class_numbers("point_labels", point_labels)
    shape = len(pool_labels), len(point_labels)
    sizes = point_scores.num_pool, point_scores.num_points
    check(
        sizes == shape,
        f"pool_labels and point_labels must be as many as the rows of point_scores, "
        f"{sizes}; got {shape}.",
    )
    classes = np.unique(np.concatenate([pool_labels, point_labels]))
    pool, points = (
        jnp.asarray(labels[:, None] == classes[None, :])
        for labels in (pool_labels, point_labels)
    )
    table = _Classes(pool, points, float64(empty_score))
    return PointScores(*shape, Partial(_with_class_rule, point_scores, table))


class _Classes(NamedTuple):
    pool: Bool[Array, "pool classes"]
    points: Bool[Array, "n classes"]
    empty: Float[Array, ""]


@in_double
def _with_class_rule(point_scores: PointScores, table: _Classes, rows, size):
    inside = (jnp.arange(len(rows)) < size)[:, None]
    there = jnp.any(table.pool[rows] & inside, axis=0)  # (classes,)
    scores = point_scores(rows, size)
    base = jnp.where(there.all(), scores[0], table.empty)
    complete = jnp.all(there[None, :] | table.points, axis=1)  # (n,)
    return jnp.concatenate([base[None], jnp.where(complete, scores[1:], base)])


@dataclasses.dataclass(frozen=True)
class _FromCounts:
    """Equal settings are equal functions, and so one compiled program."""

    num_pool: int
    num_points: int
    batch_size: int | None

    def __call__(self, score, rows, size):
        num_pool, num_points = self.num_pool, self.num_points
        counts = jnp.zeros(num_pool + num_points, jnp.int32)
        counts = counts.at[rows].add((jnp.arange(len(rows)) < size).astype(jnp.int32))
        # The first place adds no point.
        extra = jnp.arange(num_points + 1, dtype=jnp.int32) + (num_pool - 1)

        def one(place):
            added = (place >= num_pool).astype(counts.dtype)
            return score(counts.at[place].add(added))

        if self.batch_size is None or self.batch_size > num_points:
            return jax.vmap(one)(extra)
        return jax.lax.map(one, extra, batch_size=self.batch_size)


def _score_of_present(game, counts):
    return game.score(counts > 0)
