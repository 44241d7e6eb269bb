"""Quadratic forms of one positive definite matrix and of its sub-matrices."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, Bool, Float, Int

from jaxval._checks import finite, groups, symmetric
from jaxval.execution.precision import in_double
from jaxval.types import AnyArray

__all__ = [
    "check_positive_definite",
    "cholesky",
    "leave_groups_out",
    "masked_quadratic_form",
    "masked_solve",
    "member_table",
    "prefix_quadratic_forms",
    "quadratic_form",
]

Targets = Float[Array, " n"] | Float[Array, "n outputs"]
"""Residuals, one per row, or one column per output."""


@in_double
def cholesky(h: Float[Array, "n n"]) -> Float[Array, "n n"]:
    r"""The lower factor $L$ of $H = LL^\top$ in float64.

    Args:
      h: Symmetric matrix, of which the lower triangle is read.

    Returns:
      The factor; NaN where `h` is not positive definite.

    Example:
      >>> cholesky(4.0 * jnp.eye(2)).tolist()
      [[2.0, 0.0], [0.0, 2.0]]
    """
    return jnp.linalg.cholesky(h.astype(jnp.float64), symmetrize_input=False)


def check_positive_definite(
    h: Float[AnyArray, "n n"], name: str = "h"
) -> Float[Array, "n n"]:
    """The lower factor, or an error that says which regulariser would help.

    For concrete arrays only: inside a trace use `cholesky`, whose NaN says the same.

    Args:
      h: Gram matrix plus regulariser.
      name: Name of the matrix in the message.

    Raises:
      ValueError: If `h` is not finite, not symmetric, or not positive definite; the
        message names its smallest eigenvalue and what to add to the diagonal.

    Example:
      >>> check_positive_definite(4.0 * jnp.eye(2)).tolist()
      [[2.0, 0.0], [0.0, 2.0]]
    """
    finite(name, h)
    symmetric(name, h)
    factor = cholesky(jnp.asarray(h))
    if bool(jnp.isfinite(factor).all()):
        return factor
    values = np.linalg.eigvalsh(np.asarray(h, np.float64))
    enough = 2 * max(-values[0], 1e-12 * abs(values[-1]), np.finfo(float).tiny)
    raise ValueError(
        f"{name} must be positive definite; its smallest eigenvalue is "
        f"{values[0]:.3g} and its largest {values[-1]:.3g}. Add at least {enough:.1e} "
        "to the diagonal (a larger zeta), or remove repeated rows."
    )


@in_double
def quadratic_form(h: Float[Array, "n n"], y: Targets) -> Float[Array, ""]:
    r"""$q(N) = y^\top H^{-1} y$.

    Args:
      h: Positive definite matrix.
      y: Residuals, one per row, or one column per output (their forms are added up).

    Example:
      >>> round(float(quadratic_form(2.0 * jnp.eye(2), jnp.ones(2))), 12)
      1.0
    """
    return prefix_quadratic_forms(h, y)[-1]


@in_double
def prefix_quadratic_forms(h: Float[Array, "n n"], y: Targets) -> Float[Array, " n"]:
    r"""$q$ of the first 1, 2, ..., n rows from one factorisation.

    With $H = LL^\top$ the first rows of $L$ factorise the leading blocks of $H$, so
    $q(\{1..m\}) = \sum_{j \le m} (L^{-1} y)_j^2$ (identity B).

    Args:
      h: Positive definite matrix.
      y: Residuals, one per row, or one column per output (their forms are added up).

    Example:
      >>> prefix_quadratic_forms(0.5 * jnp.eye(3), jnp.ones(3)).round(9).tolist()
      [2.0, 4.0, 6.0]
    """
    return jnp.cumsum(half_energies(cholesky(h), y))


@in_double
def half_energies(factor: Float[Array, "n n"], y: Targets) -> Float[Array, " n"]:
    r"""$(L^{-1} y)_j^2$ for each row $j$, summed over outputs."""
    half = solve_triangular(factor, _columns(y), lower=True)
    return jnp.sum(half**2, axis=1)


@in_double
def masked_solve(
    h: Float[Array, "n n"], y: Targets, present: Bool[Array, " n"]
) -> Targets:
    r"""$H_{SS}^{-1} y_S$ in the rows $S$ that are present, 0 in the others.

    An absent row becomes an isolated unit row with a zero target, so every coalition
    solves a system of the same shape and the other rows keep their solution.

    Args:
      h: Positive definite matrix of all rows.
      y: Right-hand sides, one row per row of `h`.
      present: Whether each row is present.

    Example:
      >>> h, y = 0.5 * jnp.eye(2), jnp.array([1.0, 3.0])
      >>> masked_solve(h, y, jnp.array([True, False])).round(9).tolist()
      [2.0, 0.0]
    """
    keep = present.astype(jnp.float64)
    h = h * (keep[:, None] * keep[None, :]) + jnp.diag(1.0 - keep)
    y = y.astype(jnp.float64) * keep.reshape((-1,) + (1,) * (y.ndim - 1))
    return cho_solve((cholesky(h), True), y)


@in_double
def masked_quadratic_form(
    h: Float[Array, "n n"], y: Targets, present: Bool[Array, " n"]
) -> Float[Array, ""]:
    """$q$ of the rows that are present, with one shape for every coalition.

    An absent row becomes an isolated unit row with a zero target, so it adds exactly
    nothing to the form.

    Args:
      h: Positive definite matrix of all rows.
      y: Residuals, one per row, or one column per output (their forms are added up).
      present: Whether each row is present.

    Example:
      >>> h, y = 0.5 * jnp.eye(2), jnp.array([1.0, 3.0])
      >>> float(masked_quadratic_form(h, y, jnp.array([True, False])).round(9))
      2.0
    """
    keep = present.astype(jnp.float64)
    h = h * (keep[:, None] * keep[None, :]) + jnp.diag(1.0 - keep)
    return jnp.sum(half_energies(cholesky(h), _columns(y) * keep[:, None]))


def member_table(
    owner: Int[AnyArray, " n"],
) -> Int[np.ndarray, "owners most"]:
    """The rows of each owner, padded with n to the size of the largest.

    Args:
      owner: Owner, 0 to K-1, of each row.

    Raises:
      ValueError: If an owner has no rows.

    Example:
      >>> member_table(np.array([0, 1, 0])).tolist()
      [[0, 2], [1, 3]]
    """
    owner = np.asarray(owner)
    sizes = np.bincount(owner, minlength=groups("owner", owner))
    table = np.full((sizes.size, sizes.max()), owner.size, np.int32)
    rows = np.argsort(owner, kind="stable")
    for group, part in enumerate(np.split(rows, np.cumsum(sizes)[:-1])):
        table[group, : part.size] = part
    return table


@in_double
def leave_groups_out(
    h: Float[Array, "n n"], y: Targets, members: Int[Array, "groups most"]
) -> tuple[Float[Array, ""], Float[Array, " groups"]]:
    r"""$q(N)$, and $q(N \setminus g)$ of each group $g$, from one factorisation.

    $$q(N \setminus g) = q(N) - a_g^\top [(H^{-1})_{gg}]^{-1} a_g,
    \qquad a = H^{-1} y$$

    (identity A). With $W = L^{-1}$ the block $(H^{-1})_{gg}$ is $W_g^\top W_g$, so the
    inverse itself is never formed. Groups may overlap: any union of groups is a group.

    Args:
      h: Positive definite matrix.
      y: Residuals, one per row, or one column per output (their forms are added up).
      members: Rows of each group, padded with `n` (see `member_table`).

    Returns:
      The form of all rows, and of all but each group's.

    Example:
      >>> q, without = leave_groups_out(
      ...     0.5 * jnp.eye(3), jnp.ones(3), jnp.array([[0, 3], [1, 2]])
      ... )
      >>> float(q.round(9)), without.round(9).tolist()
      (6.0, [4.0, 2.0])
    """
    half = solve_triangular(cholesky(h), jnp.eye(len(h)), lower=True)  # W, (n, n)
    moved = half @ _columns(y)
    full = jnp.sum(moved**2)
    dual = half.T @ moved  # a, (n, outputs)

    def loss(rows):
        real = (rows < len(h)).astype(jnp.float64)
        columns = half.at[:, rows].get(mode="fill", fill_value=0.0)
        block = columns.T @ columns + jnp.diag(1.0 - real)
        return jnp.sum(
            half_energies(
                cholesky(block), dual.at[rows].get(mode="fill", fill_value=0.0)
            )
        )

    return full, full - jax.lax.map(loss, members)


def _columns(y):
    y = y.astype(jnp.float64)
    return y[:, None] if y.ndim == 1 else y
