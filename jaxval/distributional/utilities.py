r"""Utilities of a set $S$ and of $S + z$ for many points $z$ at once.

What Distributional Shapley asks for: see `jaxval.distributional`.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int, Num

from jaxval import linear_models as convex
from jaxval._checks import (
    check,
    class_numbers,
    finite,
    positive,
    same_features,
    same_length,
)
from jaxval.coalitions.game import Game
from jaxval.distributional.fits import (
    LogisticArrays,
    RidgeArrays,
    logistic_scores,
    ridge_scores,
)
from jaxval.execution.precision import float64, in_double

__all__ = [
    "PointScores",
    "data_shapley",
    "from_counts",
    "from_game",
    "logistic",
    "ridge",
    "sizes",
    "with_class_rule",
]

PointScores = Callable[[Int[Array, " most"], Int[Array, ""]], Float[Array, " n+1"]]
"""`(rows, size)` to $U(S)$ and then $U(S + z)$ of each point $z$ to be valued.

$S$ are the first `size` of the drawn rows of the pool; a row can come more than once.
"""


@dataclasses.dataclass(frozen=True)
class _Sized:
    """Equal settings are equal functions, and so one compiled program."""

    num_pool: int
    num_points: int


def sizes(point_scores: PointScores) -> tuple[int, int] | None:
    """Rows of the pool and points to be valued; `None` for functions made elsewhere.

    Example:
      >>> sizes(from_counts(lambda counts: counts.sum() * 1.0, 3, num_points=2))
      (3, 2)
    """
    made = getattr(point_scores, "func", None)
    return (made.num_pool, made.num_points) if isinstance(made, _Sized) else None


def from_counts(
    score: Callable[[Int[Array, " total"]], Float[Array, ""]],
    num_pool: int,
    num_points: int,
    *,
    batch_size: int | None = None,
) -> PointScores:
    """Point scores from a utility of a multiset of rows.

    Args:
      score: of how often each row takes part: those of the pool, then the points.
      num_pool: rows of the pool.
      num_points: points to be valued.
      batch_size: points scored at once; all when left out.

    Example:
      >>> scores = from_counts(lambda counts: counts.sum() ** 2.0, 3, num_points=2)
      >>> scores(jnp.array([0, 2, 2, 1]), jnp.int32(3)).tolist()
      [9.0, 16.0, 16.0]
    """
    _check_numbers(num_pool, num_points, batch_size)
    score = score if isinstance(score, Partial) else Partial(score)
    return Partial(_FromCounts(num_pool, num_points, batch_size), score)


def from_game(
    game: Game, num_pool: int, *, batch_size: int | None = None
) -> PointScores:
    """Point scores from a game over the pool's rows followed by the points.

    A game knows who takes part and not how often, so a row that was drawn twice counts
    once; with $m$ far below the pool's size that hardly ever happens.

    Args:
      game: its first `num_pool` players are the pool.
      num_pool: rows of the pool.
      batch_size: points scored at once; all when left out.

    Raises:
      ValueError: if the game has no players beyond the pool.

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
    pool_labels: Int[np.ndarray, " pool"],
    point_labels: Int[np.ndarray, " n"],
    empty_score: float,
) -> PointScores:
    r"""Data Shapley's rule for data that lack a class.

    $U(S)$ is the score of nobody where $S$ lacks a class, and a point that doesn't
    complete the classes changes nothing: only data with every class are trained on.

    Args:
      point_scores: the utility.
      pool_labels: class numbers of the pool.
      point_labels: class numbers of the points.
      empty_score: $U(\emptyset)$, the accuracy of the most frequent class.

    Raises:
      ValueError: if there are not as many labels as rows of the pool, or as points.

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
    known = sizes(point_scores)
    check(
        known is None or known == shape,
        f"pool_labels and point_labels must be as many as the rows of point_scores, "
        f"{known}; got {shape}.",
    )
    point_scores = (
        point_scores if isinstance(point_scores, Partial) else Partial(point_scores)
    )
    classes = np.unique(np.concatenate([pool_labels, point_labels]))
    has = lambda labels: jnp.asarray(labels[:, None] == classes[None, :])
    table = _Classes(has(pool_labels), has(point_labels), float64(empty_score))
    return Partial(_WithClassRule(*shape), point_scores, table)


class _Classes(NamedTuple):
    pool: Bool[Array, "pool classes"]
    points: Bool[Array, "n classes"]
    empty: Float[Array, ""]


def data_shapley(
    pool: tuple[Num[np.ndarray, "pool d"], Int[np.ndarray, " pool"]],
    points: tuple[Num[np.ndarray, "n d"], Int[np.ndarray, " n"]],
    valid: tuple[Num[np.ndarray, "v d"], Int[np.ndarray, " v"]],
    *,
    batch_size: int | None = None,
) -> PointScores:
    r"""The utility of Data Shapley and of Distributional Shapley, with its own rules.

    Accuracy of logistic regression; sets that lack a class are worth what nobody is,
    the share of the commonest class of the validation data.

    Args:
      pool: as of `logistic`.
      points: as of `logistic`.
      valid: as of `logistic`.
      batch_size: as of `logistic`.

    Example:
      >>> x, y = np.array([[0.0], [1.0], [0.2], [0.9]]), np.array([0, 1, 0, 1])
      >>> sizes(data_shapley((x[:3], y[:3]), (x[3:], y[3:]), (x, y)))
      (3, 1)

    References:
      Ghorbani, Kim and Zou, *A Distributional Framework for Data Valuation*, ICML 2020,
      and its released code.
    """
    scores = logistic(pool, points, valid, batch_size=batch_size)
    share = float(np.bincount(np.asarray(valid[1])).max() / len(valid[1]))
    return with_class_rule(scores, pool[1], points[1], share)


class _WithClassRule(_Sized):
    @in_double
    def __call__(self, point_scores, table: _Classes, rows, size):
        drawn = (jnp.arange(len(rows)) < size)[:, None]
        there = jnp.any(table.pool[rows] & drawn, axis=0)
        scores = point_scores(rows, size)
        base = jnp.where(there.all(), scores[0], table.empty)
        complete = jnp.all(there[None, :] | table.points, axis=1)
        return jnp.concatenate([base[None], jnp.where(complete, scores[1:], base)])


@dataclasses.dataclass(frozen=True)
class _FromCounts(_Sized):
    batch_size: int | None

    def __call__(self, score, rows, size):
        num_pool, num_points = self.num_pool, self.num_points
        row = jnp.zeros(num_pool + num_points, jnp.int32)
        row = row.at[rows].add((jnp.arange(len(rows)) < size).astype(jnp.int32))
        # The first row adds nobody.
        extra = jnp.arange(num_points + 1, dtype=jnp.int32) + (num_pool - 1)
        one = lambda place: score(
            row.at[place].add((place >= num_pool).astype(row.dtype))
        )
        if self.batch_size is None or self.batch_size > num_points:
            return jax.vmap(one)(extra)
        return jax.lax.map(one, extra, batch_size=self.batch_size)


def _score_of_present(game, counts):
    return game.score(counts > 0)


def logistic(
    pool: tuple[Num[np.ndarray, "pool d"], Int[np.ndarray, " pool"]],
    points: tuple[Num[np.ndarray, "n d"], Int[np.ndarray, " n"]],
    valid: tuple[Num[np.ndarray, "v d"], Int[np.ndarray, " v"]],
    *,
    penalty: float = 1.0,
    tolerance: float = 1e-4,
    batch_size: int | None = None,
) -> PointScores:
    r"""Validation accuracy of multinomial logistic regression, fitted anew each time.

    The fit to $S$ starts from zero and each fit to $S + z$ from the fit to $S$, from
    which it takes a step or two; a row drawn twice counts twice. A single class is
    predicted everywhere; nobody predicts the most frequent class of the validation
    data.

    Args:
      pool: inputs and class numbers that $S$ is drawn from.
      points: inputs and class numbers to be valued.
      valid: inputs and class numbers to score with.
      penalty: Multiplier of half the squared norm of the weights.
      tolerance: of the solver (see `linear_models.fit_logistic`); a fit that doesn't
        reach it scores NaN, which `distributional.run` refuses.
      batch_size: points fitted at once: for accelerators. One after another when left
        out, which is faster on a processor's few cores since nobody waits for the
        slowest fit.

    Raises:
      ValueError: if lengths or features differ, inputs aren't finite, or classes are
        not numbers.

    Example:
      >>> x, y = np.array([[0.0], [1.0], [0.2], [0.9]]), np.array([0, 1, 0, 1])
      >>> scores = logistic((x[:2], y[:2]), (x[2:], y[2:]), (x, y), penalty=0.01)
      >>> scores(jnp.array([0, 1]), jnp.int32(1)).tolist()
      [0.5, 0.5, 1.0]

    References:
      Ghorbani, Kim and Zou, *A Distributional Framework for Data Valuation*, ICML 2020,
      section 4.
    """
    _check_parts(pool, points, valid, "classes")
    for name, (_, y) in {"pool": pool, "points": points, "valid": valid}.items():
        class_numbers(f"{name} classes", y)
    positive("penalty", penalty)
    positive("tolerance", tolerance)
    _check_numbers(len(pool[0]), len(points[0]), batch_size)
    frame = convex.design(np.asarray(pool[0]))
    classes = 1 + max(int(np.max(y)) for _, y in (pool, points, valid))
    indicators = lambda y: float64(np.eye(classes)[np.asarray(y)])
    arrays = LogisticArrays(
        frame.x,
        indicators(pool[1]),
        convex.rotate(frame, np.asarray(points[0])),
        indicators(points[1]),
        convex.rotate(frame, np.asarray(valid[0])),
        jnp.asarray(valid[1], jnp.int32),
        float64(penalty),
    )
    sized = len(pool[0]), len(points[0])
    return Partial(_LogisticScores(*sized, tolerance, batch_size), arrays)


@dataclasses.dataclass(frozen=True)
class _LogisticScores(_Sized):
    tolerance: float
    batch_size: int | None

    @in_double
    def __call__(self, arrays: LogisticArrays, rows, size):
        return logistic_scores(self.tolerance, self.batch_size, arrays, rows, size)


def ridge(
    pool: tuple[Num[np.ndarray, "pool p"], Num[np.ndarray, "pool k"]],
    points: tuple[Num[np.ndarray, "n p"], Num[np.ndarray, "n k"]],
    valid: tuple[Num[np.ndarray, "v p"], Num[np.ndarray, "v k"]],
    *,
    ridge: float,
    metric: Callable[[Array, Array], Array],
) -> PointScores:
    r"""Ridge regression, all points at the price of one solve.

    With $M = (X_S^\top X_S + \lambda I)^{-1}$ and $W = M X_S^\top Y_S$, a point joins
    by

    $$W_z = W + \frac{M x_z (y_z - W^\top x_z)^\top}{1 + x_z^\top M x_z}.$$

    Args:
      pool: features (append a column of ones for a constant) and one row of targets
        each, that $S$ is drawn from.
      points: likewise, to be valued.
      valid: likewise, to score with.
      ridge: $\lambda$.
      metric: of predictions and targets of all validation rows.

    Raises:
      ValueError: if lengths, features or targets differ, or numbers aren't finite.

    Example:
      >>> x, y = np.array([[1.0], [2.0], [3.0]]), np.array([[1.0], [2.0], [3.0]])
      >>> error = lambda told, y: -jnp.mean((told - y) ** 2)
      >>> scores = ridge((x, y), (x, y), (x, y), ridge=1e-9, metric=error)
      >>> scores(jnp.array([0, 0]), jnp.int32(0)).round(1).tolist()
      [-4.7, -0.0, -0.0, -0.0]

    References:
      Sherman and Morrison, *Adjustment of an inverse matrix corresponding to a change
      in one element of a given matrix*, 1950.
    """
    _check_parts(pool, points, valid, "targets")
    same_features(
        **{"pool targets": pool[1], "points targets": points[1],
           "valid targets": valid[1]}
    )  # fmt: skip
    for name, (_, y) in {"pool": pool, "points": points, "valid": valid}.items():
        finite(f"{name} targets", y)
    positive("ridge", ridge)
    flat = [
        float64(np.asarray(part)) for pair in (pool, points, valid) for part in pair
    ]
    arrays = RidgeArrays(*flat, ridge=float64(ridge))
    return Partial(_RidgeScores(len(pool[0]), len(points[0]), metric), arrays)


@dataclasses.dataclass(frozen=True)
class _RidgeScores(_Sized):
    metric: Callable[[Array, Array], Array]

    @in_double
    def __call__(self, arrays: RidgeArrays, rows, size):
        return ridge_scores(self.metric, arrays, rows, size)


def _check_parts(pool, points, valid, target):
    parts = {"pool": pool, "points": points, "valid": valid}
    for name, (x, y) in parts.items():
        same_length(**{f"{name} inputs": x, f"{name} {target}": y})
        check(len(x) > 0, f"{name} is empty: it must have at least one row.")
        finite(f"{name} inputs", x)
    same_features(**{f"{name} inputs": x for name, (x, _) in parts.items()})


def _check_numbers(num_pool, num_points, batch_size):
    check(num_pool >= 1, f"num_pool must be at least 1; got {num_pool}.")
    check(num_points >= 1, f"num_points must be at least 1; got {num_points}.")
    check(
        batch_size is None or batch_size >= 1,
        f"batch_size must be at least 1; got {batch_size}.",
    )
