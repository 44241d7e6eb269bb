r"""Kernel and ridge regression on a coalition's rows, scored on validation data.

On the tangent kernel of a network at initialisation this is "train the infinitely wide
network on this coalition and test it", as a game that costs no training (the nearest
published relative is FreeShap, Wang et al., ICML 2024).

A coalition's predictions are $K_{VS} (K_{SS} + \lambda I)^{-1} Y_S$. With the rows in
order of arrival and $K + \lambda I = LL^\top$, $Z = L^{-1} Y$ and
$W = L^{-1} K_V^\top$, the predictions of the first $k$ rows are
$\sum_{j \le k} W_j^\top Z_j$ (identity F): one factorisation for all prefixes.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax.linalg import triangular_solve
from jax.scipy.linalg import cho_solve, solve_triangular
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, Num

from jaxval._checks import check, positive, same_length, symmetric
from jaxval._targets import numbers, owners
from jaxval.coalitions import masks
from jaxval.coalitions.game import Game, LeaveOneOut, Rows
from jaxval.execution.precision import float64, in_double
from jaxval.games._regression import (
    BATCH_BYTES,
    Batched,
    Judge,
    negative_squared_error,
    on_device,
    one_hot,
    read_targets,
)
from jaxval.linalg import check_positive_definite, cholesky, masked_solve, member_table
from jaxval.training.losses import MetricFn, accuracy

__all__ = [
    "kernel_regression",
    "negative_squared_error",
    "one_hot",
    "ridge_regression",
]


class _Problem(NamedTuple):
    h: Float[Array, "n n"]
    y: Float[Array, "n outputs"]
    across: Float[Array, "n v"]
    y_valid: Num[Array, "v ..."]
    owner: Int[Array, " n"]
    members: Int[Array, "owners most"]


def kernel_regression(
    gram: Any,
    gram_valid: Any,
    y: Any,
    y_valid: Any,
    owner: Any = None,
    *,
    penalty: float,
    metric: MetricFn = accuracy,
) -> Game:
    r"""A metric on validation data of kernel ridge regression on a coalition's rows.

    $$\hat f_S = K_{VS} (K_{SS} + \lambda I)^{-1} Y_S, \qquad
    v(S) = \frac1{|V|} \sum_{r \in V} m(\hat f_S(x_r), y_r)$$

    All prefixes of an order cost one factorisation, all leave-one-outs another (with
    $a = H^{-1} Y$, $B = H^{-1} K_V^\top$, leaving rows $g$ out changes the predictions
    by $-B_g^\top [(H^{-1})_{gg}]^{-1} a_g$). The game answers by validation row too.

    Args:
      gram: Kernel matrix of the training rows, `(n, n)`, any kernel.
      gram_valid: Kernel of each validation row with each training row, `(v, n)`.
      y: Training targets, one per row. Under `accuracy`, `margin` and
        `negative(cross_entropy)`: class numbers, one-hot rows or text labels, of which
        the indicators are fitted. Under any other metric: real numbers or vectors.
      y_valid: Validation targets of the same kind; labels are numbered jointly.
      owner: Owner number of each row; each row is a player when left out.
      penalty: Multiplier $\lambda$, added to the diagonal.
      metric: Metric with one score per row, of predictions `(v, outputs)` and targets:
        see `jaxval.training.losses`.

    Raises:
      ValueError: If shapes disagree, an array holds text, NaN or infinity, `gram` is
        not symmetric, or the regularised matrix is not positive definite.

    Example:
      >>> game = kernel_regression(np.eye(2), np.eye(2), [0, 1], [0, 1], penalty=0.1)
      >>> game.powerset_scores().tolist()
      [0.5, 0.75, 0.75, 1.0]
      >>> game.row_scores(np.array([[True, False]])).tolist()
      [[1.0, 0.5]]

    References:
      Wang et al., *Helpful or Harmful Data? Fine-tuning-free Shapley Attribution for
      Explaining Language Model Predictions* (FreeShap), ICML 2024.
    """
    gram = numbers("gram", gram, ndim=2)
    symmetric("gram", gram)
    gram_valid = numbers("gram_valid", gram_valid, ndim=2)
    check(
        gram_valid.shape[1] == len(gram),
        "gram_valid must have one row per validation row and one column for each of "
        f"the {len(gram)} training rows; got shape {gram_valid.shape}.",
    )
    targets, judged = read_targets(y, y_valid, metric)
    owner = np.arange(len(gram)) if owner is None else owner
    owner = owners("owner", owner, num_rows=len(gram))
    same_length(gram=gram, y=targets)
    same_length(gram_valid=gram_valid, y_valid=judged)
    positive("penalty", penalty, zero=True)
    h = float64(gram + penalty * np.eye(len(gram)))
    check_positive_definite(h, "gram + penalty I")
    problem = _Problem(
        h,
        float64(targets),
        float64(gram_valid.T),
        on_device(judged),
        jnp.asarray(owner, jnp.int32),
        jnp.asarray(member_table(owner)),
    )
    batch_size = max(1, BATCH_BYTES // (8 * h.size))
    return Game(
        len(problem.members),
        Partial(_Score(metric), problem),
        fast_prefixes=Partial(_Prefixes(metric), problem),
        fast_leave_one_out=Partial(_LeaveOneOut(metric), problem),
        batch_size=batch_size,
        rows=Rows(
            len(judged),
            Partial(Batched(_Score(metric, by_row=True), batch_size), problem),
            Partial(_Prefixes(metric, by_row=True), problem),
            Partial(_LeaveOneOut(metric, by_row=True), problem),
        ),
    )


@dataclasses.dataclass(frozen=True)
class _Score(Judge):
    @in_double
    def __call__(self, problem, mask):
        dual = masked_solve(problem.h, problem.y, jnp.asarray(mask)[problem.owner])
        return self.judged(dual.T @ problem.across, problem.y_valid)


@dataclasses.dataclass(frozen=True)
class _Prefixes(Judge):
    @in_double
    def __call__(self, problem, order):
        rank = masks.ranks(order)[problem.owner]
        rows = jnp.argsort(rank)
        factor = cholesky(problem.h[rows[:, None], rows[None, :]])
        outputs = problem.y.shape[1]
        right = jnp.concatenate([problem.y, problem.across], axis=1)[rows]
        # Solved from the right: LAPACK then finds both matrices in the order it wants.
        # (n, outputs + v): row j holds Z_j and W_j.
        half = triangular_solve(factor, right.T, lower=True, transpose_a=True).T
        nothing = jnp.zeros((outputs, right.shape[1] - outputs))
        first = self.judged(nothing, problem.y_valid)
        if self.by_row:
            return self._written(problem, first, nothing, half, rank[rows])

        def arrive(predicted, row):
            predicted += row[:outputs, None] * row[None, outputs:]
            return predicted, self.judged(predicted, problem.y_valid)

        ends = jnp.cumsum(_sizes(problem)[order])
        _, scores = jax.lax.scan(arrive, nothing, half)
        return jnp.concatenate([first[None], scores[ends - 1]])

    def _written(self, problem, first, nothing, half, rank):
        """Scores `(players + 1, v)`, and no others: an owner's last row stays."""
        outputs = len(nothing)
        table = jnp.zeros((len(problem.members) + 1, nothing.shape[1]), first.dtype)

        def arrive(carry, step):
            predicted, table = carry
            row, place = step
            predicted += row[:outputs, None] * row[None, outputs:]
            scores = self.judged(predicted, problem.y_valid)
            return (predicted, table.at[place + 1].set(scores)), None

        start = (nothing, table.at[0].set(first))
        (_, table), _ = jax.lax.scan(arrive, start, (half, rank))
        return table


@dataclasses.dataclass(frozen=True)
class _LeaveOneOut(Judge):
    @in_double
    def __call__(self, problem):
        n = len(problem.h)
        half = solve_triangular(cholesky(problem.h), jnp.eye(n), lower=True)
        dual = half.T @ (half @ problem.y)  # (n, outputs)
        reach = half.T @ (half @ problem.across)  # (n, v)
        full = dual.T @ problem.across  # (outputs, v)

        def without(rows):
            absent = (rows >= n).astype(jnp.float64)
            columns = _take(half.T, rows)
            block = columns @ columns.T + jnp.diag(absent)
            lost = cho_solve((cholesky(block), True), _take(dual, rows))
            return self.judged(full - lost.T @ _take(reach, rows), problem.y_valid)

        return LeaveOneOut(
            self.judged(full, problem.y_valid), jax.lax.map(without, problem.members)
        )


def _take(a, rows):
    """Some rows; zeros for those behind the end."""
    return a.at[rows].get(mode="fill", fill_value=0.0)


def _sizes(problem):
    return jnp.sum(problem.members < len(problem.h), axis=1)


class _Ridge(NamedTuple):
    squares: Float[Array, "owners p p"]
    cross: Float[Array, "owners p outputs"]
    penalty: Float[Array, ""]
    x_valid: Float[Array, "v p"]
    y_valid: Num[Array, "v ..."]


def ridge_regression(
    x: Any,
    x_valid: Any,
    y: Any,
    y_valid: Any,
    owner: Any,
    *,
    penalty: float,
    metric: MetricFn = accuracy,
) -> Game:
    r"""The same in primal form: right for few features and many rows (identity G).

    $$\hat W_S = (X_S^\top X_S + \lambda I)^{-1} X_S^\top Y_S$$

    $X_S^\top X_S$ and $X_S^\top Y_S$ are sums over the members of a coalition, so its
    weights cost one $p \times p$ solve whatever its size.

    Args:
      x: Features of the training rows; append a column of ones for an intercept.
      x_valid: Features of the validation rows.
      y: Training targets, one per row, read as in `kernel_regression`.
      y_valid: Validation targets, one per row, of the same kind.
      owner: Owner number of each row.
      penalty: $\lambda$, the multiplier of the weights' squared norm; positive.
      metric: Metric with one score per row: see `jaxval.training.losses`.

    Raises:
      ValueError: If shapes disagree, an array holds text, NaN or infinity, or
        `penalty` is not positive.

    Example:
      >>> eye, owner = np.eye(2), np.array([0, 1])
      >>> ridge_regression(eye, eye, owner, owner, owner, penalty=0.1).powerset_scores()
      Array([0.5 , 0.75, 0.75, 1.  ], dtype=float64)
    """
    x, x_valid = numbers("x", x, ndim=2), numbers("x_valid", x_valid, ndim=2)
    check(len(x) > 0, "x is empty: there are no rows to value.")
    check(
        x_valid.shape[1] == x.shape[1] > 0,
        "x and x_valid must have the same features, one at least; got "
        f"{x.shape[1]} and {x_valid.shape[1]} columns.",
    )
    targets, judged = read_targets(y, y_valid, metric)
    owner = owners("owner", owner, num_rows=len(x))
    same_length(x=x, y=targets)
    same_length(x_valid=x_valid, y_valid=judged)
    positive("penalty", penalty)
    rows = [np.flatnonzero(owner == i) for i in range(int(owner.max()) + 1)]
    arrays = _Ridge(
        float64(np.stack([x[r].T @ x[r] for r in rows])),
        float64(np.stack([x[r].T @ targets[r] for r in rows])),
        float64(penalty),
        float64(x_valid),
        on_device(judged),
    )
    # A coalition's system, and its predictions of every validation row.
    size = 8 * (x.shape[1] ** 2 + targets.shape[1] * len(x_valid))
    batch_size = max(1, BATCH_BYTES // size)
    by_row = Batched(_RidgeScore(metric, by_row=True), batch_size)
    return Game(
        len(rows),
        Partial(_RidgeScore(metric), arrays),
        batch_size=batch_size,
        rows=Rows(len(judged), Partial(by_row, arrays)),
    )


@dataclasses.dataclass(frozen=True)
class _RidgeScore(Judge):
    @in_double
    def __call__(self, arrays, mask):
        inside = mask.astype(jnp.float64)
        squares = jnp.tensordot(inside, arrays.squares, 1)
        squares += arrays.penalty * jnp.eye(len(squares))
        cross = jnp.tensordot(inside, arrays.cross, 1)
        weights = cho_solve((cholesky(squares), True), cross)
        return self.judged(weights.T @ arrays.x_valid.T, arrays.y_valid)
