r"""How far two samples lie apart, and how far every coalition lies from a target.

The maximum mean discrepancy of samples $S$ and $T$ under a kernel $k$,

$$\mathrm{MMD}^2(S, T) = \overline{k}(S, S) + \overline{k}(T, T)
- 2\,\overline{k}(S, T),$$

is made of means of kernel values, so for $K$ owners of parts of $S$ the $K^2 + K$ sums
in `KernelSums` give it for all $2^K$ coalitions (identity E). *Biased* (the
V-statistic) takes the means with their diagonal: never negative, but about
$(1 - \overline{k})(1/m + 1/n)$ too large, which makes a tiny sample look far away.
*Unbiased* leaves the diagonal out and can be negative.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int, Num

from jaxval._checks import check, finite, groups, positive, same_length
from jaxval.execution.memory import rows_that_fit
from jaxval.execution.parallel import batched_map
from jaxval.execution.precision import double, float64, in_double

__all__ = [
    "DegenerateKernelWarning",
    "KernelSums",
    "RbfMixture",
    "coalition_mmd",
    "kernel_sums",
    "median_distance",
    "mmd",
    "rbf",
    "rbf_ladder",
]

LADDER = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Bandwidths of the default multi-kernel, in median distances."""

Sample = Num[Array, "n ..."] | Num[np.ndarray, "n ..."]
Target = Num[Array, "m ..."] | Num[np.ndarray, "m ..."]


class DegenerateKernelWarning(UserWarning):
    """Every pair of different rows looks equally similar to the kernel.

    The discrepancy then knows the sizes of the samples and nothing else: choose the
    bandwidths from the data (`rbf_ladder(median_distance(x, valid))`).
    """


class RbfMixture(NamedTuple):
    r"""$k(x, x') = \sum_j w_j \exp(-\lVert x - x' \rVert^2 / 2\sigma_j^2)$.

    Attributes:
      bandwidths: $\sigma_j$, in the units of the inputs.
      weights: $w_j$; they sum to 1 for a mean of kernels.
    """

    bandwidths: Float[Array, " kernels"]
    weights: Float[Array, " kernels"]


class KernelSums(NamedTuple):
    """All that the MMD of any coalition needs to know.

    Attributes:
      between: sums of the kernel over the rows of each pair of owners.
      to_valid: sums over the rows of each owner and those of the target sample.
      within_valid: sum over all pairs of the target sample.
      diagonal: the kernel of a point with itself.
      sizes: rows of each owner.
      num_valid: rows of the target sample.
    """

    between: Float[Array, "owners owners"]
    to_valid: Float[Array, " owners"]
    within_valid: Float[Array, ""]
    diagonal: Float[Array, ""]
    sizes: Float[Array, " owners"]
    num_valid: Float[Array, ""]


def rbf(bandwidth: float) -> RbfMixture:
    """One Gaussian kernel; the released code of DAVINZ takes `rbf(5.0)`."""
    return rbf_ladder(bandwidth, (1.0,))


def rbf_ladder(
    bandwidth: float, factors: Sequence[float] = LADDER, *, average: bool = True
) -> RbfMixture:
    """Gaussian kernels at multiples of a bandwidth, as a mean or as a sum.

    Example:
      >>> rbf_ladder(2.0, (0.5, 1.0)).bandwidths.tolist()
      [1.0, 2.0]
    """
    positive("bandwidth", bandwidth)
    check(len(factors) > 0, "factors is empty: a kernel needs at least one bandwidth.")
    for factor in factors:
        positive("factors", factor)
    weight = 1.0 / len(factors) if average else 1.0
    return RbfMixture(
        float64(bandwidth * np.asarray(factors, float)),
        float64(np.full(len(factors), weight)),
    )


def median_distance(x: Sample, valid: Target, *, max_rows: int = 1000) -> float:
    """The median distance between different rows of both samples together.

    At most `max_rows` rows of each are used, spread evenly over it, so the answer is
    the same every time. Where over half the pairs coincide, the median of the others.

    Raises:
      ValueError: if all those rows are the same.

    Example:
      >>> median_distance(np.array([[0.0], [1.0]]), np.array([[3.0]]))
      2.0
    """
    pooled = np.concatenate([_spread(x, max_rows), _spread(valid, max_rows)])
    pooled = pooled - pooled.mean(axis=0)
    norms = np.sum(pooled**2, axis=1)
    squares = norms[:, None] + norms[None, :] - 2 * pooled @ pooled.T
    squares = squares[np.triu_indices(len(pooled), 1)]
    apart = squares[squares > 1e-12 * max(norms.max(), np.finfo(float).tiny)]
    check(
        apart.size > 0,
        "x and valid hold one row repeated: there is no distance to choose a "
        "bandwidth by. Give a bandwidth, or check the inputs.",
    )
    median = np.median(np.sqrt(np.maximum(squares, 0)))
    return float(median if median**2 >= apart.min() else np.median(np.sqrt(apart)))


def mmd(
    x: Sample,
    valid: Target,
    kernel: RbfMixture,
    *,
    unbiased: bool = False,
    root: bool = True,
) -> float:
    r"""MMD of two samples.

    Args:
      x: one sample, a row each; flattened.
      valid: the other, of the same width.
      kernel: see `rbf_ladder`.
      unbiased: leave the diagonal out of the means.
      root: $\mathrm{MMD}$ rather than its square; 0 where an unbiased square is
        negative, so prefer the square for unbiased estimates.

    Example:
      >>> round(mmd(np.zeros((2, 1)), np.ones((3, 1)), rbf(1.0), root=False), 6)
      0.786939
    """
    sums = kernel_sums(x, np.zeros(len(x), int), valid, kernel)
    everybody = jnp.ones(1, bool)
    return float(coalition_mmd(sums, everybody, unbiased=unbiased, root=root))


def kernel_sums(
    x: Sample,
    owner: Int[Array, " n"] | Int[np.ndarray, " n"],
    valid: Target,
    kernel: RbfMixture,
    *,
    block_rows: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> KernelSums:
    """Sums of a kernel over the rows of each pair of owners, in blocks of rows.

    In float64 on centred inputs, as squared distances come from a matrix product.

    Args:
      x: inputs (pixels or features), flattened.
      owner: who contributed each row.
      valid: the target sample.
      kernel: see `rbf_ladder`.
      block_rows: Rows of the kernel matrix at once; chosen by `execution.memory` when
        `None`.
      progress: called with (rows done, rows in all).

    Raises:
      ValueError: if a sample is empty, holds NaN, or the widths differ.

    Warns:
      DegenerateKernelWarning: if different rows have similarity 0 or 1.

    Example:
      >>> x, owner = np.array([[0.0], [1.0]]), np.array([0, 1])
      >>> sums = kernel_sums(x, owner, np.array([[1.0]]), rbf(1.0))
      >>> sums.between.round(3).tolist(), sums.to_valid.round(3).tolist()
      ([[1.0, 0.607], [0.607, 1.0]], [0.607, 1.0])
    """
    same_length(x=x, owner=owner)
    count = groups("owner", owner)
    pooled = _pool(x, valid)
    label = np.r_[np.asarray(owner), np.full(len(valid), count)]
    block_rows = block_rows or rows_that_fit(8 * len(pooled))
    with double():
        pooled, label = float64(pooled), jnp.asarray(label, jnp.int32)
        parts = (pooled, label, jnp.zeros(count + 1), kernel)
        rows = batched_map(
            Partial(_row_sums, parts),
            pooled,
            chunk_size=block_rows,
            progress=progress,
        )
        table = jax.ops.segment_sum(rows, label, count + 1)
        sums = KernelSums(
            (table[:count, :count] + table[:count, :count].T) / 2,
            table[:count, count],
            table[count, count],
            jnp.sum(kernel.weights),
            float64(np.bincount(np.asarray(owner))),
            float64(len(valid)),
        )
    _warn_if_degenerate(sums)
    return sums


@in_double
def coalition_mmd(
    sums: KernelSums,
    mask: Bool[Array, " owners"],
    *,
    unbiased: bool = False,
    root: bool = True,
) -> Float[Array, ""]:
    r"""MMD of the rows of a coalition to the target sample (identity E).

    NaN for the empty coalition. Unbiased, a coalition or target of one row has no
    pair of different rows: that mean is taken to be $k(x, x)$, its largest value.

    Args:
      sums: see `kernel_sums`.
      mask: the coalition.
      unbiased: leave the diagonal out of the means.
      root: of the square; 0 where an unbiased square is negative.
    """
    inside = mask.astype(jnp.float64)
    quadratic = inside @ sums.between @ inside
    return mmd_from_totals(
        sums, quadratic, inside @ sums.to_valid, inside @ sums.sizes, unbiased, root
    )


@in_double
def mmd_from_totals(sums, within, across, size, unbiased, root):
    """MMD from a coalition's own kernel sum, its sum to the target, and its size."""
    mean_s = _mean(within, size, sums.diagonal, unbiased)
    mean_t = _mean(sums.within_valid, sums.num_valid, sums.diagonal, unbiased)
    square = mean_s + mean_t - 2.0 * across / (size * sums.num_valid)
    square = square if unbiased else jnp.maximum(square, 0.0)
    return jnp.sqrt(jnp.maximum(square, 0.0)) if root else square


def _mean(total, size, diagonal, unbiased):
    if not unbiased:
        return total / size**2
    pairs = jnp.where(size == 1, 1.0, size * (size - 1.0))
    return jnp.where(size == 1, diagonal, (total - size * diagonal) / pairs)


def _row_sums(parts, row):
    """One row's kernel, summed over the rows of each owner and of the target."""
    pooled, label, slots, kernel = parts
    products = jnp.matmul(pooled, row, precision=jax.lax.Precision.HIGHEST)
    squares = jnp.sum(pooled**2, axis=1) + jnp.sum(row**2) - 2.0 * products
    squares = jnp.maximum(squares, 0.0)
    values = jnp.zeros_like(squares)
    for s, w in zip(kernel.bandwidths, kernel.weights, strict=True):
        values += w * jnp.exp(squares * (-0.5 / s**2))
    count = slots.shape[0]
    if count > 64:
        return slots.at[label].add(values)
    mine = label[:, None] == jnp.arange(count)[None, :]
    return values @ mine.astype(values.dtype)


def _pool(x, valid):
    x, valid = _flat("x", x), _flat("valid", valid)
    check(
        x.shape[1] == valid.shape[1],
        "x and valid must have the same width once flattened; got "
        f"{x.shape[1]} and {valid.shape[1]}.",
    )
    pooled = np.concatenate([x, valid])
    return pooled - pooled.mean(axis=0)


def _flat(name, sample):
    sample = np.asarray(sample, np.float64)
    check(len(sample) > 0, f"{name} is empty: there is no distribution to compare.")
    finite(name, sample)
    return sample.reshape(len(sample), -1)


def _spread(sample, max_rows):
    sample = np.asarray(sample)
    rows = np.unique(np.linspace(0, len(sample) - 1, max_rows).round().astype(int))
    return _flat("x", sample[rows] if len(sample) > max_rows else sample)


def _warn_if_degenerate(sums):
    between, to_valid, within, diagonal, sizes, num_valid = map(np.asarray, sums)
    rows = float(sizes.sum() + num_valid)
    total = float(between.sum() + 2.0 * to_valid.sum() + within)
    similarity = (total / float(diagonal) - rows) / max(rows * (rows - 1), 1)
    if not 1e-6 <= similarity <= 1 - 1e-6:
        side = "small" if similarity < 0.5 else "large"
        warnings.warn(
            f"the mean similarity of different rows is {similarity:.1e}: the kernel's "
            f"bandwidths are too {side} for these inputs, and the discrepancy knows "
            "only the sizes. Use rbf_ladder(median_distance(x, valid)).",
            DegenerateKernelWarning,
            stacklevel=3,
        )
