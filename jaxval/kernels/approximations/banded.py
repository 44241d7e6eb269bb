r"""Gram matrices known in a band of blocks, completed so that the inverse is banded.

Cutting a positive definite matrix down to the blocks $|i - j| \le L$ need not leave it
positive definite. Among all positive definite matrices that agree with it on the band
there is one whose *inverse* vanishes off the band (Asif and Moura, 2005; also the one
of largest determinant); DAVINZ leaves it as future work (appendix B.3). Its blocks off
the band follow from those on it, and are not needed: ordering block $j$ after the
$L$ blocks $S_j = \{j-L, \dots, j-1\}$ before it,

$$\bar H^{-1} = \sum_j W_j^\top W_j, \qquad
q = y^\top \bar H^{-1} y = \sum_j \lVert W_j\, y_{S_j \cup j} \rVert^2,$$

where $W_j$ are the last rows of $L_j^{-1}$, and $L_j$ is the Cholesky factor of the
clique $S_j \cup j$. Only cliques are factorised: $m$ blocks of $l$ rows cost
$m\,((L+1)\,l)^3 / 3$ operations, and $L = 0$ is the block diagonal.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Bool, Float, Int

from jaxval import linalg
from jaxval._checks import check, positive
from jaxval.execution.precision import double, float64, in_double
from jaxval.kernels.approximations.blocks import Blocking, GramFn, check_blocking
from jaxval.types import AnyArray

__all__ = [
    "BlockBanded",
    "block_banded_gram",
    "complete",
    "dense",
    "from_dense",
    "inverse",
    "quadratic_form",
    "solve",
]


class BlockBanded(NamedTuple):
    """The blocks of a symmetric matrix within a band.

    Blocks are padded to the size of the largest, so choose them of about one size.

    Attributes:
      grams: Blocks; `grams[j, d]` has the rows of block $j$ and the columns of block
        $j - d$, and is zero in padding and where $j < d$.
      rows: Rows of each block, padded with -1.
    """

    grams: Float[Array, "m band l l"]
    rows: Int[Array, "m l"]


def block_banded_gram(gram: GramFn, blocks: Blocking, bandwidth: int) -> BlockBanded:
    r"""The blocks $|i - j| \le L$ of a Gram matrix, computed one block row at a time.

    Args:
      gram: Function of two sets of row numbers to the entries between them, for
        instance `lambda rows, others: tangent.gram(apply_fn, params, x[rows],
        x[others], ...)`. It is always asked for one shape, so it compiles once.
      blocks: Blocking from `blocks.contiguous` or `blocks.permuted`, of about one size;
        blocks near one another in the list have their entries in the band.
      bandwidth: Number $L$ of off-diagonal blocks kept on each side.

    Raises:
      ValueError: If the blocks don't name every row once, or the band is wider than the
        matrix.

    Example:
      >>> from jaxval.kernels.approximations import blocks
      >>> x = np.array([1.0, 2.0, 3.0])
      >>> gram = lambda r, s: jnp.outer(x[r], x[s])
      >>> block_banded_gram(gram, blocks.contiguous(3, 3), 1).grams.ravel().tolist()
      [1.0, 0.0, 4.0, 2.0, 9.0, 6.0]
    """
    check_blocking(blocks)
    check(
        0 <= bandwidth < len(blocks),
        f"bandwidth must be between 0 and {len(blocks) - 1} for {len(blocks)} blocks; "
        f"got {bandwidth}.",
    )
    rows = _padded(blocks)
    band = [_block_row(gram, rows, block, bandwidth) for block in range(len(blocks))]
    with double():
        return BlockBanded(jnp.stack(band), jnp.asarray(rows))


def from_dense(
    theta: Float[AnyArray, "n n"], blocks: Blocking, bandwidth: int
) -> BlockBanded:
    """The band of a matrix at hand.

    Args:
      theta: Gram matrix.
      blocks: Blocking that names each of its rows once.
      bandwidth: Number of off-diagonal blocks kept on each side.

    Example:
      >>> from jaxval.kernels.approximations import blocks
      >>> from_dense(np.eye(4), blocks.contiguous(4, 2), 1).grams.shape
      (2, 2, 2, 2)
    """
    theta = float64(theta)
    return block_banded_gram(
        lambda rows, others: theta[np.ix_(rows, others)], blocks, bandwidth
    )


@in_double
def quadratic_form(
    band: BlockBanded,
    y: Float[Array, " n"],
    zeta: Float[Array, ""] | float,
    present: Bool[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""$q(S)$ under the completion of the rows that are present.

    A coalition's own matrix is completed: rows that are absent leave their blocks, and
    the band is that of the blocks that remain. (Completing the whole matrix and then
    deleting rows is another number, and its inverse is no longer banded.)

    Args:
      band: Blocks of the band; see `block_banded_gram`.
      y: Residuals, one per row.
      zeta: Regulariser $\zeta$, added to the diagonal before completing.
      present: Whether each row is in $S$, `mask[owner]` for a coalition; all when left
        out.

    Returns:
      The form; NaN where a clique plus the regulariser is not positive definite.

    Example:
      >>> from jaxval.kernels.approximations import blocks
      >>> band = from_dense(np.eye(4), blocks.contiguous(4, 2), 1)
      >>> round(float(quadratic_form(band, jnp.ones(4), 1.0)), 9)
      2.0
    """
    kept = jnp.ones(y.shape[0], bool) if present is None else present
    kept = _pick(kept, band.rows)
    y = jnp.where(kept, _pick(y.astype(jnp.float64), band.rows), 0.0)
    last = band.rows.shape[1]

    def conditional(block):
        h = _clique(band, kept, zeta, block)
        target = _window(y, block, band).ravel()
        half = solve_triangular(linalg.cholesky(h), target, lower=True)
        return jnp.sum(half[-last:] ** 2)

    return jnp.sum(jax.lax.map(conditional, jnp.arange(len(band.rows))))


@in_double
def inverse(band: BlockBanded, zeta: Float[Array, ""] | float) -> BlockBanded:
    r"""The band of $\bar H^{-1}$, which is zero outside it.

    Args:
      band: Blocks of the band; see `block_banded_gram`.
      zeta: Regulariser $\zeta$, added to the diagonal before completing.

    Example:
      >>> from jaxval.kernels.approximations import blocks
      >>> h = np.array([[2.0, 1.0], [1.0, 2.0]])
      >>> dense(inverse(from_dense(h, blocks.contiguous(2, 2), 1), 1.0)).round(3)
      array([[ 0.375, -0.125],
             [-0.125,  0.375]])
    """
    count, width, size, _ = band.grams.shape
    weights = _weights(band, zeta)  # (blocks, rows of the last, rows of the clique)
    squares = jnp.einsum("mka,mkb->mab", weights, weights, precision="highest")
    squares = squares.reshape(count, width, size, width, size)
    later = jnp.pad(squares, ((0, width - 1), (0, 0), (0, 0), (0, 0), (0, 0)))

    def term(e, d):
        return later[e : e + count, width - 1 - e, :, width - 1 - e - d, :]

    grams = [sum(term(e, d) for e in range(width - d)) for d in range(width)]
    return BlockBanded(jnp.stack(grams, axis=1), band.rows)


@in_double
def solve(
    band: BlockBanded, y: Float[Array, " n"], zeta: Float[Array, ""] | float
) -> Float[Array, " n"]:
    r"""$\bar H^{-1} y$ from the blocks of the band alone.

    Args:
      band: Blocks of the band; see `block_banded_gram`.
      y: Right-hand side, one number per row.
      zeta: Regulariser $\zeta$, added to the diagonal before completing.

    Example:
      >>> from jaxval.kernels.approximations import blocks
      >>> band = from_dense(np.eye(4), blocks.contiguous(4, 2), 1)
      >>> solve(band, jnp.arange(4.0), 1.0).round(9).tolist()
      [0.0, 0.5, 1.0, 1.5]
    """
    weights, blocks = _weights(band, zeta), jnp.arange(len(band.rows))
    cliques = jax.vmap(lambda j: _window(band.rows, j, band, fill=-1).ravel())(blocks)
    moved = jnp.einsum("mka,ma->mk", weights, _pick(y.astype(jnp.float64), cliques))
    back = jnp.einsum("mka,mk->ma", weights, moved)
    rows = jnp.where(cliques >= 0, cliques, y.shape[0])
    return jnp.zeros(y.shape[0]).at[rows].add(back, mode="drop")


def dense(band: BlockBanded) -> Float[np.ndarray, "n n"]:
    """The band as a whole matrix, zero outside it; for small $n$ and for tests.

    Args:
      band: Blocks of the band.

    Example:
      >>> from jaxval.kernels.approximations import blocks
      >>> dense(from_dense(np.ones((2, 2)), blocks.contiguous(2, 2), 0)).tolist()
      [[1.0, 0.0], [0.0, 1.0]]
    """
    rows = _real_rows(band)
    grams = np.asarray(band.grams, np.float64)
    out = np.zeros((sum(r.size for r in rows),) * 2)
    for j, a in enumerate(rows):
        for d, b in enumerate(reversed(rows[max(0, j + 1 - grams.shape[1]) : j + 1])):
            block = grams[j, d, : a.size, : b.size]
            out[np.ix_(a, b)], out[np.ix_(b, a)] = block, block.T
    return out


def complete(band: BlockBanded, zeta: float = 0.0) -> Float[np.ndarray, "n n"]:
    r"""The dense completion $\bar H$, for small $n$.

    Off the band, $\bar H_{ij} = \bar H_{iS} \bar H_{SS}^{-1} \bar H_{Sj}$ with the
    blocks $S = \{i+1, \dots, i+L\}$, one block diagonal after the other.

    Args:
      band: Blocks of the band; see `block_banded_gram`.
      zeta: Regulariser $\zeta$, added to the diagonal before completing.

    Raises:
      ValueError: If a clique of the band is singular.

    Example:
      >>> from jaxval.kernels.approximations import blocks
      >>> h = np.array([[2.0, 1.0, 9.0], [1.0, 2.0, 1.0], [9.0, 1.0, 2.0]])
      >>> complete(from_dense(h, blocks.contiguous(3, 3), 1)).tolist()
      [[2.0, 1.0, 0.5], [1.0, 2.0, 1.0], [0.5, 1.0, 2.0]]

    References:
      Asif and Moura, *Block matrices with L-block-banded inverse: inversion
      algorithms*, 2005, theorem 3.
    """
    positive("zeta", zeta, zero=True)
    rows, width = _real_rows(band), band.grams.shape[1] - 1
    out = dense(band)
    out += zeta * np.eye(len(out))
    for gap in range(width + 1, len(rows) if width else 0):
        for i in range(len(rows) - gap):
            a, b = rows[i], rows[i + gap]
            s = np.concatenate(rows[i + 1 : i + 1 + width])
            link = _solved(out[np.ix_(s, s)], out[np.ix_(s, b)], zeta)
            out[np.ix_(a, b)] = out[np.ix_(a, s)] @ link
            out[np.ix_(b, a)] = out[np.ix_(a, b)].T
    return out


def _solved(h, right, zeta):
    try:
        return np.linalg.solve(h, right)
    except np.linalg.LinAlgError as error:
        raise ValueError(
            f"the band must be positive definite; with zeta = {zeta:.3g} a block of it "
            "is singular. Give a positive zeta, such as 1e-3 of the mean diagonal."
        ) from error


def _real_rows(band):
    return [np.asarray(rows)[np.asarray(rows) >= 0] for rows in band.rows]


def _pick(values, rows):
    """`values[rows]`, zero in padding."""
    rows = jnp.where(rows >= 0, rows, values.shape[0])
    return jnp.asarray(values).at[rows].get(mode="fill", fill_value=0)


def _window(values, block, band, fill=0):
    """The entries of the clique that ends in `block`; `fill` before the first."""
    width = band.grams.shape[1]
    padding = ((width - 1, 0),) + ((0, 0),) * (values.ndim - 1)
    padded = jnp.pad(values, padding, constant_values=fill)
    return jax.lax.dynamic_slice_in_dim(padded, block, width)


def _clique(band, kept, zeta, block):
    """$H$ of a block after those before it; absent rows are isolated unit rows."""
    width, size = band.grams.shape[1], band.rows.shape[1]
    grams = _window(band.grams, block, band).astype(jnp.float64)
    h = jnp.zeros((width, size, width, size))
    for a in range(width):
        for b in range(a + 1):
            h = h.at[a, :, b, :].set(grams[a, a - b])
    keep = _window(kept, block, band).ravel().astype(jnp.float64)
    # Only the lower triangle is filled in, which is all a factorisation reads.
    h = h.reshape(width * size, width * size) * (keep[:, None] * keep[None, :])
    return h + jnp.diag(jnp.where(keep > 0, zeta, 1.0))


def _weights(band, zeta):
    """$W_j$: the last rows of the inverse factor of each clique."""
    size, kept = band.rows.shape[1], band.rows >= 0

    def last_rows(block):
        h = _clique(band, kept, zeta, block)
        unit = jnp.eye(len(h))[:, -size:]
        half = solve_triangular(linalg.cholesky(h), unit, lower=True, trans="T")
        real = _window(kept, block, band).ravel()
        return half.T * real.astype(jnp.float64)[None, :]

    return jax.lax.map(last_rows, jnp.arange(len(band.rows)))


def _padded(blocks):
    most = max(len(block) for block in blocks)
    rows = np.full((len(blocks), most), -1, np.int32)
    for j, block in enumerate(blocks):
        rows[j, : len(block)] = block
    return rows


def _block_row(gram, rows, block, bandwidth):
    """The blocks $(j, j), (j, j-1), ..., (j, j-L)$, asked for in one shape."""
    others = rows[[max(block - d, 0) for d in range(bandwidth + 1)]]
    real = (others >= 0) & (np.arange(bandwidth + 1)[:, None] <= block)
    # Padding asks for row 0 again, and what comes back is dropped.
    entries = gram(np.maximum(rows[block], 0), np.maximum(others, 0).ravel())
    kept = (rows[block] >= 0)[:, None, None] & real[None, :, :]
    with double():
        return jnp.where(kept, entries.reshape(kept.shape), 0).transpose(1, 0, 2)
