"""Sums of a kernel over the rows of each label, in blocks of rows."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Num

from jaxval._checks import check
from jaxval._targets import feature_rows
from jaxval.execution.memory import rows_that_fit
from jaxval.execution.precision import float64
from jaxval.kernels.pairwise import mixture_of_squares, squared_distances
from jaxval.types import AnyArray

_LARGEST = 1e150
"""Entries beyond this have no squares in float64."""

_HARMLESS = 1e-10
"""An error of a squared distance, in squares of the least bandwidth, that the kernel
does not show: it changes a kernel value by at most half as much."""


def pool(
    x: Num[AnyArray, "n ..."], valid: Num[AnyArray, "m ..."]
) -> Float[np.ndarray, "rows d"]:
    """The rows of both samples, flattened, in float64, one below the other."""
    x, valid = _flat("x", x), _flat("valid", valid)
    check(
        x.shape[1] == valid.shape[1],
        "x and valid must have the same width once flattened; got "
        f"{x.shape[1]} and {valid.shape[1]}.",
    )
    return np.concatenate([x, valid])


def _flat(name, sample):
    sample = feature_rows(name, sample)
    largest = np.abs(sample).max(initial=0)
    check(
        largest < _LARGEST,
        f"{name} must hold numbers below {_LARGEST:.0e}, so that their squares are "
        f"numbers too; the largest is {largest:.1e}. Scale the columns first.",
    )
    return sample


def sums_by_label(pooled, label, count, kernel, execution):
    """Sums of each row's kernel over the rows of each label: `(rows, labels)`."""
    total = len(pooled)
    step = execution.batch_size or rows_that_fit(8 * total, execution.memory)
    step = min(step, total)
    pooled = float64(pooled)
    slots = jnp.zeros(count)
    numbers = float64(kernel.bandwidths), float64(kernel.weights)
    blocks = []
    for start in range(0, total, step):
        stop = min(start + step, total)
        # The last block is filled up with its first row, so that all compile once.
        index = np.arange(start, start + step)
        block = pooled[np.where(index < total, index, start)]
        sums = _block_sums(block, pooled, label, slots, numbers)
        blocks.append(sums[: stop - start])
        if execution.progress is not None:
            jax.block_until_ready(blocks[-1])
            execution.progress(stop, total)
    return jnp.concatenate(blocks)


@jax.jit
def _block_sums(block, pooled, label, slots, numbers):
    values = kernel_values(block, pooled, numbers)  # (block, rows)
    if len(slots) > 64:
        return jax.vmap(lambda row: slots.at[label].add(row))(values)
    member = label[:, None] == jnp.arange(len(slots))[None, :]
    return values @ member.astype(values.dtype)


def kernel_values(left, right, numbers):
    """The kernel of rows with rows, where `numbers` are its bandwidths and weights."""
    bandwidths, weights = numbers
    harmless = _HARMLESS * jnp.min(bandwidths) ** 2
    squares = squared_distances(left, right, tolerance=harmless)
    return mixture_of_squares(jnp.asarray(squares), bandwidths, weights)
