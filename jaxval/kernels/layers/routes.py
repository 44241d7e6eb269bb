r"""The routes from a layer's inputs and cotangents to its part of the Gram matrix.

Every weight here has the gradient $G_i = \sum_p a_{ip} b_{ip}^\top$, a sum over
positions $p$ (one for a dense layer, the output pixels of a convolution, the words of
a text). Its part of the Gram matrix (identity I) is

$$\langle G_i, G_j\rangle
  = \sum_{p, q} \langle a_{ip}, a_{jq}\rangle\,\langle b_{ip}, b_{jq}\rangle ,$$

either by the left-hand side (*gradients*: $G$ is formed, a few output channels at a
time) or by the right-hand side (*pairs*, which for one position is the Hadamard
product of two Gram matrices). The cheaper one is chosen by counting operations.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxval.kernels.layers.weights import Rows, Sizes, Weight, operands

__all__ = ["Arithmetic", "contract", "gradient_rows", "operations"]

_WORKSPACE = 32 * 2**20
"""Bytes a route works on at once on a CPU; of the order of its last cache."""

_CACHE = 4 * 2**20
"""Bytes of the patches multiplied at once on a CPU; of the order of a core's cache."""

_PATCHES = 256 * 2**20
"""Bytes of a block's patches that are kept from one group of channels to the next."""

_DEVICE = 2**30
"""Bytes a route works on at once on other devices, which need much work at a time."""


def _room(on_cpu: int) -> int:
    return on_cpu if jax.default_backend() == "cpu" else _DEVICE


class Arithmetic(NamedTuple):
    """How matrix products are computed.

    Attributes:
      dtype: what their operands are rounded to; left as they are when `None`.
      precision: as in `jax.lax.dot_general`.
    """

    dtype: Any = None
    precision: Any = "highest"

    def dot(self, left: Array, right: Array, dimensions: Any) -> Array:
        """`lax.dot_general`, accumulated in float32 at least."""
        exact = jnp.promote_types(jnp.result_type(left, right), jnp.float32)
        if self.dtype is not None:
            left, right = left.astype(self.dtype), right.astype(self.dtype)
        return lax.dot_general(
            left,
            right,
            dimensions,
            precision=self.precision,
            preferred_element_type=exact,
        )


class Operations(NamedTuple):
    """Floating-point operations of the two routes."""

    pairs: int
    gradients: int

    @property
    def best(self) -> int:
        """Of the cheaper route."""
        return min(self)


def operations(sizes: Sizes, n: int, m: int, *, same: bool, table: bool) -> Operations:
    """Operations for a tile of `n` by `m` samples, multiplications and additions.

    Args:
      sizes: of the weight.
      n: rows of the tile.
      m: columns of the tile.
      same: rows and columns are the same samples, whose gradients are formed once.
      table: inputs are compared, not multiplied.
    """
    groups, positions, inputs, outputs = sizes
    pair_inputs = 1 if table else 2 * inputs
    pairs = n * m * groups * positions**2 * (pair_inputs + 2 * outputs + 2)
    formed = n if same else n + m
    form = 2 * positions * outputs * (1 if table else inputs)
    product = 2 * n * m * groups * inputs * outputs
    return Operations(pairs, formed * groups * form + product)


def contract(
    left: Rows,
    right: Rows | None,
    arithmetic: Arithmetic = Arithmetic(),  # noqa: B008
) -> Float[Array, "n m"]:
    """A tile of the Gram matrix; of `left` with itself where `right` is `None`."""
    # Without the barrier, XLA's CPU backend may fuse the two products of the pairs
    # route with what made their operands and lose a constant factor (docs/traps.md).
    left, right = lax.optimization_barrier((left, right))
    total: Any = 0.0
    if left.features is not None:
        other = left.features if right is None else right.features
        total = _inner(left.features, other, arithmetic)
    for place, weight in enumerate(left.weights):
        other = None if right is None else right.weights[place]
        # One weight after the other: their tiles then share one workspace, which is
        # small enough for the cache.
        total, weight, other = lax.optimization_barrier((total, weight, other))
        total = total + _contract_weight(weight, other, arithmetic)
    return total


def gradient_rows(
    weight: Weight,
    arithmetic: Arithmetic = Arithmetic(),  # noqa: B008
) -> Float[Array, "n gab"]:
    """The gradients themselves, one a row; patches of a few samples at a time."""
    sizes = weight.sizes
    n = weight.cotangents[0].shape[0]
    wide = sizes.positions * (sizes.outputs if weight.vocabulary else sizes.inputs)
    bytes_each = 4 * sizes.groups * (wide + sizes.inputs * sizes.outputs)
    makes_patches = any(window is not None for window in weight.windows)
    batch = _divisor(n, max(1, _room(_CACHE) // bytes_each)) if makes_patches else n
    form = lambda part: _form(part, arithmetic)
    if batch >= n:
        return form(weight)
    split = lambda a: a.reshape(n // batch, batch, *a.shape[1:])
    rows = lax.map(form, jax.tree.map(split, weight))
    return rows.reshape(n, -1)


def _form(weight, arithmetic):
    a, b = operands(weight)
    n, groups, _, outputs = b.shape
    if weight.vocabulary is not None:
        table = jnp.zeros((weight.vocabulary, outputs), b.dtype)
        return jax.vmap(lambda i, c: table.at[i].add(c))(a, b[:, 0]).reshape(n, -1)
    merge = lambda z: z.reshape(n * groups, *z.shape[2:])
    dimensions = (((2,), (1,)), ((0,), (0,)))
    return arithmetic.dot(merge(a), merge(b), dimensions).reshape(n, -1)


def _contract_weight(left, right, arithmetic):
    same = right is None
    right = left if same else right
    n, m = left.cotangents[0].shape[0], right.cotangents[0].shape[0]
    table = left.vocabulary is not None
    count = operations(left.sizes, n, m, same=same, table=table)
    if count.pairs <= count.gradients:
        if left.sizes.positions == 1 and left.sizes.groups == 1:
            return _hadamard(left, right, arithmetic)
        return _halved(left, arithmetic) if same else _pairs(left, right, arithmetic)
    return _gradients(left, None if same else right, arithmetic)


def _hadamard(left, right, arithmetic):
    (a, b), (c, d) = operands(left), operands(right)
    return _input_products(a, c, arithmetic, left.vocabulary) * _inner(b, d, arithmetic)


def _halved(weight, arithmetic, smallest=24):
    """The pairs route of samples with themselves, hardly a product twice."""
    n = len(weight.cotangents[0])
    if n % 2 or n < 2 * smallest:
        return _pairs(weight, weight, arithmetic)
    first = jax.tree.map(lambda a: a[: n // 2], weight)
    second = jax.tree.map(lambda a: a[n // 2 :], weight)
    across = _pairs(first, second, arithmetic)
    corners = [_halved(part, arithmetic, smallest) for part in (first, second)]
    return jnp.block([[corners[0], across], [across.T, corners[1]]])


def _pairs(left, right, arithmetic):
    sizes, (c, d) = left.sizes, operands(right)
    n, m = left.cotangents[0].shape[0], d.shape[0]
    bytes_each = 8 * sizes.groups * m * sizes.positions**2
    batch = _divisor(n, max(1, _room(_WORKSPACE) // bytes_each))

    def some(part):
        a, b = operands(part)
        if left.vocabulary is not None:
            first = (a[:, None, :, None, None] == c[None, None, None]).astype(b.dtype)
        else:
            first = arithmetic.dot(*map(_positions_first, (a, c)), _GROUPED)
            first = first.reshape(sizes.groups, batch, sizes.positions, m, -1)
        second = arithmetic.dot(_grouped(b), _grouped(d), _GROUPED)
        second = second.reshape(sizes.groups, batch, sizes.positions, m, -1)
        return jnp.sum(first * second, (0, 2, 4))

    split = lambda z: z.reshape(n // batch, batch, *z.shape[1:])
    if batch == n:
        return some(left)
    return lax.map(some, jax.tree.map(split, left)).reshape(n, m)


_GROUPED = (((2,), (2,)), ((0,), (0,)))


def _grouped(b):
    # (n, g, p, b) to (g, n p, b)
    return jnp.moveaxis(b, 1, 0).reshape(b.shape[1], -1, b.shape[3])


def _positions_first(a):
    return _grouped(jnp.swapaxes(a, 2, 3))


def _gradients(left, right, arithmetic):
    left, right = _with_patches(left), None if right is None else _with_patches(right)
    sizes = left.sizes
    # Narrow groups of channels, so that their gradients are still in the cache when
    # they are multiplied.
    bytes_each = 4 * len(left.cotangents[0]) * sizes.groups * sizes.inputs
    chunk = _divisor(sizes.outputs, max(16, _room(_WORKSPACE // 2) // bytes_each))

    def add(number, total):
        cut = lambda b: lax.dynamic_slice_in_dim(b, number * chunk, chunk, 3)
        part = lambda w: dataclasses.replace(
            w, cotangents=tuple(map(cut, w.cotangents))
        )
        rows = gradient_rows(part(left), arithmetic)
        columns = rows if right is None else gradient_rows(part(right), arithmetic)
        return total + _inner(rows, columns, arithmetic)

    shape = jax.eval_shape(lambda: add(0, 0.0))
    start = jnp.zeros(shape.shape, shape.dtype)
    return lax.fori_loop(0, sizes.outputs // chunk, add, start)


def _with_patches(weight):
    """The weight with its patches in place of its images, where they are not many."""
    groups, positions, inputs, _ = weight.sizes
    size = 4 * len(weight.cotangents[0]) * groups * positions * inputs
    if weight.vocabulary is not None or size > _room(_PATCHES):
        return weight
    a, b = operands(weight)
    return Weight((a,), (b,), (None,))


def _input_products(a, c, arithmetic, vocabulary):
    if vocabulary is not None:
        return (a == c.T).astype(jnp.float32)
    return _inner(a, c, arithmetic)


def _inner(left, right, arithmetic):
    flat = lambda z: z.reshape(z.shape[0], -1)
    return arithmetic.dot(flat(left), flat(right), (((1,), (1,)), ((), ())))


def _divisor(total: int, most: int) -> int:
    """The largest divisor of `total` that is not over `most`."""
    return next(d for d in range(min(total, most), 0, -1) if total % d == 0)
