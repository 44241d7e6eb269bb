r"""Every leave-one-out of a partition for hardly more than the price of one score.

`leave_groups_out` takes any groups, overlapping ones too. Owners partition the rows,
and a partition allows much less work: order the owners by size, the largest first. With
$H = LL^\top$ and $z = L^{-1} y$ in that order, let $g$ be the rows of an owner and $R$
the rows after them. Eliminating what comes before leaves the trailing factor alone, so

$$q(N) - q(N \setminus g) = u^\top (I + V^\top V)^{-1} u,
\qquad V = L_{RR}^{-1} L_{Rg}, \quad u = z_g - V^\top z_R$$

(identity A, restricted to the rows from $g$ on). The owners with many rows are followed
by few, those followed by many have few: sizes 12, 25, ..., 6400 add a quarter to the
operations of the factorisation, ten equal sizes as many again. $L^{-1}$ is never
formed, and losses come out as sums of squares: that of a contributor with three samples
keeps its digits.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, Int

from jaxval._checks import check, groups, positive, same_length, symmetric
from jaxval.execution.precision import float64, in_double
from jaxval.linalg.quadratic import Targets, cholesky, half_energies
from jaxval.types import AnyArray

__all__ = ["leave_owners_out", "leave_parts_out", "size_order"]


def size_order(
    owner: Int[AnyArray, " n"],
) -> tuple[Int[np.ndarray, " n"], tuple[int, ...], Int[np.ndarray, " owners"]]:
    """The rows sorted by owner, largest owner first: what `leave_parts_out` needs.

    Args:
      owner: Owner, 0 to K-1, of each row.

    Returns:
      The rows in their new order, the owners' sizes in that order, and each owner's
      place in it.

    Example:
      >>> rows, sizes, place = size_order(np.array([0, 1, 0, 1, 1]))
      >>> rows.tolist(), sizes, place.tolist()
      ([1, 3, 4, 0, 2], (3, 2), [1, 0])
    """
    count = groups("owner", owner)
    owner = np.asarray(owner)
    sizes = np.bincount(owner, minlength=count)
    largest_first = np.argsort(-sizes, kind="stable")
    place = np.argsort(largest_first)
    rows = np.argsort(place[owner], kind="stable")
    return rows, tuple(sizes[largest_first].tolist()), place


@in_double
def leave_parts_out(
    h: Float[Array, "n n"], y: Targets, sizes: tuple[int, ...]
) -> tuple[Float[Array, ""], Float[Array, " parts"]]:
    r"""$q(N)$ and $q(N \setminus g)$ of consecutive parts of the rows.

    Args:
      h: Positive definite matrix: Gram matrix plus regulariser.
      y: Residuals, one per row, or one column per output (their forms are added up).
      sizes: Rows of each part, in order (static); cheapest when the largest is first.

    Raises:
      ValueError: If the sizes don't add up to the rows of `h`.

    Example:
      >>> q, without = leave_parts_out(0.5 * jnp.eye(3), jnp.ones(3), (2, 1))
      >>> round(float(q), 9), without.round(9).tolist()
      (6.0, [2.0, 4.0])
    """
    check(
        sum(sizes) == h.shape[0],
        f"sizes must add up to the {h.shape[0]} rows of h; they add up to "
        f"{sum(sizes)}.",
    )
    n, first = h.shape[0], sizes[0]
    y = y.reshape(n, -1).astype(jnp.float64)
    factor = cholesky(h)
    z = solve_triangular(factor, y, lower=True)
    full, ends = jnp.sum(z**2), np.cumsum(sizes).tolist()
    spans = list(zip([0, *ends[:-1]], ends, strict=True))
    if not _direct_is_cheaper(n - first, first):
        return full, jnp.stack([full - _loss(factor, z, a, b) for a, b in spans])
    # Nothing comes before the first part: without it there is a block of H itself.
    rest = jnp.sum(half_energies(cholesky(h[first:, first:]), y[first:]))
    losses = [_loss(factor, z, a, b) for a, b in spans[1:]]
    return full, jnp.stack([rest, *(full - loss for loss in losses)])


def leave_owners_out(
    gram: Float[AnyArray, "n n"],
    y: Float[AnyArray, " n"] | Float[AnyArray, "n outputs"],
    owner: Int[AnyArray, " n"],
    zeta: float = 0.0,
) -> tuple[Float[np.ndarray, ""], Float[np.ndarray, " owners"]]:
    r"""$q(N)$ and $q(N \setminus i)$ of every owner, from one factorisation.

    Takes about $3 \cdot 8 n^2$ bytes. Rows already sorted by owner, largest first, are
    not copied into that order.

    Args:
      gram: Gram matrix $\Theta$, in single or double precision.
      y: Residuals, one per row, or one column per output (their forms are added up).
      owner: Owner of each row.
      zeta: Regulariser $\zeta$, in the units of the kernel.

    Returns:
      The form of all rows, and of all but each owner's, in float64.

    Raises:
      ValueError: If $\Theta$ is not symmetric, or $\Theta + \zeta I$ not positive
        definite.

    Example:
      >>> gram, owner = np.eye(3), np.array([0, 1, 1])
      >>> q, without = leave_owners_out(gram, np.ones(3), owner, zeta=1.0)
      >>> round(float(q), 9), without.round(9).tolist()
      (1.5, [1.0, 0.5])
    """
    same_length(gram=gram, y=y, owner=owner)
    positive("zeta", zeta, zero=True)
    symmetric("gram", gram)
    rows, sizes, place = size_order(owner)
    moved = None if (rows == np.arange(rows.size)).all() else jnp.asarray(rows)
    full, without = _ordered(sizes, jnp.asarray(gram), float64(y), moved, float64(zeta))
    check(
        bool(jnp.isfinite(full)),
        f"gram + zeta I must be positive definite; zeta = {zeta:.3g} is too small for "
        "it. Raise zeta (see kernels.spectra.spectrum), or remove repeated rows.",
    )
    return np.asarray(full), np.asarray(without)[place]


@in_double
@functools.partial(jax.jit, static_argnums=0)
def _ordered(sizes, gram, y, rows, zeta):
    if rows is not None:
        gram, y = gram[rows[:, None], rows[None, :]], y[rows]
    n = gram.shape[0]
    h = gram.astype(jnp.float64).at[jnp.arange(n), jnp.arange(n)].add(zeta)
    return leave_parts_out(h, y, sizes)


def _loss(factor, z, start, stop):
    r"""$q(N) - q(N \setminus g)$ for the rows from `start` to `stop`."""
    if stop == z.shape[0]:
        return jnp.sum(z[start:] ** 2)
    # v: (rows after, rows of the part), u: (rows of the part, outputs).
    v = solve_triangular(factor[stop:, stop:], factor[stop:, start:stop], lower=True)
    u = z[start:stop] - jnp.matmul(v.T, z[stop:], precision="highest")
    return jnp.sum(half_energies(cholesky(_square(v)), u))


def _square(v):
    r"""The lower triangle of $I + V^\top V$, a strip of columns at a time."""
    width = v.shape[1]
    step = max(512, -(-width // 8))
    out = jnp.eye(width)
    for a in range(0, width, step):
        strip = jnp.matmul(v[:, a:].T, v[:, a : a + step], precision="highest")
        out = out.at[a:, a : a + step].add(strip)
    return out


def _direct_is_cheaper(rest, first):
    return rest**3 / 3 < rest**2 * first + rest * first**2 / 2 + first**3 / 3
