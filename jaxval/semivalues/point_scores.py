r"""Utilities of a set $S$ and of $S + z$ for many points $z$ at once.

What Distributional Shapley asks for: see `jaxval.semivalues.distributional`.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, Num

from jaxval._checks import check, positive, same_length
from jaxval.precision import float64, in_double
from jaxval.training import convex
from jaxval.types import Game

__all__ = [
    "PointScores",
    "from_counts",
    "from_game",
    "logistic",
    "ridge",
    "with_class_rule",
]

PointScores = Callable[[Int[Array, " most"], Int[Array, ""]], Float[Array, " n+1"]]
"""`(rows, size)` to $U(S)$ and then $U(S + z)$ of each point $z$ to be valued.

$S$ are the first `size` of the drawn rows of the pool; a row can come more than once.
"""


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
    """
    score = score if isinstance(score, Partial) else Partial(score)
    size = batch_size or num_points + 1
    return Partial(functools.partial(_score_each, (num_pool, num_points, size)), score)


def from_game(
    game: Game, num_pool: int, *, batch_size: int | None = None
) -> PointScores:
    """Point scores from a game over the pool's rows followed by the points.

    A game knows who takes part and not how often, so a row that was drawn twice counts
    once; with $m$ far below the pool's size that hardly ever happens.

    Args:
      game: its first `num_pool` players are the pool.
      num_pool: rows of the pool.
      batch_size: points scored at once.
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
    """
    pool_labels, point_labels = np.asarray(pool_labels), np.asarray(point_labels)
    classes = np.unique(np.concatenate([pool_labels, point_labels]))
    pool = jnp.asarray(pool_labels[:, None] == classes[None, :])
    points = jnp.asarray(point_labels[:, None] == classes[None, :])

    def ruled(rows, size):
        drawn = (jnp.arange(len(rows)) < size)[:, None]
        there = jnp.any(pool[rows] & drawn, axis=0)
        scores = point_scores(rows, size)
        base = jnp.where(there.all(), scores[0], empty_score)
        complete = jnp.all(there[None, :] | points, axis=1)
        return jnp.concatenate([base[None], jnp.where(complete, scores[1:], base)])

    return ruled


def _score_each(sizes, score, rows, size):
    num_pool, num_points, batch_size = sizes
    row = jnp.zeros(num_pool + num_points, jnp.int32)
    row = row.at[rows].add((jnp.arange(len(rows)) < size).astype(jnp.int32))
    # The first row adds nobody.
    extra = jnp.arange(num_points + 1, dtype=jnp.int32) + (num_pool - 1)
    one = lambda place: score(row.at[place].add((place >= num_pool).astype(row.dtype)))
    if batch_size > num_points:
        return jax.vmap(one)(extra)
    return jax.lax.map(one, extra, batch_size=batch_size)


def _score_of_present(game, counts):
    return game.score(counts > 0)


class _Logistic(NamedTuple):
    x_pool: Float[Array, "pool p"]
    y_pool: Float[Array, "pool classes"]
    x: Float[Array, "n p"]
    y: Float[Array, "n classes"]
    x_valid: Float[Array, "v p"]
    y_valid: Int[Array, " v"]
    strength: Float[Array, ""]


def logistic(
    pool: tuple[Num[np.ndarray, "pool d"], Int[np.ndarray, " pool"]],
    points: tuple[Num[np.ndarray, "n d"], Int[np.ndarray, " n"]],
    valid: tuple[Num[np.ndarray, "v d"], Int[np.ndarray, " v"]],
    *,
    strength: float = 1.0,
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
      strength: $C$, the inverse of the penalty.
      tolerance: of the solver.
      batch_size: points fitted at once: for accelerators. One after another when left
        out, which is faster on a processor's few cores since nobody waits for the
        slowest fit.
    """
    for name, (x, y) in {"pool": pool, "points": points, "valid": valid}.items():
        same_length(**{f"{name} inputs": x, f"{name} classes": y})
    positive("strength", strength)
    frame = convex.design(np.asarray(pool[0]))
    classes = 1 + max(int(np.max(y)) for _, y in (pool, points, valid))
    indicators = lambda y: float64(np.eye(classes)[np.asarray(y)])
    arrays = _Logistic(
        frame.x,
        indicators(pool[1]),
        convex.rotate(frame, np.asarray(points[0])),
        indicators(points[1]),
        convex.rotate(frame, np.asarray(valid[0])),
        jnp.asarray(valid[1], jnp.int32),
        float64(strength),
    )
    settings = (tolerance, batch_size)
    return Partial(functools.partial(_logistic_scores, settings), arrays)


@in_double
def _logistic_scores(settings, arrays, rows, size):
    tolerance, batch_size = settings
    last = len(rows)
    # One more row than can be drawn, for the point that joins.
    x = jnp.concatenate([arrays.x_pool[rows], jnp.zeros((1, arrays.x.shape[1]))])
    y = jnp.concatenate([arrays.y_pool[rows], jnp.zeros((1, arrays.y.shape[1]))])
    present = jnp.arange(last + 1) < size
    classes = jnp.arange(y.shape[1])
    nobody = _share(arrays.y_valid[:, None] == classes[None, :])
    solve = functools.partial(convex.fit_logistic, tolerance=tolerance)
    base = solve(x, y, present, arrays.strength, jnp.zeros((x.shape[1], y.shape[1])))

    def score(weights, targets, there):
        seen = jnp.any((targets > 0) & there[:, None], axis=0)
        logits = jnp.where(seen[None, :], arrays.x_valid @ weights, -jnp.inf)
        right = _share(jnp.argmax(logits, axis=1) == arrays.y_valid)
        return jnp.where(seen.any(), right, nobody.max())

    def joined(point):
        x_z, y_z = x.at[last].set(point[0]), y.at[last].set(point[1])
        there = present.at[last].set(True)
        fit = solve(x_z, y_z, there, arrays.strength, base.weights)
        return score(fit.weights, y_z, there)

    each = jax.lax.map(joined, (arrays.x, arrays.y), batch_size=batch_size)
    return jnp.concatenate([score(base.weights, y, present)[None], each])


def _share(hits):
    # The mean of truth values would be in single precision.
    return jnp.mean(hits.astype(jnp.float64), axis=0)


class _Ridge(NamedTuple):
    x_pool: Float[Array, "pool p"]
    y_pool: Float[Array, "pool k"]
    x: Float[Array, "n p"]
    y: Float[Array, "n k"]
    x_valid: Float[Array, "v p"]
    y_valid: Float[Array, "v k"]
    ridge: Float[Array, ""]


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
    """
    for name, (x, y) in {"pool": pool, "points": points, "valid": valid}.items():
        same_length(**{f"{name} inputs": x, f"{name} targets": y})
    positive("ridge", ridge)
    flat = [
        float64(np.asarray(part)) for pair in (pool, points, valid) for part in pair
    ]
    arrays = _Ridge(*flat, ridge=float64(ridge))
    return Partial(functools.partial(_ridge_scores, metric), arrays)


@in_double
def _ridge_scores(metric, arrays, rows, size):
    there = (jnp.arange(len(rows)) < size)[:, None]
    x, y = arrays.x_pool[rows] * there, arrays.y_pool[rows] * there
    gram = x.T @ x + arrays.ridge * jnp.eye(x.shape[1])
    factor = (jnp.linalg.cholesky(gram), True)
    weights = cho_solve(factor, x.T @ y)
    turned = cho_solve(factor, arrays.x.T)
    leverage = 1.0 + jnp.sum(arrays.x.T * turned, axis=0)
    miss = (arrays.y - arrays.x @ weights) / leverage[:, None]
    base, reach = arrays.x_valid @ weights, arrays.x_valid @ turned
    joined = lambda z: metric(base + z[0][:, None] * z[1][None, :], arrays.y_valid)
    each = jax.vmap(joined)((reach.T, miss))
    return jnp.concatenate([metric(base, arrays.y_valid)[None], each])
