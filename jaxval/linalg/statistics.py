r"""Quadratic forms from additive statistics, for every regulariser, and of duplicates.

With features $F$ of few columns and $H = FF^\top + \zeta I$, everything a coalition's
quadratic form needs is a sum over its members.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxval._checks import check, finite, groups, same_length, symmetric
from jaxval.execution.precision import double, float64, in_double
from jaxval.linalg.quadratic import cholesky, half_energies
from jaxval.types import AnyArray

__all__ = [
    "Statistics",
    "additive_statistics",
    "collapse_duplicates",
    "forms_for_regularisers",
    "statistic_form",
]


class Statistics(NamedTuple):
    r"""What each owner's rows add to a quadratic form over features.

    Attributes:
      squares: Matrix $F_g^\top F_g$ of each owner.
      cross: Products $F_g^\top y_g$ of each owner, one column per output.
      energy: Sum of squares $y_g^\top y_g$ of each owner.
      sizes: Rows of each owner.
    """

    squares: Float[Array, "owners p p"]
    cross: Float[Array, "owners p outputs"]
    energy: Float[Array, " owners"]
    sizes: Float[Array, " owners"]


def additive_statistics(
    features: Float[AnyArray, "n p"],
    y: Float[AnyArray, " n"] | Float[AnyArray, "n outputs"],
    owner: Int[AnyArray, " n"],
) -> Statistics:
    """The sums over each owner's rows, in float64, one owner at a time.

    Args:
      features: Features $F$, one row per sample.
      y: Residuals, one per row, or one column per output.
      owner: Owner, 0 to K-1, of each row.

    Raises:
      ValueError: If the lengths differ, or an owner has no rows.

    Example:
      >>> additive_statistics(np.eye(2), np.ones(2), np.array([0, 1])).energy.tolist()
      [1.0, 1.0]
    """
    same_length(features=features, y=y, owner=owner)
    count = groups("owner", owner)
    features, owner = np.asarray(features, np.float64), np.asarray(owner)
    y = np.asarray(y, np.float64).reshape(len(owner), -1)
    rows = [np.flatnonzero(owner == group) for group in range(count)]
    return Statistics(
        float64(np.stack([features[r].T @ features[r] for r in rows])),
        float64(np.stack([features[r].T @ y[r] for r in rows])),
        float64(np.stack([np.sum(y[r] ** 2) for r in rows])),
        float64(np.bincount(owner)),
    )


@in_double
def statistic_form(
    squares: Float[Array, "p p"],
    cross: Float[Array, "p outputs"],
    energy: Float[Array, ""],
    zeta: Float[Array, ""] | float,
) -> Float[Array, ""]:
    r"""$q$ of a coalition from its summed statistics (Woodbury, identity C).

    $$q = \bigl(y^\top y - b^\top (A + \zeta I)^{-1} b\bigr) / \zeta,
    \qquad A = F^\top F,\; b = F^\top y$$

    The subtraction loses about $\log_{10}(\lVert y \rVert^2 / \zeta q)$ of sixteen
    digits.

    Args:
      squares: Matrix $A$ of the coalition.
      cross: Products $b$ of the coalition, one column per output.
      energy: Sum of squares of the coalition's residuals.
      zeta: Regulariser $\zeta$.

    Returns:
      The form; NaN where $A + \zeta I$ is not positive definite.

    Example:
      >>> one = jnp.eye(1)
      >>> round(float(statistic_form(one, one, jnp.asarray(1.0), 1.0)), 9)
      0.5
    """
    shift = jnp.diag(jnp.full(len(squares), zeta, jnp.float64))
    return (energy - jnp.sum(half_energies(cholesky(squares + shift), cross))) / zeta


def forms_for_regularisers(
    gram: Float[AnyArray, "n n"],
    y: Float[AnyArray, " n"] | Float[AnyArray, "n outputs"],
    zetas: Float[AnyArray, " m"],
) -> Float[np.ndarray, " m"]:
    r"""$q$ for every regulariser from one eigendecomposition (identity C2).

    $$q(\zeta) = \sum_j (u_j^\top y)^2 / (\lambda_j + \zeta)$$

    Args:
      gram: Gram matrix $\Theta = \sum_j \lambda_j u_j u_j^\top$, without a
        regulariser.
      y: Residuals, one per row, or one column per output (their forms are added up).
      zetas: Regularisers $\zeta$.

    Returns:
      One form per regulariser, in float64.

    Raises:
      ValueError: If the matrix is not symmetric, a number is not finite, or a
        regulariser leaves the matrix singular.

    Example:
      >>> forms_for_regularisers(np.eye(2), np.ones(2), np.array([0.0, 1.0])).tolist()
      [2.0, 1.0]
    """
    same_length(gram=gram, y=y)
    for name, array in (("gram", gram), ("y", y), ("zetas", zetas)):
        finite(name, array)
    symmetric("gram", gram)
    with double():
        values, vectors = jnp.linalg.eigh(float64(gram))
        moved = vectors.T @ float64(y).reshape(len(values), -1)
        energy = jnp.sum(moved**2, axis=1)
        shifted = values[None, :] + float64(zetas)[:, None]  # (m, n)
        forms = np.asarray(jnp.sum(energy[None, :] / shifted, axis=1))
    least = float(np.min(np.asarray(zetas), initial=np.inf))
    check(
        float(values[0]) + least > 0,
        f"zetas must keep gram + zeta I positive definite; the smallest eigenvalue is "
        f"{float(values[0]):.3g} and the smallest zeta {least:.3g}.",
    )
    return forms


@in_double
def collapse_duplicates(
    gram: Float[Array, "u u"],
    y: Float[Array, " u"],
    counts: Int[Array, " u"],
    zeta: float,
) -> Float[Array, ""]:
    r"""$q$ of a bootstrap sample from its distinct rows (identity L).

    A row drawn $c$ times with one target counts as one row with regulariser
    $\zeta / c$: $q = y_u^\top (\Theta_u + \zeta\,\mathrm{diag}(1/c))^{-1} y_u$. A row
    drawn no time is absent.

    Args:
      gram: Gram matrix of the distinct rows.
      y: Residuals of the distinct rows.
      counts: How often each row was drawn.
      zeta: Regulariser $\zeta$.

    Example:
      >>> one = collapse_duplicates(jnp.eye(1), jnp.ones(1), jnp.array([2]), 0.5)
      >>> round(float(one), 9)  # two copies of a row: y'(ones + 0.5 I)^-1 y
      0.8
    """
    present = (counts > 0).astype(jnp.float64)
    h = gram.astype(jnp.float64) * (present[:, None] * present[None, :])
    shift = jnp.where(counts > 0, zeta / jnp.maximum(counts, 1), 1.0)
    return jnp.sum(half_energies(cholesky(h + jnp.diag(shift)), y * present))
