r"""Distances and Gaussian kernels of pairs of points.

`squared_distances` is what every room of the library measures distances by: games of
nearest neighbours, discrepancies, bandwidths.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Num

from jaxval._checks import check, positive, same_features, whole_number
from jaxval.kernels._squares import (
    flat,
    host_flat,
    host_squares,
    traced_squares,
    zero_diagonal,
)
from jaxval.types import AnyArray, KernelFn

__all__ = [
    "RbfMixture",
    "distances",
    "gram",
    "median_distance",
    "multi_rbf_gram",
    "rbf",
    "squared_distances",
]


@dataclasses.dataclass(frozen=True)
class RbfMixture:
    r"""$k(x, x') = \sum_j w_j \exp(-\lVert x - x' \rVert^2 / 2\sigma_j^2)$.

    A kernel of two points, equal (and hashed alike) where its numbers are.

    Attributes:
      bandwidths: Bandwidths $\sigma_j$, in the units of the inputs.
      weights: Weights $w_j$; they sum to 1 for a mean of kernels.

    Raises:
      ValueError: If there is no bandwidth, one is not between 1e-150 and 1e150, or
        there are not as many weights.

    Example:
      >>> kernel = RbfMixture((1.0, 2.0), (0.5, 0.5))
      >>> float(kernel(jnp.zeros(3), jnp.zeros(3)))
      1.0
    """

    bandwidths: tuple[float, ...]
    weights: tuple[float, ...]

    def __post_init__(self):
        """Validates the numbers eagerly."""
        check(len(self.bandwidths) > 0, "bandwidths is empty: name at least one.")
        for bandwidth in self.bandwidths:
            positive("bandwidth", bandwidth)
            check(
                1e-150 <= bandwidth <= 1e150,
                f"bandwidth must be between 1e-150 and 1e150, so that its square is a "
                f"number; got {bandwidth}. Scale the inputs.",
            )
        check(
            len(self.weights) == len(self.bandwidths),
            f"weights must be one per bandwidth; got {len(self.weights)} for "
            f"{len(self.bandwidths)}.",
        )

    def __call__(
        self, x: Num[AnyArray, " d"], y: Num[AnyArray, " d"]
    ) -> Float[Array, ""]:
        """The kernel of two points."""
        return self.of_squares(jnp.sum((x - y) ** 2))

    def of_squares(self, squares: Float[Array, "..."]) -> Float[Array, "..."]:
        """The kernel at squared distances, of any shape."""
        return mixture_of_squares(squares, self.bandwidths, self.weights)


def rbf(bandwidth: float) -> RbfMixture:
    r"""The Gaussian kernel $k(x, y) = \exp(-\lVert x - y\rVert^2 / 2\sigma^2)$.

    The released code of DAVINZ takes `rbf(5.0)`.

    Args:
      bandwidth: Bandwidth $\sigma$, in the units of the inputs.

    Raises:
      ValueError: If the bandwidth is not a positive number.

    Example:
      >>> float(rbf(1.0)(jnp.zeros(2), jnp.zeros(2)))
      1.0
    """
    positive("bandwidth", bandwidth)
    return RbfMixture((float(bandwidth),), (1.0,))


def mixture_of_squares(
    squares: Float[Array, "..."],
    bandwidths: Sequence[float] | Float[Array, " kernels"],
    weights: Sequence[float] | Float[Array, " kernels"],
) -> Float[Array, "..."]:
    r"""$\sum_j w_j \exp(-s / 2\sigma_j^2)$; the numbers may be traced."""
    total = jnp.zeros_like(squares)
    for bandwidth, weight in zip(bandwidths, weights, strict=True):
        total += weight * jnp.exp(squares * (-0.5 / bandwidth**2))
    return total


def gram(
    kernel_fn: KernelFn,
    x: Float[AnyArray, "n d"],
    y: Float[AnyArray, "m d"] | None = None,
    *,
    block_size: int = 256,
) -> Float[Array, "n m"]:
    """The Gram matrix of any kernel of two points.

    Args:
      kernel_fn: Kernel of two points.
      x: Points, one per row.
      y: Other points, one per row; `x` itself when left out.
      block_size: Rows worked on at once, against all columns.

    Raises:
      ValueError: If `block_size` is not a whole number from 1 on.

    Example:
      >>> gram(jnp.dot, jnp.array([[1.0], [2.0]])).tolist()
      [[1.0, 2.0], [2.0, 4.0]]
    """
    whole_number("block_size", block_size)
    x = jnp.asarray(x)
    other = x if y is None else jnp.asarray(y)

    def row(xi):
        return jax.vmap(lambda yj: kernel_fn(xi, yj))(other)

    return lax.map(row, x, batch_size=min(block_size, x.shape[0]))


def squared_distances(
    x: Num[AnyArray, "n ..."],
    y: Num[AnyArray, "m ..."] | None = None,
    *,
    tolerance: float | Float[Array, ""] = 0.0,
) -> Float[AnyArray, "n m"]:
    r"""$\lVert x_i - y_j\rVert^2$, near and far: by a product where that is safe.

    With the points moved to the mean of `y`, the product gives $\lVert x\rVert^2
    + \lVert y\rVert^2 - 2\langle x, y\rangle$ for the price of a matrix product, but
    near points far from the mean cancel: by standard rounding analysis its error is at
    most

    $$b_{ij} = (d + 5)\, u\, (\lVert x_i\rVert + \lVert y_j\rVert)^2$$

    for $d$ columns and unit roundoff $u$ (1.1e-16 in float64, 6e-8 in float32). It is
    taken where $(\lVert x_i\rVert + \lVert y_j\rVert)^2$ is at most 64 times the
    squared distance, so that the relative error is at most $64 (d + 5) u$ (7e-13 for
    100 columns in float64), or where $b_{ij}$ is at most `tolerance`. The other pairs
    are sums of squared differences (relative error $(d + 2) u$, exactly 0 for equal
    rows).

    NumPy arrays are computed in float64 on the host, up to 64 columns by differences
    alone; wider ones pair by pair where few cancel, and integers whose products fit
    exactly, ties included. JAX arrays, traced or not, keep their precision (float32 at
    least); in steps of 64 rows either all pairs or none are computed by differences,
    which no pair of a row with itself asks for when `y` is left out. Beside the result
    and a matrix of its size, memory is some 32 MiB or a copy of `x` and `y`.

    Args:
      x: Points, one per row; further axes are flattened.
      y: Other points, one per row, as wide as those of `x`; `x` itself when left out.
      tolerance: Absolute error of a squared distance that does no harm, in the squared
        units of the inputs.

    Returns:
      Squared distances, in the squared units of the inputs; the diagonal is 0 when `y`
      is left out.

    Raises:
      ValueError: If the widths differ, or (NumPy) a number is not finite or a squared
        distance exceeds the largest float64.

    Example:
      >>> squared_distances(np.array([[0.0], [3.0]])).tolist()
      [[0.0, 9.0], [9.0, 0.0]]
      >>> near = np.array([[1.7e9, 1.0], [1.7e9, 2.0], [0.0, 0.0]])
      >>> float(squared_distances(near)[0, 1])
      1.0
    """
    same_features(x=x, y=x if y is None else y)
    if isinstance(x, jax.Array) or isinstance(y, jax.Array):
        left = flat(x)
        right = left if y is None else flat(y)
        return traced_squares(left, right, y is None, tolerance)
    squares, exponent = host_squares(x, y, float(tolerance))
    with np.errstate(over="ignore"):
        squares = np.ldexp(squares, 2 * exponent, out=squares)
    check(
        bool(np.isfinite(squares).all()),
        "x must have squared distances that are numbers; rows differ by more than "
        f"1e154 (the largest entries are of size {2.0**exponent:.0e}). Scale the "
        "columns first.",
    )
    return squares


def distances(
    x: Num[np.ndarray, "n ..."], y: Num[np.ndarray, "m ..."] | None = None
) -> Float[np.ndarray, "n m"]:
    r"""Euclidean distances $\lVert x_i - y_j\rVert$ in float64, at any scale.

    Args:
      x: Points, one per row; further axes are flattened.
      y: Other points, one per row; `x` itself when left out.

    Returns:
      Distances in the units of the inputs, with half the relative errors of
      `squared_distances`.

    Raises:
      ValueError: If the widths differ, or a number is not finite.

    Example:
      >>> distances(np.array([[0.0], [3e200]])).tolist()
      [[0.0, 3e+200], [3e+200, 0.0]]
    """
    same_features(x=x, y=x if y is None else y)
    squares, exponent = host_squares(x, y, 0.0)
    return np.ldexp(np.sqrt(squares, out=squares), exponent, out=squares)


def multi_rbf_gram(
    x: Num[AnyArray, "n ..."],
    y: Num[AnyArray, "m ..."] | None = None,
    *,
    bandwidths: Sequence[float],
    weights: Sequence[float] | None = None,
    block_size: int = 4096,
) -> Float[Array, "n m"]:
    r"""$\sum_b w_b \exp(-\lVert x_i - y_j\rVert^2 / 2\sigma_b^2)$, in row blocks.

    All kernels share one matrix of distances, so several bandwidths cost little more
    than one.

    Args:
      x: Points, one per row; further axes are flattened.
      y: Other points, one per row; `x` itself when left out.
      bandwidths: Bandwidths $\sigma_b$, in the units of the inputs.
      weights: Weights $w_b$, one per bandwidth; equal and of sum 1 when left out.
      block_size: Rows worked on at once.

    Raises:
      ValueError: If there is no bandwidth, one is not positive, or the weights are not
        one per bandwidth.

    Example:
      >>> multi_rbf_gram(jnp.zeros((2, 3)), bandwidths=(1.0, 2.0)).tolist()
      [[1.0, 1.0], [1.0, 1.0]]
    """
    count = len(bandwidths)
    weights = (1.0 / max(count, 1),) * count if weights is None else weights
    kernel = RbfMixture(tuple(map(float, bandwidths)), tuple(map(float, weights)))
    if y is None and len(x) <= whole_number("block_size", block_size):
        return kernel.of_squares(jnp.asarray(squared_distances(x)))
    blocks = []
    for start in range(0, len(x), block_size):
        rows = x[start : start + block_size]
        squares = jnp.asarray(squared_distances(rows, x if y is None else y))
        if y is None:
            squares = zero_diagonal(squares, start)
        blocks.append(kernel.of_squares(squares))
    return jnp.concatenate(blocks)


def median_distance(
    x: Num[AnyArray, "n ..."],
    y: Num[AnyArray, "m ..."] | None = None,
    *,
    max_rows: int = 1000,
) -> float:
    """The median distance between two different points, the usual first bandwidth.

    At most `max_rows` rows of each sample are used, spread evenly over it, so that the
    answer is the same every time. Where over half the pairs coincide, it is the median
    of the others.

    Args:
      x: Points, one per row.
      y: Points of a second sample, pooled with `x`.
      max_rows: Rows used of each sample, at most.

    Returns:
      The median distance, in the units of the inputs.

    Raises:
      ValueError: If there are not two different points, or a number is not finite.

    Example:
      >>> median_distance(np.array([[0.0], [1.0]]), np.array([[3.0]]))
      2.0
    """
    whole_number("max_rows", max_rows)
    samples = {"x": x} if y is None else {"x": x, "y": y}
    same_features(**samples)
    pooled = np.concatenate([_spread(n, s, max_rows) for n, s in samples.items()])
    check(len(pooled) >= 2, f"x must have two points at least; got {len(pooled)}.")
    apart = distances(pooled)[np.triu_indices(len(pooled), 1)]
    check(
        bool((apart > 0).any()),
        f"{' and '.join(samples)} must hold two different rows; all are one row "
        "repeated, and there is no distance to choose a bandwidth by. Give a "
        "bandwidth, or check the inputs.",
    )
    median = np.median(apart)
    return float(median if median > 0 else np.median(apart[apart > 0]))


def _spread(name, sample, max_rows):
    sample = np.asarray(sample)
    check(len(sample) > 0, f"{name} is empty: it has no distances.")
    rows = np.unique(np.linspace(0, len(sample) - 1, max_rows).round().astype(int))
    return host_flat(name, sample[rows] if len(sample) > max_rows else sample)
