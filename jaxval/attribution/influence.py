r"""Influence functions: what leaving rows out would do to a trained model.

With parameters that minimise the mean loss over $n$ training rows, removing row $z$
changes the mean validation loss by

$$\tfrac1n\, s^\top \nabla L(z), \qquad (H + \delta I)\, s = \nabla L_V,$$

$H$ being the Hessian of the mean training loss and $\delta$ a damping. The value of a
row is that increase; the influence of a group is the sum of its members'. It holds for
convex losses at their minimum and degrades on deep networks (Basu et al., 2021).

References:
  Koh and Liang, *Understanding black-box predictions via influence functions*, ICML
  2017; Koh et al., *On the accuracy of influence functions for measuring group
  effects*, NeurIPS 2019; Agarwal et al., *Second-order stochastic optimization for
  machine learning in linear time* (LiSSA), 2017.
"""

import dataclasses
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int

from jaxval._checks import same_length
from jaxval._targets import numbers, owners
from jaxval.attribution._inputs import check_solved, read_problem
from jaxval.attribution.hessian import all_rows, each_query
from jaxval.attribution.solvers import InverseFn
from jaxval.coalitions.game import Game, Rows
from jaxval.execution.precision import float64, in_double
from jaxval.games.analytic import additive
from jaxval.training.losses import LossFn
from jaxval.types import AnyArray, ApplyFn, Dataset, Points

__all__ = [
    "Influences",
    "UnsolvedWarning",
    "influence",
    "influence_game",
    "influences",
    "query_influences",
    "solved_influences",
]

_TOLERATED = 0.1
"""Share of the gradient that a solve may leave before it is warned of."""


class UnsolvedWarning(UserWarning):
    """The linear system behind influence functions was not solved well."""


class Influences(NamedTuple):
    r"""Influences and how well the system behind them was solved.

    Attributes:
      values: Rise of the mean validation loss without each row.
      residual: Norm $\lVert (H + \delta I) s - g \rVert / \lVert g \rVert$ with
        $g = \nabla L_V$; 0 where the gradient is 0.
    """

    values: Float[np.ndarray, " n"]
    residual: float


def influences(
    apply_fn: ApplyFn,
    params: Any,
    loss: LossFn,
    data: Dataset,
    valid: Points,
    *,
    damping: float,
    inverse: InverseFn | None = None,
    penalty: float = 0.0,
    batch_size: int = 128,
) -> Float[np.ndarray, " n"]:
    r"""The rise of the mean validation loss if each row were left out of training.

    Args:
      apply_fn: Network, `(params, x) -> outputs`.
      params: Parameters at the minimum of the mean training loss (plus
        $\tfrac12 \lambda$ times their squared norm).
      loss: Loss with one entry per row, as in `training.losses`.
      data: Training rows; classes in any spelling where the loss is `cross_entropy`.
      valid: Validation rows.
      damping: Damping $\delta$, added to the Hessian's diagonal; 0 for strictly convex
        losses.
      inverse: Solver; `conjugate_gradient()` when left out, or `lissa(...)`.
      penalty: Multiplier $\lambda$ of half the squared norm of the parameters.
      batch_size: Rows whose gradients are held at once.

    Raises:
      ValueError: If the data don't fit together, a number is not finite, a label is no
        class of the network, or the solver diverged.

    Warns:
      UnsolvedWarning: If the solver stopped with over a tenth of the gradient left.
        `solved_influences` says how much.

    Example:
      >>> from jaxval.training import squared_error
      >>> apply = lambda w, x: x @ w[:, None]
      >>> x, y = jnp.ones((2, 1)), jnp.array([0.0, 2.0])
      >>> data, valid = Dataset(x, y, jnp.array([0, 1])), Points(x[:1], y[1:] + 1)
      >>> influences(
      ...     apply, jnp.ones(1), squared_error, data, valid, damping=0.0
      ... ).round(3)
      array([-2.,  2.], dtype=float32)

    References:
      Koh and Liang, ICML 2017, Eq. 2.
    """
    solution = solved_influences(
        apply_fn, params, loss, data, valid, damping=damping, inverse=inverse,
        penalty=penalty, batch_size=batch_size,
    )  # fmt: skip
    if solution.residual > _TOLERATED:
        warnings.warn(
            f"influence functions: the solver left {solution.residual:.0%} of the "
            "validation gradient; the values are approximate. Allow more steps, or "
            "raise damping.",
            UnsolvedWarning,
            stacklevel=2,
        )
    return solution.values


def solved_influences(
    apply_fn: ApplyFn,
    params: Any,
    loss: LossFn,
    data: Dataset,
    valid: Points,
    *,
    damping: float,
    inverse: InverseFn | None = None,
    penalty: float = 0.0,
    batch_size: int = 128,
) -> Influences:
    r"""`influences`, with what the solver left, and no warning about it.

    Conjugate gradients that are stopped early, or meet the negative curvature of a deep
    network, give values that look like any others; only the residual tells.

    Args:
      apply_fn: Network, `(params, x) -> outputs`.
      params: Parameters at the minimum of the mean training loss with penalty.
      loss: Loss with one entry per row.
      data: Training rows.
      valid: Validation rows.
      damping: Damping $\delta$, added to the Hessian's diagonal.
      inverse: Solver; `conjugate_gradient()` when left out.
      penalty: Multiplier $\lambda$ of half the squared norm of the parameters.
      batch_size: Rows whose gradients are held at once.

    Raises:
      ValueError: As `influences`.

    Example:
      >>> from jaxval.training import squared_error
      >>> apply = lambda w, x: x @ w[:, None]
      >>> x, y = jnp.ones((2, 1)), jnp.array([0.0, 2.0])
      >>> data, valid = Dataset(x, y, jnp.array([0, 1])), Points(x[:1], y[1:] + 1)
      >>> solution = solved_influences(
      ...     apply, jnp.ones(1), squared_error, data, valid, damping=0.0
      ... )
      >>> solution.residual < 1e-6
      True

    References:
      Koh and Liang, ICML 2017, Eq. 2; Basu, Pope and Feizi, *Influence functions in
      deep learning are fragile*, ICLR 2021.
    """
    problem, rows = read_problem(
        apply_fn, params, loss, data, valid, damping, inverse, penalty, batch_size
    )
    values, residual = jax.tree.map(np.asarray, all_rows(problem, params, *rows))
    check_solved(values, residual)
    return Influences(values, float(residual))


def query_influences(
    apply_fn: ApplyFn,
    params: Any,
    loss: LossFn,
    data: Dataset,
    valid: Points,
    *,
    damping: float,
    inverse: InverseFn | None = None,
    penalty: float = 0.0,
    batch_size: int = 128,
) -> Float[np.ndarray, "n queries"]:
    r"""The rise of the loss of each validation row if each row were left out.

    One system is solved per validation row; the mean over them is `influences`, up to
    what the solver leaves.

    Args:
      apply_fn: Network, `(params, x) -> outputs`.
      params: Parameters at the minimum of the mean training loss with penalty.
      loss: Loss with one entry per row.
      data: Training rows.
      valid: Validation rows, the queries.
      damping: Damping $\delta$, added to the Hessian's diagonal.
      inverse: Solver; `conjugate_gradient()` when left out.
      penalty: Multiplier $\lambda$ of half the squared norm of the parameters.
      batch_size: Rows whose gradients are held at once.

    Returns:
      Influences, one row per training row and one column per validation row.

    Raises:
      ValueError: As `influences`, for the worst solved query.

    Example:
      >>> from jaxval.training import squared_error
      >>> apply = lambda w, x: x @ w[:, None]
      >>> x, y = jnp.ones((2, 1)), jnp.array([0.0, 2.0])
      >>> data = Dataset(x, y, jnp.array([0, 1]))
      >>> query_influences(
      ...     apply, jnp.ones(1), squared_error, data, Points(x, y), damping=0.0
      ... ).round(3).tolist()
      [[1.0, -1.0], [-1.0, 1.0]]

    References:
      Koh and Liang, ICML 2017, Eq. 2.
    """
    problem, rows = read_problem(
        apply_fn, params, loss, data, valid, damping, inverse, penalty, batch_size
    )
    values, residuals = jax.tree.map(np.asarray, each_query(problem, params, *rows))
    check_solved(values, residuals.max())
    return values.T


def influence(
    values: Float[np.ndarray, " n"], owner: Int[AnyArray, " n"]
) -> Float[np.ndarray, " owners"]:
    """The influence of each owner: the sum of its rows'.

    Args:
      values: Influences of the rows, from `influences`.
      owner: Owner of each row, 0 to K-1.

    Raises:
      ValueError: If the lengths differ, or an owner has no rows.

    Example:
      >>> influence(np.array([1.0, 2.0, 4.0]), np.array([0, 1, 0]))
      array([5., 2.])

    References:
      Koh et al., *On the accuracy of influence functions for measuring group effects*,
      NeurIPS 2019.
    """
    values, owner = numbers("values", values, ndim=1), owners("owner", owner)
    same_length(values=values, owner=owner)
    return np.bincount(owner, values)


def influence_game(
    values: Float[np.ndarray, " n"] | Float[np.ndarray, "n queries"],
    owner: Int[AnyArray, " n"],
) -> Game:
    """The additive game of those sums: every semi-value of it is `influence`.

    Args:
      values: Influences of the rows, from `influences`; from `query_influences`, with a
        column per validation row, the game answers by row (`Game.rows`).
      owner: Owner of each row, 0 to K-1.

    Raises:
      ValueError: If the lengths differ, or an owner has no rows.

    Example:
      >>> game = influence_game(np.array([1.0, 2.0, 4.0]), np.array([0, 1, 0]))
      >>> game.powerset_scores().tolist()
      [0.0, 5.0, 2.0, 7.0]

    References:
      Koh et al., NeurIPS 2019, section 2.
    """
    values = np.asarray(values, np.float64)
    if values.ndim == 1:
        return additive(influence(values, owner))
    sums = np.stack([influence(column, owner) for column in values.T], axis=1)
    rows = Rows(values.shape[1], Partial(_additive_rows, float64(sums)))
    return dataclasses.replace(additive(sums.mean(axis=1)), rows=rows)


@in_double
def _additive_rows(sums: Float[Array, "owners queries"], masks):
    return jnp.asarray(masks).astype(jnp.float64) @ sums
