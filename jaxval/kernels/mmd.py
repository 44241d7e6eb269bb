r"""How far two samples lie apart, and how far every coalition lies from a target.

The maximum mean discrepancy of samples $S$ and $T$ under a kernel $k$,

$$\mathrm{MMD}^2(S, T) = \overline{k}(S, S) + \overline{k}(T, T)
- 2\,\overline{k}(S, T),$$

is made of means of kernel values, so for $K$ owners of parts of $S$ the $K^2 + K$ sums
in `KernelSums` give it for all $2^K$ coalitions (identity E). *Biased* (the
V-statistic) takes the means with their diagonal: never negative, but about
$(1 - \overline{k})(1/m + 1/n)$ too large, which makes a tiny sample look far away.
*Unbiased* leaves the diagonal out and can be negative. What single rows of the target
add to it is in `kernels.mmd_rows`.

References:
  Gretton et al., *A kernel two-sample test*, JMLR 2012.
"""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num

from jaxval._checks import check, groups, positive, same_length
from jaxval._targets import feature_rows
from jaxval.execution.options import Execution
from jaxval.execution.precision import double, float64, in_double
from jaxval.kernels._label_sums import pool, sums_by_label
from jaxval.kernels.pairwise import RbfMixture
from jaxval.types import AnyArray

__all__ = [
    "DegenerateKernelWarning",
    "KernelSums",
    "coalition_mmd",
    "kernel_sums",
    "mmd",
    "mmd_from_totals",
    "rbf_ladder",
]

LADDER = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Bandwidths of the default multi-kernel, in median distances."""


class DegenerateKernelWarning(UserWarning):
    """Every pair of different rows looks equally similar to the kernel.

    The discrepancy then knows the sizes of the samples and nothing else: choose the
    bandwidths from the data (`rbf_ladder(pairwise.median_distance(x, valid))`).
    """


class KernelSums(NamedTuple):
    """All that the MMD of any coalition needs to know.

    Attributes:
      between: Sums of the kernel over the rows of each pair of owners.
      to_valid: Sums over the rows of each owner and those of the target sample.
      within_valid: Sum over all pairs of the target sample.
      diagonal: Kernel of a point with itself.
      sizes: Rows of each owner.
      num_valid: Rows of the target sample.
    """

    between: Float[Array, "owners owners"]
    to_valid: Float[Array, " owners"]
    within_valid: Float[Array, ""]
    diagonal: Float[Array, ""]
    sizes: Float[Array, " owners"]
    num_valid: Float[Array, ""]


def rbf_ladder(
    bandwidth: float, factors: Sequence[float] = LADDER, *, average: bool = True
) -> RbfMixture:
    """Gaussian kernels at multiples of a bandwidth, as a mean or as a sum.

    Args:
      bandwidth: Unit of the bandwidths, such as `pairwise.median_distance(x, valid)`.
      factors: Multiples of it, one per kernel.
      average: Whether to take the mean of the kernels rather than their sum.

    Raises:
      ValueError: If there is no factor, or a number is not positive.

    Example:
      >>> rbf_ladder(2.0, (0.5, 1.0)).bandwidths
      (1.0, 2.0)
    """
    positive("bandwidth", bandwidth)
    check(len(factors) > 0, "factors is empty: a kernel needs at least one bandwidth.")
    for factor in factors:
        positive("factors", factor)
    weight = 1.0 / len(factors) if average else 1.0
    return RbfMixture(
        tuple(float(bandwidth * factor) for factor in factors),
        (weight,) * len(factors),
    )


def mmd(
    x: Num[AnyArray, "n ..."],
    valid: Num[AnyArray, "m ..."],
    kernel: RbfMixture,
    *,
    unbiased: bool = False,
    root: bool = True,
) -> float:
    r"""MMD of two samples.

    Args:
      x: Rows of one sample; flattened.
      valid: Rows of the other, of the same width.
      kernel: Kernel of two rows; see `rbf_ladder` and `pairwise.rbf`.
      unbiased: Whether to leave the diagonal out of the means.
      root: Whether to return $\mathrm{MMD}$ rather than its square; 0 where an unbiased
        square is negative, so prefer the square for unbiased estimates.

    Returns:
      The discrepancy, in the units of the kernel (of its root where `root`).

    Raises:
      ValueError: As `kernel_sums`.

    Example:
      >>> from jaxval.kernels.pairwise import rbf
      >>> round(mmd(np.zeros((2, 1)), np.ones((3, 1)), rbf(1.0), root=False), 6)
      0.786939
    """
    x = feature_rows("x", x)
    sums = kernel_sums(x, np.zeros(len(x), int), valid, kernel)
    grand = jnp.ones(1, bool)
    return float(coalition_mmd(sums, grand, unbiased=unbiased, root=root))


def kernel_sums(
    x: Num[AnyArray, "n ..."],
    owner: Int[AnyArray, " n"],
    valid: Num[AnyArray, "m ..."],
    kernel: RbfMixture,
    *,
    execution: Execution = Execution(),  # noqa: B008
) -> KernelSums:
    """Sums of a kernel over the rows of each pair of owners, in blocks of rows.

    In float64, from `pairwise.squared_distances`.

    Args:
      x: Inputs (pixels or features), one per row; flattened.
      owner: Owner of each row.
      valid: Rows of the target sample.
      kernel: Kernel of two rows; see `rbf_ladder`.
      execution: Rows of the kernel matrix at once (as many as fit `memory` when
        `None`), and the progress of rows.

    Raises:
      ValueError: If a sample is empty, holds NaN or entries of 1e150 and more, or the
        widths differ.

    Warns:
      DegenerateKernelWarning: If different rows have similarity 0 or 1.

    Example:
      >>> from jaxval.kernels.pairwise import rbf
      >>> x, owner = np.array([[0.0], [1.0]]), np.array([0, 1])
      >>> sums = kernel_sums(x, owner, np.array([[1.0]]), rbf(1.0))
      >>> sums.between.round(3).tolist(), sums.to_valid.round(3).tolist()
      ([[1.0, 0.607], [0.607, 1.0]], [0.607, 1.0])
    """
    sums, _ = sums_and_rows(x, owner, valid, kernel, execution)
    return sums


def sums_and_rows(
    x, owner, valid, kernel, execution
) -> tuple[KernelSums, Float[Array, "rows owners"]]:
    """`kernel_sums`, and the sums of each row of the target over the rows of owners."""
    same_length(x=x, owner=owner)
    count = groups("owner", owner)
    pooled = pool(x, valid)
    n = len(pooled) - len(valid)
    label = np.r_[np.asarray(owner), np.full(len(valid), count)]
    with double():
        label = jnp.asarray(label, jnp.int32)
        rows = sums_by_label(pooled, label, count + 1, kernel, execution)
        table = jax.ops.segment_sum(rows, label, count + 1)
        sums = KernelSums(
            (table[:count, :count] + table[:count, :count].T) / 2,
            table[:count, count],
            table[count, count],
            jnp.sum(float64(kernel.weights)),
            float64(np.bincount(np.asarray(owner))),
            float64(len(valid)),
        )
        by_row = rows[n:, :count]
    _warn_if_degenerate(sums)
    return sums, by_row


@in_double
def coalition_mmd(
    sums: KernelSums,
    mask: Bool[AnyArray, " owners"],
    *,
    unbiased: bool = False,
    root: bool = True,
) -> Float[Array, ""]:
    r"""MMD of the rows of a coalition to the target sample (identity E).

    Unbiased, a coalition or target of one row has no pair of different rows: that mean
    is taken to be $k(x, x)$, its largest value.

    Args:
      sums: Sums over owners; see `kernel_sums`.
      mask: Coalition of owners.
      unbiased: Whether to leave the diagonal out of the means.
      root: Whether to take the root; 0 where an unbiased square is negative.

    Returns:
      The discrepancy; NaN for the empty coalition, which has no rows.

    Example:
      >>> from jaxval.kernels.pairwise import rbf
      >>> x, owner = np.array([[0.0], [1.0]]), np.array([0, 1])
      >>> sums = kernel_sums(x, owner, np.array([[1.0]]), rbf(1.0))
      >>> float(coalition_mmd(sums, jnp.array([False, True])))
      0.0
    """
    inside = mask.astype(jnp.float64)
    quadratic = inside @ sums.between @ inside
    return mmd_from_totals(
        sums, quadratic, inside @ sums.to_valid, inside @ sums.sizes, unbiased, root
    )


@in_double
def mmd_from_totals(
    sums: KernelSums,
    within: Float[Array, "..."],
    across: Float[Array, "..."],
    size: Float[Array, "..."],
    unbiased: bool,
    root: bool,
) -> Float[Array, "..."]:
    """MMD from a coalition's own kernel sum, its sum to the target, and its size.

    Args:
      sums: Sums over owners, of which those of the target are used.
      within: Kernel sum over the pairs of each coalition's rows.
      across: Kernel sum over each coalition's rows and those of the target.
      size: Rows of each coalition.
      unbiased: Whether to leave the diagonal out of the means.
      root: Whether to take the root.

    Example:
      >>> from jaxval.kernels.pairwise import rbf
      >>> one = np.zeros((1, 1))
      >>> sums = kernel_sums(one, np.array([0]), np.array([[1.0]]), rbf(1.0))
      >>> totals = sums.between[0, 0], sums.to_valid[0], sums.sizes[0]
      >>> round(float(mmd_from_totals(sums, *totals, False, False)), 6)
      0.786939
    """
    mean_s = mean_over_pairs(within, size, sums.diagonal, unbiased)
    mean_t = mean_over_pairs(sums.within_valid, sums.num_valid, sums.diagonal, unbiased)
    square = mean_s + mean_t - 2.0 * across / (size * sums.num_valid)
    square = square if unbiased else jnp.maximum(square, 0.0)
    return jnp.sqrt(jnp.maximum(square, 0.0)) if root else square


def mean_over_pairs(total, size, diagonal, unbiased):
    """The mean of a kernel over the pairs of `size` rows, from its sum."""
    if not unbiased:
        return total / size**2
    pairs = jnp.where(size == 1, 1.0, size * (size - 1.0))
    return jnp.where(size == 1, diagonal, (total - size * diagonal) / pairs)


def _warn_if_degenerate(sums):
    between, to_valid, within, diagonal, sizes, num_valid = map(np.asarray, sums)
    rows = float(sizes.sum() + num_valid)
    total = float(between.sum() + 2.0 * to_valid.sum() + within)
    # The mean over pairs of different rows, as a share of a row's kernel with itself.
    similarity = (total / float(diagonal) - rows) / max(rows * (rows - 1), 1)
    if not 1e-6 <= similarity <= 1 - 1e-6:
        side = "small" if similarity < 0.5 else "large"
        warnings.warn(
            f"the mean similarity of different rows is {similarity:.1e}: the kernel's "
            f"bandwidths are too {side} for these inputs, and the discrepancy knows "
            "only the sizes. Use rbf_ladder(pairwise.median_distance(x, valid)).",
            DegenerateKernelWarning,
            stacklevel=4,
        )
