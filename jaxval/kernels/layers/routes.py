r"""The routes from a layer's inputs and cotangents to its part of the Gram matrix.

Every weight here has the gradient $G_i = \sum_p a_{ip} b_{ip}^\top$, a sum over
positions $p$ (one for a dense layer, the output pixels of a convolution, the words of
a text). Its part of the Gram matrix (identity I) is

$$\langle G_i, G_j\rangle
  = \sum_{p, q} \langle a_{ip}, a_{jq}\rangle\,\langle b_{ip}, b_{jq}\rangle ,$$

either by the left-hand side (*gradients*: $G$ is formed, a few output channels at a
time) or by the right-hand side (*pairs*, which for one position is the Hadamard
product of two Gram matrices). The cheaper one is chosen by counting operations.

In the comments on shapes, `n` and `m` are the rows and columns of the tile, `g` groups,
`p` and `q` positions, `a` inputs, `b` outputs.
"""

import dataclasses
import enum
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxval._checks import check
from jaxval.execution.precision import EXACT, MatmulPrecision
from jaxval.kernels.layers.weights import Rows, Sizes, Weight, operands

__all__ = [
    "Route",
    "choose",
    "contract",
    "contract_weight",
    "gradient_rows",
    "operations",
]

_WORKSPACE = 32 * 2**20
"""Bytes a route works on at once on a CPU; of the order of its last cache."""

_CACHE = 4 * 2**20
"""Bytes of the patches multiplied at once on a CPU; of the order of a core's cache."""

_PATCHES = 256 * 2**20
"""Bytes of a block's patches that are kept from one group of channels to the next."""

_DEVICE = 2**30
"""Bytes a route works on at once on other devices, which need much work at a time."""

_SMALLEST_HALF = 24
"""Rows below which a symmetric tile is not split further."""


class Route(enum.Enum):
    """A way to a weight's part of a tile."""

    HADAMARD = "hadamard"
    """Two Gram matrices multiplied entry by entry: one position and one group."""
    PAIRS = "pairs"
    """Products of pairs of positions."""
    HALVED = "halved"
    """Pairs of positions of samples with themselves, hardly a product twice."""
    GRADIENTS = "gradients"
    """Gradients formed a few output channels at a time, and multiplied."""


class Operations(NamedTuple):
    """Floating-point operations of the two ways to a tile."""

    pairs: int
    gradients: int

    @property
    def best(self) -> int:
        """Those of the cheaper way."""
        return min(self)


def operations(sizes: Sizes, n: int, m: int, *, same: bool, table: bool) -> Operations:
    """Operations for a tile of `n` by `m` samples, multiplications and additions.

    Args:
      sizes: Sizes of the weight.
      n: Rows of the tile.
      m: Columns of the tile.
      same: Whether rows and columns are the same samples, whose gradients are formed
        once.
      table: Whether inputs are row numbers, compared and not multiplied.
    """
    groups, positions, inputs, outputs = sizes
    pair_inputs = 1 if table else 2 * inputs
    pairs = n * m * groups * positions**2 * (pair_inputs + 2 * outputs + 2)
    formed = n if same else n + m
    form = 2 * positions * outputs * (1 if table else inputs)
    product = 2 * n * m * groups * inputs * outputs
    return Operations(pairs, formed * groups * form + product)


def choose(weight: Weight, n: int, m: int, *, same: bool) -> Route:
    """The cheapest route for a tile of `n` by `m` samples.

    Args:
      weight: Weight, of whatever samples.
      n: Rows of the tile.
      m: Columns of the tile.
      same: Whether rows and columns are the same samples.
    """
    table = weight.vocabulary is not None
    count = operations(weight.sizes, n, m, same=same, table=table)
    if count.pairs > count.gradients:
        return Route.GRADIENTS
    if weight.sizes.positions == 1 and weight.sizes.groups == 1:
        return Route.HADAMARD
    return Route.HALVED if same else Route.PAIRS


def contract(
    left: Rows, right: Rows | None, matmul_precision: MatmulPrecision = EXACT
) -> Float[Array, "n m"]:
    """A tile of the Gram matrix; of `left` with itself where `right` is `None`."""
    # Without the barrier, XLA's CPU backend may fuse the two products of the pairs
    # route with what made their operands and lose a constant factor (docs/traps.md).
    left, right = lax.optimization_barrier((left, right))
    total: Any = 0.0
    if left.features is not None:
        other = left.features if right is None else right.features
        total = _inner(left.features, other, matmul_precision)
    for place, weight in enumerate(left.weights):
        other = None if right is None else right.weights[place]
        # One weight after the other: their tiles then share one workspace, which is
        # small enough for the cache.
        total, weight, other = lax.optimization_barrier((total, weight, other))
        total = total + contract_weight(weight, other, matmul_precision)
    return total


def contract_weight(
    left: Weight,
    right: Weight | None,
    matmul_precision: MatmulPrecision = EXACT,
    route: Route | None = None,
) -> Float[Array, "n m"]:
    """One weight's part of a tile.

    Args:
      left: Weight of the rows.
      right: The same weight of the columns; `None` where they are the rows.
      matmul_precision: Precision of the products.
      route: Route to take; the cheapest when `None`.

    Raises:
      ValueError: If `route` does not exist for this weight or this tile.
    """
    same = right is None
    other = left if right is None else right
    if route is None:
        route = choose(left, left.num_rows, other.num_rows, same=same)
    if route is Route.HADAMARD:
        single = left.sizes.positions == 1 and left.sizes.groups == 1
        check(single, f"the route {route} needs one position and one group.")
        return _hadamard(left, other, matmul_precision)
    if route is Route.HALVED:
        check(same, f"the route {route} needs rows that are the columns.")
        return _halved(left, matmul_precision)
    if route is Route.PAIRS:
        return _pairs(left, other, matmul_precision)
    return _gradients(left, right, matmul_precision)


def gradient_rows(
    weight: Weight, matmul_precision: MatmulPrecision = EXACT
) -> Float[Array, "n gab"]:
    """The gradients themselves, one per row; patches of a few samples at a time."""
    sizes, n = weight.sizes, weight.num_rows
    wide = sizes.positions * (sizes.outputs if weight.vocabulary else sizes.inputs)
    bytes_each = 4 * sizes.groups * (wide + sizes.inputs * sizes.outputs)
    makes_patches = any(window is not None for window in weight.windows)
    batch = _divisor(n, max(1, _room(_CACHE) // bytes_each)) if makes_patches else n
    form = functools.partial(_form, matmul_precision=matmul_precision)
    if batch >= n:
        return form(weight)
    return lax.map(form, _in_batches(weight, batch)).reshape(n, -1)


def _in_batches(weight, batch):
    """Arrays `(n, ...)` as `(n / batch, batch, ...)`."""
    return jax.tree.map(
        lambda a: a.reshape(a.shape[0] // batch, batch, *a.shape[1:]), weight
    )


def _form(weight, matmul_precision):
    a, b = operands(weight)
    n, groups, _, outputs = b.shape
    if weight.vocabulary is not None:
        # a: (n, p) row numbers, each of which its cotangent is added to.
        table = jnp.zeros((weight.vocabulary, outputs), b.dtype)
        return jax.vmap(lambda i, c: table.at[i].add(c))(a, b[:, 0]).reshape(n, -1)
    # (n g, a, p) and (n g, p, b) to (n g, a, b)
    a, b = (z.reshape(n * groups, *z.shape[2:]) for z in (a, b))
    dimensions = (((2,), (1,)), ((0,), (0,)))
    return matmul_precision.dot(a, b, dimensions).reshape(n, -1)


def _hadamard(left, right, matmul_precision):
    (a, b), (c, d) = operands(left), operands(right)
    if left.vocabulary is not None:
        # (n, 1) and (m, 1) row numbers
        inputs = (a == c.T).astype(jnp.float32)
    else:
        inputs = _inner(a, c, matmul_precision)
    return inputs * _inner(b, d, matmul_precision)


def _halved(weight, matmul_precision, smallest=_SMALLEST_HALF):
    n = weight.num_rows
    if n % 2 or n < 2 * smallest:
        return _pairs(weight, weight, matmul_precision)
    first = jax.tree.map(lambda a: a[: n // 2], weight)
    second = jax.tree.map(lambda a: a[n // 2 :], weight)
    across = _pairs(first, second, matmul_precision)
    corners = [_halved(part, matmul_precision, smallest) for part in (first, second)]
    return jnp.block([[corners[0], across], [across.T, corners[1]]])


def _pairs(left, right, matmul_precision):
    sizes, (c, d) = left.sizes, operands(right)
    n, m = left.num_rows, right.num_rows
    bytes_each = 8 * sizes.groups * m * sizes.positions**2
    batch = _divisor(n, max(1, _room(_WORKSPACE) // bytes_each))
    # Of products of all rows with all: (g, n p, m q) to (g, n, p, m, q)
    apart = sizes.groups, batch, sizes.positions, m, -1

    def some(part):
        a, b = operands(part)
        if left.vocabulary is not None:
            # Word p of row i against word q of column j: (n, p) and (m, q) to
            # (1, n, p, m, q). The rows' axis must meet that of the products below.
            first = a[None, :, :, None, None] == c[None, None, None, :, :]
            first = first.astype(b.dtype)
        else:
            first = matmul_precision.dot(*map(_positions_first, (a, c)), _GROUPED)
            first = first.reshape(apart)
        second = matmul_precision.dot(_grouped(b), _grouped(d), _GROUPED)
        return jnp.sum(first * second.reshape(apart), (0, 2, 4))

    if batch == n:
        return some(left)
    return lax.map(some, _in_batches(left, batch)).reshape(n, m)


_GROUPED = (((2,), (2,)), ((0,), (0,)))


def _grouped(b):
    # (n, g, p, b) to (g, n p, b)
    return jnp.moveaxis(b, 1, 0).reshape(b.shape[1], -1, b.shape[3])


def _positions_first(a):
    # (n, g, a, p) to (g, n p, a)
    return _grouped(jnp.swapaxes(a, 2, 3))


def _gradients(left, right, matmul_precision):
    left, right = _with_patches(left), None if right is None else _with_patches(right)
    sizes = left.sizes
    # Narrow groups of channels, so that their gradients are still in the cache when
    # they are multiplied.
    bytes_each = 4 * left.num_rows * sizes.groups * sizes.inputs
    chunk = _divisor(sizes.outputs, max(16, _room(_WORKSPACE // 2) // bytes_each))

    def chunk_rows(weight, number):
        # (n, g, p, b) to (n, g, p, chunk)
        cotangents = tuple(
            lax.dynamic_slice_in_dim(b, number * chunk, chunk, 3)
            for b in weight.cotangents
        )
        some = dataclasses.replace(weight, cotangents=cotangents)
        return gradient_rows(some, matmul_precision)

    def add(number, total):
        columns = rows = chunk_rows(left, number)
        if right is not None:
            columns = chunk_rows(right, number)
        return total + _inner(rows, columns, matmul_precision)

    shape = jax.eval_shape(lambda: add(0, 0.0))
    start = jnp.zeros(shape.shape, shape.dtype)
    return lax.fori_loop(0, sizes.outputs // chunk, add, start)


def _with_patches(weight):
    """The weight with its patches in place of its images, where they are not many."""
    groups, positions, inputs, _ = weight.sizes
    size = 4 * weight.num_rows * groups * positions * inputs
    if weight.vocabulary is not None or size > _room(_PATCHES):
        return weight
    a, b = operands(weight)
    return Weight((a,), (b,), (None,), leaf=weight.leaf)


def _inner(left, right, matmul_precision):
    left, right = (z.reshape(z.shape[0], -1) for z in (left, right))
    return matmul_precision.dot(left, right, (((1,), (1,)), ((), ())))


def _room(on_cpu: int) -> int:
    return on_cpu if jax.default_backend() == "cpu" else _DEVICE


def _divisor(total: int, most: int) -> int:
    """The largest divisor of `total` that is not over `most`."""
    return next(d for d in range(min(total, most), 0, -1) if total % d == 0)
