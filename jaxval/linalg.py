r"""Factorise once, ask often: quadratic forms of every sub-matrix that a game needs.

Throughout, $H = \Theta + \zeta I$ is symmetric positive definite, $y$ a vector and
$q(S) = y_S^\top H_{SS}^{-1} y_S$ the quadratic form of the rows $S$. All of it is in
float64 whatever the global setting: a leave-one-out difference of a contributor with
three samples is wrong in its fourth digit in float32.
"""

import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, Bool, Float

from jaxval.precision import in_double

__all__ = [
    "cholesky",
    "masked_quadratic_form",
    "prefix_quadratic_forms",
    "quadratic_form",
]


@in_double
def cholesky(h: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """The lower factor in float64; NaN where `h` is not positive definite."""
    return jnp.linalg.cholesky(h.astype(jnp.float64), symmetrize_input=False)


@in_double
def quadratic_form(h: Float[Array, "n n"], y: Float[Array, " n"]) -> Float[Array, ""]:
    r"""$q(N) = y^\top H^{-1} y$.

    Example:
      >>> round(float(quadratic_form(2.0 * jnp.eye(2), jnp.ones(2))), 12)
      1.0
    """
    return prefix_quadratic_forms(h, y)[-1]


@in_double
def prefix_quadratic_forms(
    h: Float[Array, "n n"], y: Float[Array, " n"]
) -> Float[Array, " n"]:
    r"""$q$ of the first 1, 2, ..., n rows from one factorisation.

    With $H = LL^\top$ the first rows of $L$ factorise the leading blocks of $H$, so
    $q(\{1..m\}) = \sum_{j \le m} (L^{-1} y)_j^2$ (identity B).
    """
    half = solve_triangular(cholesky(h), y.astype(jnp.float64), lower=True)
    return jnp.cumsum(half**2)


@in_double
def masked_quadratic_form(
    h: Float[Array, "n n"], y: Float[Array, " n"], present: Bool[Array, " n"]
) -> Float[Array, ""]:
    """$q$ of the rows that are present, with one shape for every coalition.

    An absent row becomes an isolated unit row with a zero target, so it adds exactly
    nothing to the form.
    """
    keep = present.astype(jnp.float64)
    h = h * keep[:, None] * keep[None, :] + jnp.diag(1.0 - keep)
    y = jnp.where(present, y, 0.0)
    return y.astype(jnp.float64) @ cho_solve((cholesky(h), True), y.astype(jnp.float64))
