r"""Random projections of the gradients: features $Z$ with $Z Z^\top \approx \Theta$.

Beyond the $N$ whose Gram matrix fits, $k$ random features a sample still do: time and
memory grow linearly with $N$, and since $Z_S^\top Z_S$ is additive over owners, the
form of *every* coalition follows from $K$ small matrices (identity C).

A gradient of $p$ numbers is drawn into $k$ by a random linear map $P$ with
$\mathbb E[P^\top P] = I$, so that inner products are unbiased with a standard error of
about $\lVert g \rVert \lVert g' \rVert \sqrt{2 / k}$ or less. Neither $N \times p$ nor
$p \times k$ numbers are ever held: gradients come in batches of rows, and each leaf's
map is regenerated from its own counter-based key.

- `folded` permutes the coordinates, flips their signs at random, and adds up the
  $p/k$ runs of length $k$ (a balanced count sketch): $O(p)$ operations a gradient.
- `rademacher` multiplies by random signs, as TRAK does: $O(pk)$ operations a gradient,
  at the speed of the matrix product.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Num

from jaxval import linalg
from jaxval._checks import check, positive, whole_number
from jaxval.execution.memory import rows_that_fit
from jaxval.execution.options import Execution
from jaxval.execution.precision import in_double
from jaxval.kernels import gradient_engine, row_blocks
from jaxval.kernels import readouts as _readouts
from jaxval.kernels.readouts import Readout
from jaxval.linalg import Statistics, additive_statistics
from jaxval.types import AnyArray, ApplyFn, Params, Points, PRNGKey

__all__ = [
    "Statistics",
    "additive_statistics",
    "features",
    "folded",
    "gram",
    "quadratic_form",
    "rademacher",
]

Sketch = Callable[[PRNGKey, Float[Array, "n p"], int], Float[Array, "n k"]]
"""`sketch(key, rows, k)`: a random linear map of the rows, the same for one key."""


def folded(
    key: PRNGKey, rows: Float[Array, "n p"], num_features: int
) -> Float[Array, "n k"]:
    r"""$z_b = \sum_{i: h(i) = b} s_i g_i$ with random signs $s$ and even buckets $h$.

    Every bucket gets $\lceil p / k \rceil$ coordinates at most; with $p \le k$ none
    collide and the map is exact.

    Args:
      key: PRNG key of the signs and the buckets.
      rows: Gradients, one per row.
      num_features: Number $k$ of buckets.

    Returns:
      Features, one row per gradient; the same map for the same key.

    Example:
      >>> folded(jax.random.key(0), jnp.ones((1, 3)), 4).shape
      (1, 4)
    """
    sign_key, order_key = jax.random.split(key)
    p = rows.shape[1]
    signs = jax.random.rademacher(sign_key, (p,), rows.dtype)
    runs = math.ceil(p / num_features)
    # Padding is shuffled in, or all small leaves would share the first few buckets.
    padding = ((0, 0), (0, runs * num_features - p))
    flipped = jnp.pad(rows * signs[None, :], padding)
    order = jax.random.permutation(order_key, runs * num_features)
    return flipped[:, order].reshape(-1, runs, num_features).sum(axis=1)


def rademacher(
    key: PRNGKey, rows: Float[Array, "n p"], num_features: int
) -> Float[Array, "n k"]:
    r"""$z = P g$ with independent entries $\pm 1/\sqrt k$, made in chunks of columns.

    Args:
      key: PRNG key of the signs; chunk $c$ uses `jax.random.fold_in(key, c)`.
      rows: Gradients, one per row.
      num_features: Number $k$ of features.

    Returns:
      Features, one row per gradient; the same map for the same key.

    Example:
      >>> rademacher(jax.random.key(0), jnp.ones((1, 3)), 4).shape
      (1, 4)
    """
    n, p = rows.shape
    chunk = max(1, min(p, _CHUNK // num_features))
    count = math.ceil(p / chunk)
    padded = jnp.pad(rows, ((0, 0), (0, count * chunk - p)))

    def add(total, index):
        part = jax.lax.dynamic_slice_in_dim(padded, index * chunk, chunk, axis=1)
        shape = (num_features, chunk)
        signs = jax.random.rademacher(jax.random.fold_in(key, index), shape, rows.dtype)
        return total + row_blocks.inner(part, signs), None

    start = jnp.zeros((n, num_features), rows.dtype)
    total, _ = jax.lax.scan(add, start, jnp.arange(count))
    return total / math.sqrt(num_features)


_CHUNK = 2**22
"""Signs held at once by `rademacher`."""


def features(
    key: PRNGKey,
    apply_fn: ApplyFn,
    params: Params,
    rows: Num[AnyArray, "n ..."] | Points,
    *,
    num_features: int,
    readout: Readout = _readouts.true_class_logit,
    sketch: Sketch = folded,
    execution: Execution = Execution(),  # noqa: B008
) -> Float[np.ndarray, "n k"]:
    r"""Random features of the tangent kernel: $Z Z^\top$ is unbiased for $\Theta$.

    The same key gives the same map, so features of other samples (a later batch, a
    test set) belong to the same kernel.

    Args:
      key: PRNG key of the map; leaf $l$ of the parameters is projected with
        `jax.random.fold_in(key, l)`.
      apply_fn: Function of parameters and a batch of inputs to a batch of outputs.
      params: Parameters of the network.
      rows: Inputs, one per row, or `Points(x, y)` with the targets that the readout
        asks for.
      num_features: Number $k$ of features; 512 to 4096 are usual.
      readout: Scalar whose gradients are projected; see `jaxval.kernels.readouts`.
      sketch: Random linear map: `folded`, `rademacher`, or a function like them.
      execution: Samples whose gradients are held at once (`batch_size`; as many as fit
        `memory` when `None`), and the progress of samples.

    Returns:
      Features, one row per sample, on the host.

    Raises:
      ValueError: If there are no rows, or `num_features` is not a whole number from 1
        on.

    Example:
      >>> linear = lambda w, x: x @ w
      >>> z = features(
      ...     jax.random.key(0), linear, jnp.ones((2, 1)), jnp.eye(2),
      ...     num_features=2, readout=_readouts.single_output,
      ... )
      >>> (z @ z.T).tolist()
      [[1.0, 0.0], [0.0, 1.0]]

    References:
      Charikar, Chen and Farach-Colton, *Finding frequent items in data streams*, 2002;
      Park et al., *TRAK: attributing model behavior at scale*, 2023.
    """
    whole_number("num_features", num_features)
    x, y = row_blocks.inputs_and_targets(rows)
    total = len(x)
    check(total > 0, "rows is empty: there are no gradients to project.")
    functions = tuple(Partial(r) for r in _readouts.as_tuple(readout))
    leaves, _ = gradient_engine.real_leaves(params)
    bytes_each = len(functions) * sum(
        leaf.size * leaf.dtype.itemsize for leaf in leaves
    )
    batch = execution.batch_size or rows_that_fit(bytes_each, execution.memory)
    starts, size = row_blocks.starts(total, batch)
    network = Partial(apply_fn)
    out: Any = None
    for start in starts:
        some = jax.tree.map(lambda a, s=start: a[s : s + size], (x, y))
        block = np.asarray(
            _project(sketch, num_features, key, network, params, functions, some)
        )
        out = np.empty((total, num_features), block.dtype) if out is None else out
        out[start : start + size] = block
        if execution.progress is not None:
            execution.progress(start + size, total)
    return out


@functools.partial(jax.jit, static_argnums=(0, 1))
def _project(sketch, num_features, key, network, params, functions, rows):
    x, y = rows
    points = x if y is None else Points(x, y)
    gradients = gradient_engine.gradients(network, params, points, readout=functions)
    sketches = [
        sketch(jax.random.fold_in(key, leaf), grads, num_features)
        for leaf, grads in enumerate(gradients)
    ]
    return functools.reduce(jnp.add, sketches)


def gram(z: Float[AnyArray, "n k"]) -> Float[np.ndarray, "n n"]:
    r"""$Z Z^\top$ in float64, for $n$ where it fits.

    Args:
      z: Features, one row per sample.

    Example:
      >>> gram(np.eye(2)).tolist()
      [[1.0, 0.0], [0.0, 1.0]]
    """
    z = np.asarray(z, np.float64)
    return z @ z.T


@in_double
def quadratic_form(
    statistics: Statistics,
    zeta: Float[Array, ""] | float,
    mask: Bool[Array, " owners"] | None = None,
) -> Float[Array, ""]:
    r"""$q(S)$ of a coalition of owners from their additive statistics (identity C).

    Costs $k^3/3$ operations whatever the number of samples.

    Args:
      statistics: Sums over owners, `additive_statistics(features, residual, owner)`.
      zeta: Regulariser $\zeta$; positive, since $Z Z^\top$ has rank $k$.
      mask: Coalition $S$ of owners; all when left out.

    Raises:
      ValueError: If `zeta` is a number that is not positive.

    Example:
      >>> stats = additive_statistics(np.eye(2), np.ones(2), np.array([0, 1]))
      >>> round(float(quadratic_form(stats, 1.0, jnp.array([True, False]))), 9)
      0.5
    """
    if isinstance(zeta, float | int):
        positive("zeta", zeta)
    count = len(statistics.energy)
    inside = (jnp.ones(count) if mask is None else mask).astype(jnp.float64)
    squares = jnp.tensordot(inside, statistics.squares, axes=1)  # (k, k)
    cross = jnp.tensordot(inside, statistics.cross, axes=1)  # (k, outputs)
    return linalg.statistic_form(squares, cross, inside @ statistics.energy, zeta)
