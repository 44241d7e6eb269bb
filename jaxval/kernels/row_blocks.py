"""Gram matrices in blocks of rows: what every engine shares.

An engine is two functions: `represent(x, y)` turns a block of rows into a pytree of
arrays with one row per sample, and `contract(left, right)` two such pytrees into a tile
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
from jaxval.execution.options import Progress
from jaxval.types import Points

__all__ = [
    "Rows",
    "check_same_features",
    "gram",
    "inner",
    "inputs_and_targets",
    "starts",
]

Rows = tuple[Any, Any]
"""Inputs and targets (or `None`), one sample per row."""


def gram(
    represent: Callable[[Any, Any], Any],
    contract: Callable[[Any, Any], Float[Array, "block block"]],
    rows: Rows,
    columns: Rows | None,
    *,
    block_size: int,
    keep: bool = True,
    progress: Progress | None = None,
) -> Float[Array, "n m"]:
    """The Gram matrix of `rows` with `columns`, or with themselves when `None`.

    Args:
      represent: Function of a block of inputs and targets to a pytree with one row per
        sample.
      contract: Function of two such pytrees to a tile, whose first rows and columns
        count; the second is the very first where a block meets itself.
      rows: Inputs and targets of the rows.
      columns: Inputs and targets of the columns; `None` for the symmetric matrix.
      block_size: Largest number of samples in a block.
      keep: Whether to hold the representation of every block of columns; otherwise it
        is computed again for every block of rows.
      progress: Called with (tiles done, tiles in all).
    """
    check(block_size >= 1, f"batch_size must be at least 1; got {block_size}.")
    symmetric = columns is None
    other = rows if columns is None else columns
    n, m = len(rows[0]), len(other[0])
    check(n > 0 and m > 0, f"rows must not be empty; got {n} rows and {m} columns.")
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


def inputs_and_targets(rows: Any) -> Rows:
    """The inputs and the targets (or `None`) of an array or of `Points`.

    Args:
      rows: Array of inputs, one per row, or `Points(x, y)`; shapes with dtypes will do.

    Raises:
      ValueError: If the inputs are no array or empty, or the targets' number differs.

    Example:
      >>> inputs_and_targets(jnp.ones((2, 3)))[1] is None
      True
    """
    x, y = rows if isinstance(rows, Points) else (rows, None)
    shape = getattr(x, "shape", None)
    check(
        shape is not None and len(shape) >= 1,
        "rows must be an array with one input per row, or Points(x, y); got "
        f"{type(x).__name__}. A network with several inputs takes one array that holds "
        "them side by side, which a function around it takes apart.",
    )
    check(x.shape[0] > 0, f"rows must not be empty; got inputs of shape {shape}.")
    if y is not None:
        length = y.shape[0] if getattr(y, "shape", ()) else None
        check(
            length == x.shape[0],
            "y must be an array with one target per row of x; got "
            f"{type(y).__name__} of shape {getattr(y, 'shape', None)} for x of shape "
            f"{tuple(x.shape)}.",
        )
    return x, y


def check_same_features(rows: Rows, columns: Rows | None) -> None:
    """Raise `ValueError` unless columns have inputs of the shape of those of rows."""
    if columns is None:
        return
    check(
        columns[0].shape[1:] == rows[0].shape[1:],
        "columns must have inputs of the shape of those of rows, "
        f"{tuple(rows[0].shape[1:])}; got an array of shape {tuple(columns[0].shape)}.",
    )


def starts(total: int, block_size: int) -> tuple[list[int], int]:
    """First rows of equal blocks that cover `total` rows, and the rows of a block.

    The last block ends with the last row and so may repeat a few rows of the one
    before it: all blocks then have one shape and are compiled once.

    Args:
      total: Number of rows.
      block_size: Largest number of rows in a block.

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
