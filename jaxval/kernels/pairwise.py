r"""Kernels of pairs of points: the Gaussian, sums of Gaussians, squared distances."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Num

from jaxval._checks import check, positive
from jaxval.types import KernelFn

__all__ = ["gram", "median_distance", "multi_rbf_gram", "rbf", "squared_distances"]


def rbf(bandwidth: float) -> KernelFn:
    r"""The Gaussian kernel $k(x, y) = \exp(-\lVert x - y\rVert^2 / 2\sigma^2)$.

    Args:
      bandwidth: $\sigma$.

    Example:
      >>> float(rbf(1.0)(jnp.zeros(2), jnp.zeros(2)))
      1.0
    """
    positive("bandwidth", bandwidth)
    return lambda x, y: jnp.exp(-jnp.sum((x - y) ** 2) / (2 * bandwidth**2))


def gram(
    kernel_fn: KernelFn,
    x: Float[Array, "n d"],
    y: Float[Array, "m d"] | None = None,
    *,
    block_size: int = 256,
) -> Float[Array, "n m"]:
    """The Gram matrix of any kernel of two points, `block_size` rows at a time.

    Args:
      kernel_fn: a kernel of two points.
      x: points, one a row.
      y: other points; `x` itself when left out.
      block_size: rows worked on at once, against all columns.

    Example:
      >>> gram(jnp.dot, jnp.array([[1.0], [2.0]])).tolist()
      [[1.0, 2.0], [2.0, 4.0]]
    """
    check(block_size >= 1, f"block_size must be at least 1; got {block_size}.")
    other = x if y is None else y
    row = lambda xi: jax.vmap(lambda yj: kernel_fn(xi, yj))(other)
    return lax.map(row, x, batch_size=min(block_size, x.shape[0]))


def squared_distances(
    x: Num[Array, "n ..."] | Num[np.ndarray, "n ..."],
    y: Num[Array, "m ..."] | Num[np.ndarray, "m ..."] | None = None,
) -> Float[Array, "n m"]:
    r"""$\lVert x_i - y_j\rVert^2$ from one matrix product in full precision.

    The points are first moved to the mean of `x`: $\lVert x\rVert^2 + \lVert y\rVert^2
    - 2\langle x, y\rangle$ cancels the worse the further from the origin the points
    lie. What rounding makes negative is 0, and so is the diagonal of a square matrix.

    Args:
      x: points, one a row; further axes are flattened.
      y: other points; `x` itself when left out.

    Example:
      >>> squared_distances(jnp.array([[0.0], [3.0]])).tolist()
      [[0.0, 9.0], [9.0, 0.0]]
    """
    x_flat = _flat(x)
    y_flat = x_flat if y is None else _flat(y)
    centre = x_flat.mean(0, keepdims=True)
    x_flat, y_flat = x_flat - centre, y_flat - centre
    norms = jnp.sum(x_flat**2, 1)[:, None] + jnp.sum(y_flat**2, 1)[None, :]
    products = jnp.matmul(x_flat, y_flat.T, precision="highest")
    distances = jnp.maximum(norms - 2 * products, 0)
    return _zero_diagonal(distances, 0) if y is None else distances


def multi_rbf_gram(
    x: Num[Array, "n ..."] | Num[np.ndarray, "n ..."],
    y: Num[Array, "m ..."] | Num[np.ndarray, "m ..."] | None = None,
    *,
    bandwidths: Sequence[float],
    weights: Sequence[float] | None = None,
    block_size: int = 4096,
) -> Float[Array, "n m"]:
    r"""$\sum_b w_b \exp(-\lVert x_i - y_j\rVert^2 / 2\sigma_b^2)$, in row blocks.

    All kernels share one matrix product, so several bandwidths cost little more than
    one.

    Args:
      x: points, one a row; further axes are flattened.
      y: other points; `x` itself when left out.
      bandwidths: each $\sigma_b$.
      weights: each $w_b$; equal and of sum 1 when left out.
      block_size: rows worked on at once.

    Example:
      >>> multi_rbf_gram(jnp.zeros((2, 3)), bandwidths=(1.0, 2.0)).tolist()
      [[1.0, 1.0], [1.0, 1.0]]
    """
    check(len(bandwidths) > 0, "bandwidths is empty: name at least one.")
    for bandwidth in bandwidths:
        positive("bandwidths", float(bandwidth))
    weights = [1 / len(bandwidths)] * len(bandwidths) if weights is None else weights
    check(
        len(weights) == len(bandwidths),
        f"weights must be one a bandwidth; got {len(weights)} for {len(bandwidths)}.",
    )
    scales = [float(b) for b in bandwidths]
    pairs = list(zip(weights, scales, strict=True))
    if y is None and len(x) <= block_size:
        return _mixture(squared_distances(x), pairs)
    other = x if y is None else y
    starts = range(0, len(x), block_size)
    blocks = []
    for i in starts:
        distances = squared_distances(x[i : i + block_size], other)
        distances = _zero_diagonal(distances, i) if y is None else distances
        blocks.append(_mixture(distances, pairs))
    return jnp.concatenate(blocks)


def median_distance(
    x: Num[Array, "n ..."] | Num[np.ndarray, "n ..."], *, sample: int = 1000
) -> float:
    """The median distance between two different points, the usual first bandwidth.

    Args:
      x: points, one a row.
      sample: taken from so many rows, evenly spaced.

    Example:
      >>> median_distance(jnp.array([[0.0], [3.0]]))
      3.0
    """
    check(len(x) >= 2, f"x must have two points at least; got {len(x)}.")
    rows = np.unique(np.linspace(0, len(x) - 1, min(sample, len(x))).astype(int))
    distances = np.asarray(squared_distances(jnp.asarray(np.asarray(x)[rows])))
    return float(np.sqrt(np.median(distances[np.triu_indices(len(rows), 1)])))


def _zero_diagonal(distances, start):
    rows = start + jnp.arange(distances.shape[0])
    return jnp.where(
        rows[:, None] == jnp.arange(distances.shape[1])[None, :], 0, distances
    )


def _mixture(distances, pairs):
    total = jnp.zeros_like(distances)
    for weight, bandwidth in pairs:
        total += weight * jnp.exp(-distances / (2 * bandwidth**2))
    return total


def _flat(x):
    x = jnp.asarray(x)
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    return x.reshape(x.shape[0], -1).astype(dtype)
