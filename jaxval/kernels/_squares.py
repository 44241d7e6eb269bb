"""How `pairwise` computes squared distances: products, and differences where they fail.

The bounds are in the docstring of `pairwise.squared_distances`.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array
from scipy.spatial.distance import cdist

from jaxval._targets import feature_rows

CANCELLATION = 64.0
"""Largest (|x| + |y|)^2 / |x - y|^2, about the centre, that a product bears."""

NARROW = 64
"""Columns up to which NumPy arrays are compared by differences alone."""

_PAIR_NUMBERS = 2**22
"""Numbers of a block of differences (32 MiB in float64)."""

_ROWS = 64
"""Rows whose products are all kept or all replaced inside a compiled program."""


def host_flat(name, x):
    return feature_rows(name, x)


def host_squares(x, y, tolerance):
    """Squared distances in units of 4**exponent, and the exponent."""
    left = host_flat("x", x)
    right = left if y is None else host_flat("y", y)
    largest = max(np.abs(left).max(initial=0), np.abs(right).max(initial=0))
    # A power of two scales without rounding; ordinary numbers stay as they are.
    exponent = 0 if 1e-100 < largest < 1e100 else int(np.frexp(largest)[1])
    if exponent:
        left, right = np.ldexp(left, -exponent), np.ldexp(right, -exponent)
        tolerance = np.ldexp(tolerance, -2 * exponent)
    if left.shape[1] <= NARROW:
        return cdist(left, right, "sqeuclidean"), exponent
    squares, doubtful = _expanded(left, right, tolerance)
    if y is None:
        np.fill_diagonal(squares, 0.0)
        np.fill_diagonal(doubtful, False)
    _replace(squares, doubtful, left, right)
    return squares, exponent


def _expanded(left, right, tolerance):
    """Squared distances from a product, and those that cancel too much."""
    exact = _whole_numbers(left) and _whole_numbers(right)
    if not exact and len(right):
        centre = right.mean(axis=0)
        left, right = left - centre, right - centre
    a, b = (left**2).sum(axis=1), (right**2).sum(axis=1)
    squares = a[:, None] + b[None, :] - 2 * left @ right.T
    np.maximum(squares, 0, out=squares)
    if exact:
        return squares, np.zeros(squares.shape, bool)
    reach = (np.sqrt(a)[:, None] + np.sqrt(b)[None, :]) ** 2
    # NaN, from products beyond the largest number, counts as doubtful.
    doubtful = ~(reach <= CANCELLATION * squares)
    if tolerance > 0:
        doubtful &= ~(reach * (_steps(left) * 2.0**-53) <= tolerance)
    return squares, doubtful


def _whole_numbers(x):
    """Whether all sums of products of the rows are integers that float64 holds."""
    small = np.abs(x).max(initial=0) ** 2 * max(x.shape[1], 1) < 2**50
    return bool(small) and bool((x == np.rint(x)).all())


def _steps(x):
    return x.shape[1] + 5


def _replace(squares, doubtful, left, right):
    """Sums of squared differences for the pairs that are doubtful."""
    count = int(np.count_nonzero(doubtful))
    if count == 0:
        return
    if 8 * count > doubtful.size:
        squares[:] = cdist(left, right, "sqeuclidean")
        return
    rows, columns = np.nonzero(doubtful)
    step = max(1, _PAIR_NUMBERS // left.shape[1])
    for start in range(0, count, step):
        i, j = rows[start : start + step], columns[start : start + step]
        gaps = left[i] - right[j]  # (pairs, d)
        squares[i, j] = np.einsum("pd,pd->p", gaps, gaps)


@functools.partial(jax.jit, static_argnums=2)
def traced_squares(left, right, is_square, tolerance):
    n, m = left.shape[0], right.shape[0]
    if n == 0 or m == 0:
        return jnp.zeros((n, m), left.dtype)
    dtype = jnp.promote_types(left.dtype, right.dtype)
    left, right = left.astype(dtype), right.astype(dtype)
    centre = right.mean(0, keepdims=True)
    a, b = left - centre, right - centre
    lengths, others = jnp.sum(a**2, 1)[:, None], jnp.sum(b**2, 1)[None, :]
    product = jnp.matmul(a, b.T, precision="highest")
    squares = jnp.maximum(lengths + others - 2 * product, 0)
    reach = (jnp.sqrt(lengths) + jnp.sqrt(others)) ** 2
    roundoff = _steps(left) * float(jnp.finfo(dtype).eps) / 2
    safe = reach <= CANCELLATION * squares
    safe |= reach * roundoff <= jnp.asarray(tolerance, dtype)
    if is_square:
        squares = zero_diagonal(squares, 0)
        safe |= jnp.eye(n, dtype=bool)
    # (n, m) in steps of 64 rows: only those with a pair that cancels are done again.
    end = n - n % _ROWS
    settled = []
    if end:
        strips = tuple(
            z[:end].reshape(end // _ROWS, _ROWS, z.shape[1])
            for z in (left, squares, safe)
        )
        full = lax.map(lambda strip: _settle(right, *strip), strips)
        settled.append(full.reshape(end, m))
    if end < n:
        settled.append(_settle(right, left[end:], squares[end:], safe[end:]))
    squares = jnp.concatenate(settled)
    return zero_diagonal(squares, 0) if is_square else squares


def _settle(right, left, squares, safe):
    """Squared distances of some rows, by differences unless all pairs are safe."""

    def differences():
        return lax.map(lambda row: jnp.sum((right - row[None, :]) ** 2, axis=1), left)

    return lax.cond(jnp.all(safe), lambda: squares, differences)


def zero_diagonal(squares, start):
    rows = start + jnp.arange(squares.shape[0])
    on = rows[:, None] == jnp.arange(squares.shape[1])[None, :]
    return jnp.where(on, jnp.zeros((), squares.dtype), squares)


def flat(x: Any) -> Array:
    x = jnp.asarray(x)
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    return x.reshape(x.shape[0], -1).astype(dtype)
