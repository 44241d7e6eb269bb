r"""How far an approximate Gram matrix is from the exact one, where that fits.

The approximations themselves: `blocks` (diagonal blocks, B.1; averaged over
permutations, B.2), `banded` (a banded inverse, B.3), `projection` (random features).
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxval import linalg
from jaxval._checks import check, positive, same_length
from jaxval.execution.precision import double, float64
from jaxval.types import AnyArray

__all__ = ["Deviation", "deviation"]


class Deviation(NamedTuple):
    r"""Relative errors of an approximate Gram matrix.

    Attributes:
      frobenius: Error $\lVert\tilde\Theta - \Theta\rVert_F / \lVert\Theta\rVert_F$ of
        the matrix.
      quadratic_form: Error $\tilde q / q - 1$ of the form, with its sign: diagonal
        blocks may err on either side.
      score: Error $\sqrt{\tilde q / q} - 1$ of the DAVINZ term itself.
    """

    frobenius: float
    quadratic_form: float
    score: float


def deviation(
    approximate: Float[AnyArray, "n n"],
    exact: Float[AnyArray, "n n"],
    y: Float[AnyArray, " n"],
    zeta: float,
    *,
    form: float | Float[Array, ""] | None = None,
) -> Deviation:
    r"""The errors of an approximate Gram matrix, in double precision.

    Args:
      approximate: Approximation $\tilde\Theta$ as a dense matrix (`blocks.dense`,
        `banded.complete`, `projection.gram`).
      exact: Gram matrix $\Theta$.
      y: Residuals, one per row.
      zeta: Regulariser $\zeta$, in the units of the kernel.
      form: Form $\tilde q$, where the approximation has its own way to it.

    Raises:
      ValueError: If the lengths differ, `y` is all zero, or a matrix plus the
        regulariser is not symmetric positive definite.

    Example:
      >>> error = deviation(np.eye(2), 3.0 * np.eye(2), np.ones(2), 1.0)
      >>> round(error.frobenius, 3), round(error.quadratic_form, 3)
      (0.667, 1.0)
    """
    positive("zeta", zeta, zero=True)
    same_length(approximate=approximate, exact=exact, y=y)
    with double():
        ours, theirs, y = float64(approximate), float64(exact), float64(y)
        q = float(_form(theirs, y, zeta))
        check(q > 0, "y must not be all zero: there is no quadratic form to compare.")
        ratio = float(_form(ours, y, zeta) if form is None else form) / q
        gap = float(jnp.linalg.norm(ours - theirs)) / float(jnp.linalg.norm(theirs))
    return Deviation(gap, ratio - 1, float(np.sqrt(ratio)) - 1)


def _form(theta, y, zeta):
    h = theta + zeta * jnp.eye(len(theta))
    linalg.check_positive_definite(h, "gram + zeta I")
    return linalg.quadratic_form(h, y)
