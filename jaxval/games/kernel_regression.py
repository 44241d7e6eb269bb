r"""Kernel and ridge regression on a coalition's rows, scored on validation data.

On the tangent kernel of a network at initialisation this is "train the infinitely wide
network on this coalition and test it", as a game that costs no training (the nearest
published relative is FreeShap, Wang et al., ICML 2024).

A coalition's predictions are $K_{VS} (K_{SS} + \lambda I)^{-1} Y_S$. With the rows in
order of arrival and $K + \lambda I = LL^\top$, $Z = L^{-1} Y$ and
$W = L^{-1} K_V^\top$, the predictions of the first $k$ rows are
$\sum_{j \le k} W_j^\top Z_j$ (identity F): one factorisation for all prefixes.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax.linalg import triangular_solve
from jax.scipy.linalg import cho_solve, solve_triangular
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, Num

from jaxval._checks import check, finite, groups, positive, same_length
from jaxval.coalitions import masks
from jaxval.coalitions.game import Game, LeaveOneOut
from jaxval.execution.memory import rows_that_fit
from jaxval.execution.precision import float64, in_double
from jaxval.linalg import check_positive_definite, cholesky, masked_solve, member_table

__all__ = [
    "accuracy",
    "kernel_regression",
    "margin",
    "negative_squared_error",
    "one_hot",
    "ridge_regression",
]

MetricFn = Callable[[Float[Array, "outputs v"], Float[Array, "outputs v"]], Array]
"""Predictions and targets, one column a validation row, to one number: more is better.

Outputs come first because a metric compares them along the slow axis."""


def accuracy(
    predicted: Float[Array, "outputs v"], y: Float[Array, "outputs v"]
) -> Array:
    """The share of rows whose largest output is the target's.

    Equal outputs are shared: nobody's predictions (all zero) score the chance level
    1/classes, so that the empty coalition is neither right nor wrong.
    """
    best = jnp.max(predicted, axis=0, keepdims=True)
    winners = (predicted >= best).astype(predicted.dtype)
    return jnp.mean(jnp.sum(winners * y, axis=0) / jnp.sum(winners, axis=0))


def negative_squared_error(
    predicted: Float[Array, "outputs v"], y: Float[Array, "outputs v"]
):
    """Minus the mean squared error, summed over outputs; nobody predicts 0."""
    return -jnp.mean(jnp.sum((predicted - y) ** 2, axis=0))


def margin(predicted: Float[Array, "outputs v"], y: Float[Array, "outputs v"]) -> Array:
    """The mean of the target's output less the largest other; 0 of nobody."""
    own = jnp.sum(predicted * y, axis=0)
    other = jnp.max(jnp.where(y > 0, -jnp.inf, predicted), axis=0)
    return jnp.mean(own - other)


def one_hot(
    y: Int[Array, " n"] | Int[np.ndarray, " n"], classes: int
) -> Float[np.ndarray, "n {classes}"]:
    """Class numbers as rows of an identity matrix.

    Example:
      >>> one_hot(np.array([1]), 2).tolist()
      [[0.0, 1.0]]
    """
    y = np.asarray(y)
    check(
        bool(((y >= 0) & (y < classes)).all()),
        f"y must hold class numbers 0 to {classes - 1}; got {y.min()} to {y.max()}.",
    )
    return np.eye(classes)[y]


class _Problem(NamedTuple):
    h: Float[Array, "n n"]
    y: Float[Array, "n outputs"]
    across: Float[Array, "n v"]
    y_valid: Float[Array, "outputs v"]
    owner: Int[Array, " n"]
    members: Int[Array, "owners most"]


def kernel_regression(
    gram: Float[Array, "n n"] | Float[np.ndarray, "n n"],
    gram_valid: Float[Array, "v n"] | Float[np.ndarray, "v n"],
    y: Num[Array, "n ..."] | Num[np.ndarray, "n ..."],
    y_valid: Num[Array, "v ..."] | Num[np.ndarray, "v ..."],
    owner: Int[Array, " n"] | Int[np.ndarray, " n"] | None = None,
    *,
    ridge: float,
    metric: MetricFn = accuracy,
) -> Game:
    r"""A metric on validation data of kernel ridge regression on a coalition's rows.

    All prefixes of an order cost one factorisation, all leave-one-outs another (with
    $a = H^{-1} Y$, $B = H^{-1} K_V^\top$, leaving rows $g$ out changes the predictions
    by $-B_g^\top [(H^{-1})_{gg}]^{-1} a_g$).

    Args:
      gram: kernel of the training rows, any.
      gram_valid: kernel of each validation row with each training row.
      y: one-hot classes (see `one_hot`), real numbers or vectors.
      y_valid: likewise.
      owner: who contributed each row; each row is a player when left out.
      ridge: $\lambda$, added to the diagonal.
      metric: `accuracy`, `negative_squared_error`, `margin`, or any function of
        predictions and targets, one column a validation row.

    Raises:
      ValueError: if shapes disagree, an array holds NaN, or the regularised matrix is
        not positive definite.

    Example:
      >>> game = kernel_regression(
      ...     np.eye(2), np.eye(2), np.eye(2), np.eye(2), ridge=0.1
      ... )
      >>> game.powerset_scores().tolist()
      [0.5, 0.75, 0.75, 1.0]
    """
    owner = np.arange(len(gram)) if owner is None else np.asarray(owner)
    same_length(gram=gram, y=y, owner=owner)
    same_length(gram_valid=gram_valid, y_valid=y_valid)
    for name, array in {"gram": gram, "gram_valid": gram_valid, "y": y}.items():
        finite(name, array)
    positive("ridge", ridge, zero=True)
    check(
        metric is not accuracy or np.ndim(y) == 2,
        f"accuracy needs one-hot targets (games.kernel_regression.one_hot); got y of "
        f"shape {np.shape(y)}.",
    )
    h = float64(np.asarray(gram, np.float64) + ridge * np.eye(len(gram)))
    check_positive_definite(h, "gram + ridge I")
    columns = lambda a: float64(np.asarray(a, np.float64).reshape(len(a), -1))
    problem = _Problem(
        h,
        columns(y),
        float64(np.asarray(gram_valid).T),
        columns(y_valid).T,
        jnp.asarray(owner, jnp.int32),
        jnp.asarray(member_table(owner)),
    )
    score, prefixes, leave_one_out = _answers(metric)
    return Game(
        groups("owner", owner),
        Partial(score, problem),
        fast_prefixes=Partial(prefixes, problem),
        fast_leave_one_out=Partial(leave_one_out, problem),
        batch_size=rows_that_fit(8 * h.size),
    )


@functools.cache
def _answers(metric: MetricFn):
    """The game's three functions, the same objects for the same metric."""

    @in_double
    def score(problem, mask):
        dual = masked_solve(problem.h, problem.y, mask[problem.owner])
        return metric(dual.T @ problem.across, problem.y_valid)

    @in_double
    def prefixes(problem, order):
        ends = jnp.cumsum(_sizes(problem)[order])
        rank = masks.ranks(order)[problem.owner]
        rows = jnp.argsort(rank)
        factor = cholesky(problem.h[rows[:, None], rows[None, :]])
        outputs = problem.y.shape[1]
        right = jnp.concatenate([problem.y, problem.across], axis=1)[rows]
        # Solved from the right: LAPACK then finds both matrices in the order it wants.
        half = triangular_solve(factor, right.T, lower=True, transpose_a=True).T

        def arrive(predicted, row):
            predicted += row[:outputs, None] * row[None, outputs:]
            return predicted, metric(predicted, problem.y_valid)

        nobody = jnp.zeros_like(problem.y_valid)
        _, scores = jax.lax.scan(arrive, nobody, half)
        first = metric(nobody, problem.y_valid)[None]
        return jnp.concatenate([first, scores[ends - 1]])

    @in_double
    def leave_one_out(problem):
        half = solve_triangular(
            cholesky(problem.h), jnp.eye(len(problem.h)), lower=True
        )
        dual = half.T @ (half @ problem.y)
        reach = half.T @ (half @ problem.across)
        full = dual.T @ problem.across
        take = lambda a, rows: a.at[rows].get(mode="fill", fill_value=0.0)

        def without(rows):
            absent = (rows >= len(problem.h)).astype(jnp.float64)
            columns = take(half.T, rows)
            block = columns @ columns.T + jnp.diag(absent)
            lost = cho_solve((cholesky(block), True), take(dual, rows))
            return metric(full - lost.T @ take(reach, rows), problem.y_valid)

        return LeaveOneOut(
            metric(full, problem.y_valid), jax.lax.map(without, problem.members)
        )

    return score, prefixes, leave_one_out


def _sizes(problem):
    return jnp.sum(problem.members < len(problem.h), axis=1)


class _Ridge(NamedTuple):
    squares: Float[Array, "owners p p"]
    cross: Float[Array, "owners p outputs"]
    ridge: Float[Array, ""]
    x_valid: Float[Array, "v p"]
    y_valid: Float[Array, "outputs v"]


def ridge_regression(
    x: Float[Array, "n p"] | Float[np.ndarray, "n p"],
    x_valid: Float[Array, "v p"] | Float[np.ndarray, "v p"],
    y: Num[Array, "n ..."] | Num[np.ndarray, "n ..."],
    y_valid: Num[Array, "v ..."] | Num[np.ndarray, "v ..."],
    owner: Int[Array, " n"] | Int[np.ndarray, " n"],
    *,
    ridge: float,
    metric: MetricFn = accuracy,
) -> Game:
    r"""The same in primal form: right for few features and many rows (identity G).

    $X_S^\top X_S$ and $X_S^\top Y_S$ are sums over the members of a coalition, so its
    weights cost one $p \times p$ solve whatever its size.

    Args:
      x: features of the training rows; append a column of ones for an intercept.
      x_valid: features of the validation rows.
      y: one-hot classes, real numbers or vectors.
      y_valid: likewise.
      owner: who contributed each row.
      ridge: $\lambda$; positive.
      metric: see `kernel_regression`.

    Example:
      >>> eye, owner = np.eye(2), np.array([0, 1])
      >>> ridge_regression(eye, eye, eye, eye, owner, ridge=0.1).powerset_scores()
      Array([0.5 , 0.75, 0.75, 1.  ], dtype=float64)
    """
    same_length(x=x, y=y, owner=owner)
    same_length(x_valid=x_valid, y_valid=y_valid)
    positive("ridge", ridge)
    finite("x", x)
    x, owner = np.asarray(x, np.float64), np.asarray(owner)
    columns = lambda a: np.asarray(a, np.float64).reshape(len(a), -1)
    rows = [np.flatnonzero(owner == i) for i in range(groups("owner", owner))]
    known = _Ridge(
        float64(np.stack([x[r].T @ x[r] for r in rows])),
        float64(np.stack([x[r].T @ columns(y)[r] for r in rows])),
        float64(ridge),
        float64(x_valid),
        float64(columns(y_valid).T),
    )
    size = 8 * (x.shape[1] ** 2 + known.y_valid.size)
    score = Partial(_ridge_score(metric), known)
    return Game(len(rows), score, batch_size=rows_that_fit(size))


@functools.cache
def _ridge_score(metric: MetricFn):
    @in_double
    def score(known, mask):
        inside = mask.astype(jnp.float64)
        squares = jnp.tensordot(inside, known.squares, 1)
        squares += known.ridge * jnp.eye(len(squares))
        cross = jnp.tensordot(inside, known.cross, 1)
        weights = cho_solve((cholesky(squares), True), cross)
        return metric(weights.T @ known.x_valid.T, known.y_valid)

    return score
