"""Gram matrices in blocks of rows: what every engine shares.

An engine is two functions: `represent(x, y)` turns a block of rows into a pytree of
arrays with one row a sample, and `contract(left, right)` two such pytrees into a tile
of the Gram matrix. Here they are put together, each symmetric pair of tiles once.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxval._checks import check

__all__ = ["gram", "inner", "starts"]

Rows = tuple[Any, Any]
"""Inputs and targets (or `None`), one sample a row."""


def gram(
    represent: Callable[[Any, Any], Any],
    contract: Callable[[Any, Any], Float[Array, "block block"]],
    rows: Rows,
    columns: Rows | None,
    *,
    block_size: int,
    keep: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Float[Array, "n m"]:
    """The Gram matrix of `rows` with `columns`, or with themselves when `None`.

    Args:
      represent: a block of inputs and targets to a pytree with one row a sample.
      contract: two such pytrees to a tile, whose first rows and columns count; the
        second is the very first where a block meets itself.
      rows: inputs and targets.
      columns: likewise; `None` for the symmetric matrix.
      block_size: samples a block, at most.
      keep: hold the representation of every block of columns; otherwise it is
        computed again for every block of rows.
      progress: called with (tiles done, tiles in all).
    """
    check(block_size >= 1, f"block_size must be at least 1; got {block_size}.")
    symmetric = columns is None
    other = rows if columns is None else columns
    n, m = len(rows[0]), len(other[0])
    check(n > 0 and m > 0, f"x must not be empty; got {n} rows and {m} columns.")
    down, height = starts(n, block_size)
    across, width = starts(m, block_size)
    column = lambda j: _take(represent, other, j, width)
    column = functools.cache(column) if keep else column
    pairs = [(i, j) for i in down for j in across if not symmetric or i <= j]
    out: Any = None
    left, at = None, None
    for done, (i, j) in enumerate(pairs, 1):
        if i != at:
            left = column(i) if symmetric else _take(represent, rows, i, height)
            at = i
        tile = contract(left, left if symmetric and i == j else column(j))
        if tile.shape != (height, width):
            tile = tile[:height, :width]
        if symmetric and i == j:
            tile = _symmetrise(tile)
        out = jnp.zeros((n, m), tile.dtype) if out is None else out
        out = _write(out, tile, i, j)
        if symmetric and i != j:
            out = _write(out, tile.T, j, i)
        if progress is not None:
            jax.block_until_ready(out)
            progress(done, len(pairs))
    return out


def starts(total: int, block_size: int) -> tuple[list[int], int]:
    """First rows of equal blocks that cover `total` rows, and the rows of a block.

    The last block ends with the last row and so may repeat a few rows of the one
    before it: all blocks then have one shape and are compiled once.

    Example:
      >>> starts(10, 4)
      ([0, 4, 6], 4)
    """
    blocks = math.ceil(total / block_size)
    size = math.ceil(total / blocks)
    return [min(i * size, total - size) for i in range(blocks)], size


def inner(
    left: Float[Array, "n ..."], right: Float[Array, "m ..."]
) -> Float[Array, "n m"]:
    """Inner products of the rows, in full precision, float32 at least."""
    dtype = jnp.promote_types(left.dtype, jnp.float32)
    return lax.dot_general(
        left.reshape(left.shape[0], -1),
        right.reshape(right.shape[0], -1),
        (((1,), (1,)), ((), ())),
        precision="highest",
        preferred_element_type=dtype,
    )


def _take(represent, rows, start, size):
    if start == 0 and size == len(rows[0]):
        return represent(*rows)
    return represent(*jax.tree.map(lambda a: a[start : start + size], rows))


@jax.jit
def _symmetrise(tile):
    return (tile + tile.T) / 2


@functools.partial(jax.jit, donate_argnums=0)
def _write(out, tile, i, j):
    return lax.dynamic_update_slice(out, tile, (i, j))
