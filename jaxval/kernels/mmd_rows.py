r"""The discrepancy by row of the target: kernel sums that weights of rows multiply.

Under weights $w$ of the target's rows (which sum to 1; uniform ones are the sample
itself, resampled ones a bootstrap of it) the discrepancy of a coalition $S$ is

$$\mathrm{MMD}^2(S, w) = \sum_r w_r \bigl(A(S) - 2 b_r(S)\bigr) + w^\top C w,$$

$A(S)$ being the mean kernel within the coalition, $b_r(S)$ the mean kernel of its rows
with row $r$, and $C$ the kernel of the target's rows. The entries $A(S) - 2 b_r(S)$
come from sums over owners, so all weights share them.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int, Num

from jaxval.coalitions.game import Rows
from jaxval.execution.options import Execution
from jaxval.execution.precision import double, float64, in_double
from jaxval.kernels._label_sums import kernel_values, pool
from jaxval.kernels.mmd import KernelSums, mean_over_pairs, sums_and_rows
from jaxval.kernels.pairwise import RbfMixture
from jaxval.types import AnyArray

__all__ = [
    "RowKernels",
    "discrepancy_of_entries",
    "discrepancy_rows",
    "row_entries",
    "row_kernels",
]

_GRAM_BYTES = 2**30
"""The kernel of the target's rows is kept up to here, where `Execution` names none."""

_EMPTY = -16.0
"""Entries of the empty coalition, in units of $k(x, x)$; all others are -2 or more."""


class RowKernels(NamedTuple):
    """Kernel sums of owners with each row of the target.

    Attributes:
      sums: Sums over owners and the whole target.
      to_rows: Sums over the rows of each owner with each row of the target.
      gram: Kernel of the target's rows; `None` where it is computed again each time.
      points: Rows of the target, flattened, where `gram` is `None`.
      bandwidths: Bandwidths of the kernel, in the units of the inputs.
      weights: Weights of its Gaussians.
    """

    sums: KernelSums
    to_rows: Float[Array, "owners rows"]
    gram: Float[Array, "rows rows"] | None
    points: Float[Array, "rows d"] | None
    bandwidths: Float[Array, " kernels"]
    weights: Float[Array, " kernels"]


def row_kernels(
    x: Num[AnyArray, "n ..."],
    owner: Int[AnyArray, " n"],
    valid: Num[AnyArray, "m ..."],
    kernel: RbfMixture,
    *,
    execution: Execution = Execution(),  # noqa: B008
) -> RowKernels:
    """Kernel sums of each owner with each row of the target, in one pass.

    Keeps owners times rows of the target in float64, and the square of the latter where
    it takes at most `execution.memory` (a GiB when `None`); otherwise the target's rows
    themselves.

    Args:
      x: Inputs, one per row; flattened.
      owner: Owner of each row.
      valid: Rows of the target sample.
      kernel: Kernel of two rows; see `mmd.rbf_ladder`.
      execution: Memory, rows of the kernel matrix at once, and progress.

    Raises:
      ValueError: As `mmd.kernel_sums`.

    Example:
      >>> import numpy as np
      >>> from jaxval.kernels.pairwise import rbf
      >>> x, owner = np.array([[0.0], [1.0]]), np.array([0, 1])
      >>> row_kernels(x, owner, np.array([[1.0]]), rbf(1.0)).to_rows.round(3).tolist()
      [[0.607], [1.0]]
    """
    sums, by_row = sums_and_rows(x, owner, valid, kernel, execution)
    count = len(valid)
    points = float64(pool(x, valid)[-count:])
    numbers = float64(kernel.bandwidths), float64(kernel.weights)
    if 8 * count**2 > (execution.memory or _GRAM_BYTES):
        return RowKernels(sums, by_row.T, None, points, *numbers)
    with double():
        values = jax.jit(kernel_values)(points, points, numbers)
    return RowKernels(sums, by_row.T, values, None, *numbers)


@in_double
def row_entries(
    kernels: RowKernels, mask: Bool[AnyArray, " owners"], *, unbiased: bool = False
) -> Float[Array, " rows"]:
    """$A(S) - 2 b_r(S)$ of a coalition, for each row $r$ of the target.

    Args:
      kernels: Kernel sums; see `row_kernels`.
      mask: Coalition of owners.
      unbiased: Whether $A$ leaves the diagonal out; with one row it is $k(x, x)$.

    Returns:
      Entries in the units of the kernel; $-16 k(x, x)$ for the empty coalition, which
      no other coalition comes near.

    Example:
      >>> import numpy as np
      >>> from jaxval.kernels.pairwise import rbf
      >>> x, owner = np.array([[0.0], [1.0]]), np.array([0, 1])
      >>> kernels = row_kernels(x, owner, np.array([[1.0]]), rbf(1.0))
      >>> row_entries(kernels, jnp.array([False, True])).tolist()
      [-1.0]
    """
    sums, inside = kernels.sums, jnp.asarray(mask).astype(jnp.float64)
    size = inside @ sums.sizes
    some = jnp.maximum(size, 1.0)
    within = inside @ sums.between @ inside
    own = mean_over_pairs(within, some, sums.diagonal, unbiased)
    entries = own - 2.0 * (inside @ kernels.to_rows) / some
    return jnp.where(size > 0, entries, _EMPTY * sums.diagonal)


@in_double
def discrepancy_of_entries(
    kernels: RowKernels,
    entries: Float[AnyArray, "... rows"],
    weights: Float[AnyArray, " rows"],
    *,
    unbiased: bool = False,
    root: bool = True,
    empty_score: float | Float[Array, ""] = 0.0,
) -> Float[Array, "..."]:
    r"""The discrepancy of coalitions under weights of the target's rows.

    $\sqrt{\max(e^\top w + w^\top C w, 0)}$; unbiased, the pairs of a row with itself
    are left out of the second term: $(w^\top C w - k \lVert w\rVert^2)
    / (1 - \lVert w\rVert^2)$.

    Args:
      kernels: Kernel sums; see `row_kernels`.
      entries: Entries $e$ of each coalition; see `row_entries`.
      weights: Weights $w$ of the target's rows, which sum to 1.
      unbiased: Whether to leave the diagonal out of the means.
      root: Whether to take the root; 0 where an unbiased square is negative.
      empty_score: Score of the empty coalition.

    Returns:
      One discrepancy per coalition, as `mmd.coalition_mmd` under uniform weights.

    Example:
      >>> import numpy as np
      >>> from jaxval.kernels.pairwise import rbf
      >>> x, owner = np.array([[0.0], [1.0]]), np.array([0, 1])
      >>> kernels = row_kernels(x, owner, np.array([[1.0]]), rbf(1.0))
      >>> entries = row_entries(kernels, jnp.array([False, True]))
      >>> float(discrepancy_of_entries(kernels, entries, np.ones(1)))
      0.0
    """
    entries = jnp.asarray(entries, jnp.float64)
    weights = jnp.asarray(weights, jnp.float64)
    diagonal = kernels.sums.diagonal
    own = _within_target(kernels, weights)
    if unbiased:
        alone = jnp.sum(weights**2)
        others = jnp.where(alone < 1.0, 1.0 - alone, 1.0)
        own = jnp.where(alone < 1.0, (own - diagonal * alone) / others, diagonal)
    linear = entries @ weights
    square = linear + own
    square = square if unbiased else jnp.maximum(square, 0.0)
    score = jnp.sqrt(jnp.maximum(square, 0.0)) if root else square
    # Between the empty coalition's -16 and the -2 that bounds all others.
    return jnp.where(linear < _EMPTY / 2 * diagonal, empty_score, score)


def _within_target(kernels, weights):
    r"""$w^\top C w$, row by row where $C$ is not kept."""
    if kernels.gram is not None:
        return weights @ kernels.gram @ weights
    numbers = kernels.bandwidths, kernels.weights
    count, width = kernels.points.shape
    strip = min(max(1, 2**23 // count), count)
    missing = -count % strip
    # (strips, strip, d) and (strips, strip); rows that fill up have no weight.
    points = jnp.pad(kernels.points, ((0, missing), (0, 0))).reshape(-1, strip, width)
    shares = jnp.pad(weights, (0, missing)).reshape(-1, strip)

    def energy(strip):
        rows, share = strip
        return share @ kernel_values(rows, kernels.points, numbers) @ weights

    return jnp.sum(jax.lax.map(energy, (points, shares)))


def discrepancy_rows(
    kernels: RowKernels,
    *,
    unbiased: bool = False,
    root: bool = True,
    empty_score: float = 0.0,
) -> Rows:
    """How the discrepancy game's score is made of the target's rows: `Game.rows`.

    Args:
      kernels: Kernel sums; see `row_kernels`.
      unbiased: Whether to leave the diagonal out of the means.
      root: Whether to take the root.
      empty_score: Score of the empty coalition.

    Returns:
      Rows whose reduction is not linear: the discrepancy under weights of the rows.

    Example:
      >>> import numpy as np
      >>> from jaxval.kernels.pairwise import rbf
      >>> x, owner = np.array([[0.0], [1.0]]), np.array([0, 1])
      >>> rows = discrepancy_rows(row_kernels(x, owner, np.array([[1.0]]), rbf(1.0)))
      >>> entries = rows.scores(np.array([[False, False], [False, True]]))
      >>> rows.reduce(entries, np.ones(1)).tolist()
      [0.0, 0.0]
    """
    return Rows(
        len(kernels.to_rows[0]),
        Partial(_Entries(unbiased), kernels),
        reduce=Partial(_Discrepancy(unbiased, root), kernels, float64(empty_score)),
    )


@dataclasses.dataclass(frozen=True)
class _Entries:
    unbiased: bool

    def __call__(self, kernels, masks):
        return jax.vmap(
            lambda mask: row_entries(kernels, mask, unbiased=self.unbiased)
        )(jnp.asarray(masks))


@dataclasses.dataclass(frozen=True)
class _Discrepancy:
    unbiased: bool
    root: bool

    def __call__(self, kernels, empty_score, entries, weights):
        return discrepancy_of_entries(
            kernels,
            entries,
            weights,
            unbiased=self.unbiased,
            root=self.root,
            empty_score=empty_score,
        )
