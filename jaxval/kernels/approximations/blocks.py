r"""Diagonal blocks of a Gram matrix (DAVINZ, appendices B.1 and B.2).

A blocking is a list of index vectors, one per block, that names every row once. Keeping
only the blocks $\Theta_{bb}$, the quadratic form is a sum over blocks,

$$q(S) = \sum_b y_{S \cap b}^\top\,
    (\Theta_{S \cap b,\,S \cap b} + \zeta I)^{-1} y_{S \cap b},$$

so $N$ samples in $m$ blocks cost $N^2/m$ kernel entries and $N^3/m^2$ operations. With
blocks *aligned* to their owners, $q$ is additive over owners: all $2^K$ coalitions come
from $K$ numbers (identity D). Blocks that mix owners, as in the authors' code, are held
fixed for all coalitions here (the code draws them anew for each, which makes $v(S)$ a
random number).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxval import linalg
from jaxval._checks import check, groups, positive, same_length, whole_number
from jaxval.execution.precision import double, float64, in_double
from jaxval.types import AnyArray, PRNGKey

__all__ = [
    "Blocking",
    "BlockDiagonal",
    "aligned",
    "block_diagonal_gram",
    "check_blocking",
    "contiguous",
    "dense",
    "from_dense",
    "owner_quadratic_forms",
    "permuted",
    "permuted_quadratic_forms",
    "quadratic_form",
]

Blocking = Sequence[Int[np.ndarray, "..."]]
"""The rows of each block, every row in one block."""

GramFn = Callable[..., Float[Array, "n m"]]
"""`gram(rows)` or `gram(rows, others)`: kernel entries between two sets of rows."""


class BlockDiagonal(NamedTuple):
    """The diagonal blocks of a Gram matrix, blocks of one size stacked together.

    Attributes:
      grams: Blocks of each size, stacked.
      rows: Rows of those blocks, for each size.
    """

    grams: tuple[Float[Array, "b l l"], ...]
    rows: tuple[Int[Array, "b l"], ...]

    @property
    def num_rows(self) -> int:
        """Rows of the whole matrix."""
        return sum(rows.size for rows in self.rows)


def contiguous(n: int, num_blocks: int) -> list[Int[np.ndarray, " rows"]]:
    """Blocks of consecutive rows whose sizes differ by one at most.

    Args:
      n: Number of rows.
      num_blocks: Number of blocks; the authors use 100 for VGG and ResNet.

    Raises:
      ValueError: If there are more blocks than rows.

    Example:
      >>> [block.tolist() for block in contiguous(5, 2)]
      [[0, 1], [2, 3, 4]]
    """
    check(
        1 <= num_blocks <= n,
        f"num_blocks must be between 1 and the {n} rows; got {num_blocks}.",
    )
    edges = np.arange(num_blocks + 1) * n // num_blocks
    return [np.arange(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def permuted(key: PRNGKey, n: int, num_blocks: int) -> list[Int[np.ndarray, " rows"]]:
    """Blocks of rows drawn at random: `contiguous` after one permutation (B.2).

    Args:
      key: PRNG key of the permutation.
      n: Number of rows.
      num_blocks: Number of blocks.

    Example:
      >>> sizes = [len(block) for block in permuted(jax.random.key(0), 5, 2)]
      >>> sizes
      [2, 3]
    """
    order = np.asarray(jax.random.permutation(key, n))
    return [order[block] for block in contiguous(n, num_blocks)]


def aligned(
    owner: Int[AnyArray, " n"], max_rows: int | None = None
) -> list[Int[np.ndarray, " rows"]]:
    """Blocks that hold the rows of one owner each, so that $q$ is additive.

    Args:
      owner: Owner, 0 to K-1, of each row.
      max_rows: Largest block; an owner with more rows is split into equal ones.

    Example:
      >>> [block.tolist() for block in aligned(np.array([0, 1, 0, 1, 1]), max_rows=2)]
      [[0, 2], [1], [3, 4]]
    """
    count = groups("owner", owner)
    owner = np.asarray(owner)
    by_owner = [np.flatnonzero(owner == group) for group in range(count)]
    if max_rows is None:
        return by_owner
    whole_number("max_rows", max_rows)
    return [
        rows[block]
        for rows in by_owner
        for block in contiguous(rows.size, -(-rows.size // max_rows))
    ]


def block_diagonal_gram(gram: GramFn, blocks: Blocking) -> BlockDiagonal:
    r"""The diagonal blocks, computed one by one: nothing outside them is touched.

    Args:
      gram: Function of row numbers to the square Gram matrix of those rows, for
        instance `lambda rows: tangent.gram(apply_fn, params, x[rows], ...)`. Give it
        compiled; blocks have at most two sizes unless they are aligned to owners.
      blocks: Blocking from `contiguous`, `permuted` or `aligned`.

    Raises:
      ValueError: If the blocks don't name every row once.

    Example:
      >>> x = np.array([1.0, 2.0, 3.0])
      >>> parts = block_diagonal_gram(
      ...     lambda r: jnp.outer(x[r], x[r]), contiguous(3, 2)
      ... )
      >>> dense(parts).tolist()
      [[1.0, 0.0, 0.0], [0.0, 4.0, 6.0], [0.0, 6.0, 9.0]]
    """
    check_blocking(blocks)
    sizes = sorted({len(block) for block in blocks})
    by_size = [[block for block in blocks if len(block) == size] for size in sizes]
    grams = [[gram(block) for block in same] for same in by_size]
    with double():
        return BlockDiagonal(
            tuple(jnp.stack(same) for same in grams),
            tuple(jnp.asarray(np.stack(same)) for same in by_size),
        )


def from_dense(theta: Float[AnyArray, "n n"], blocks: Blocking) -> BlockDiagonal:
    """The diagonal blocks of a matrix at hand.

    Args:
      theta: Gram matrix.
      blocks: Blocking that names each of its rows once.

    Example:
      >>> from_dense(np.eye(3), contiguous(3, 2)).num_rows
      3
    """
    theta = float64(theta)
    return block_diagonal_gram(lambda rows: theta[np.ix_(rows, rows)], blocks)


@in_double
def dense(parts: BlockDiagonal) -> Float[Array, "n n"]:
    """The whole block-diagonal matrix, for small $n$ and for tests.

    Args:
      parts: Diagonal blocks.

    Example:
      >>> dense(from_dense(np.ones((2, 2)), contiguous(2, 2))).tolist()
      [[1.0, 0.0], [0.0, 1.0]]
    """
    out = jnp.zeros((parts.num_rows, parts.num_rows))
    for grams, rows in zip(*parts, strict=True):
        out = out.at[rows[:, :, None], rows[:, None, :]].set(grams)
    return out


@in_double
def quadratic_form(
    parts: BlockDiagonal,
    y: Float[Array, " n"],
    zeta: Float[Array, ""] | float,
    present: Bool[Array, " n"] | None = None,
) -> Float[Array, ""]:
    r"""$q(S)$ of the rows that are present; of all rows when `present` is left out.

    Args:
      parts: Diagonal blocks.
      y: Residuals, one per row.
      zeta: Regulariser $\zeta$.
      present: Whether each row is in $S$; `mask[owner]` for a coalition.

    Returns:
      The form; NaN where a block plus the regulariser is not positive definite.

    Example:
      >>> parts = from_dense(np.eye(4), contiguous(4, 2))
      >>> round(float(quadratic_form(parts, jnp.ones(4), 1.0)), 9)
      2.0
    """
    kept = jnp.ones(parts.num_rows, bool) if present is None else present
    forms = [
        jnp.sum(_block_forms(grams, y[rows], zeta, kept[rows]))
        for grams, rows in zip(*parts, strict=True)
    ]
    return jnp.sum(jnp.stack(forms))


def owner_quadratic_forms(
    parts: BlockDiagonal,
    y: Float[AnyArray, " n"],
    zeta: float,
    owner: Int[AnyArray, " n"],
) -> Float[np.ndarray, " owners"]:
    r"""What each owner adds to $q$ over aligned blocks: $q(S) = \sum_{i \in S} q_i$.

    Args:
      parts: Diagonal blocks, aligned to owners.
      y: Residuals, one per row.
      zeta: Regulariser $\zeta$.
      owner: Owner of each row.

    Raises:
      ValueError: If a block holds rows of two owners.

    Example:
      >>> owner = np.array([0, 0, 1])
      >>> parts = from_dense(np.eye(3), aligned(owner))
      >>> owner_quadratic_forms(parts, np.ones(3), 1.0, owner).round(9).tolist()
      [1.0, 0.5]
    """
    positive("zeta", zeta, zero=True)
    forms = np.zeros(groups("owner", owner))
    for grams, rows in zip(*parts, strict=True):
        owners = np.asarray(owner)[np.asarray(rows)]
        check(
            bool((owners == owners[:, :1]).all()),
            "blocks must be aligned to their owners (see blocks.aligned); a block "
            "holds rows of two.",
        )
        with double():
            present = jnp.ones(rows.shape, bool)
            block_forms = _block_forms(grams, jnp.asarray(y)[rows], zeta, present)
        np.add.at(forms, owners[:, 0], np.asarray(block_forms))
    return forms


def permuted_quadratic_forms(
    key: PRNGKey,
    gram: GramFn,
    y: Float[Array, " n"],
    zeta: float,
    *,
    num_blocks: int,
    num_permutations: int,
) -> Float[np.ndarray, " permutations"]:
    r"""$q(N)$ under blocks drawn anew `num_permutations` times (B.2).

    The paper averages "the results" over permutations; since the score takes a root,
    $\operatorname{mean}\sqrt{q/N}$ and $\sqrt{\operatorname{mean}(q)/N}$ differ, so all
    forms are returned: average what you report.

    Args:
      key: PRNG key; permutation $t$ uses `jax.random.fold_in(key, t)`.
      gram: Function of row numbers to their Gram matrix, as for
        `block_diagonal_gram`.
      y: Residuals, one per row.
      zeta: Regulariser $\zeta$.
      num_blocks: Number of blocks per permutation.
      num_permutations: Number of permutations.

    Returns:
      One form per permutation.

    Raises:
      ValueError: If a count is not a whole number from 1 on.

    Example:
      >>> forms = permuted_quadratic_forms(
      ...     jax.random.key(0), lambda rows: jnp.eye(len(rows)), jnp.ones(6), 1.0,
      ...     num_blocks=2, num_permutations=3,
      ... )
      >>> forms.round(6).tolist()
      [3.0, 3.0, 3.0]
    """
    whole_number("num_permutations", num_permutations)
    forms = []
    for t in range(num_permutations):
        blocks = permuted(jax.random.fold_in(key, t), y.shape[0], num_blocks)
        parts = block_diagonal_gram(gram, blocks)
        forms.append(float(quadratic_form(parts, y, zeta)))
    return np.asarray(forms)


def check_blocking(blocks: Blocking) -> int:
    """Check that the blocks name the rows 0 to n-1 once each, and return n.

    Raises:
      ValueError: If there is no block, an empty one, or a row named twice or not.

    Example:
      >>> check_blocking([np.array([0, 2]), np.array([1])])
      3
    """
    check(len(blocks) > 0, "blocks is empty: give at least one block of rows.")
    check(
        all(len(block) > 0 for block in blocks), "blocks must each hold at least a row."
    )
    rows = np.sort(np.concatenate([np.asarray(block) for block in blocks]))
    check(
        bool((rows == np.arange(rows.size)).all()),
        f"blocks must name each of the rows 0 to {rows.size - 1} exactly once.",
    )
    return int(rows.size)


def _block_forms(grams, y, zeta, present):
    same_length(blocks=grams, y=y)
    shift = zeta * jnp.eye(grams.shape[-1])[None]
    return jax.vmap(linalg.masked_quadratic_form)(
        grams.astype(jnp.float64) + shift, y.astype(jnp.float64), present
    )
