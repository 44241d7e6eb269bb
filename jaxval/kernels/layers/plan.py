"""How much memory a tangent Gram matrix takes, before it is computed."""

import functools
import math
import os
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxval.kernels.gradient_engine import float_leaves
from jaxval.kernels.layers.capture import sample_network
from jaxval.kernels.layers.engine import Problem, represent_rows
from jaxval.kernels.layers.routes import Arithmetic

__all__ = ["MemoryEstimate", "default_limit", "estimate"]

_ROWS = 512
"""Rows a block on a CPU: tiles that stay in its cache."""

_ROWS_DEVICE = 4096
"""Rows a block on other devices: tiles that fill them."""

_ROWS_CONVOLUTION = 2048
"""Rows a block on a CPU where gradients are formed anew for each tile."""

_PASS = 12 * 2**20
"""Bytes of one pass through the network on a CPU, kept small for its cache."""

_WORKSPACE = 512 * 2**20
"""Bytes allowed for the workspaces of the routes on a CPU."""

_WORKSPACE_DEVICE = 4 * 2**30
"""And on other devices."""


class MemoryEstimate(NamedTuple):
    """Bytes, and the block of rows they go with.

    Attributes:
      gram: of the Gram matrix itself.
      stored: of the inputs and cotangents that are held at once.
      work: of one pass through the network and one tile.
      block_size: samples a block.
      batch_size: samples passed through the network at once.
      keep: whether those of all blocks are held; otherwise they are computed again.
    """

    gram: int
    stored: int
    work: int
    block_size: int
    batch_size: int
    keep: bool

    @property
    def peak(self) -> int:
        """All together."""
        return self.gram + self.stored + self.work


def estimate(
    problem: Problem,
    x: Any,
    y: Any,
    num_columns: int | None,
    *,
    arithmetic: Arithmetic,
    block_size: int | None,
    limit: int,
    devices: int = 1,
) -> MemoryEstimate:
    """What the Gram matrix of `x` will take, in the largest blocks that fit `limit`.

    Args:
      problem: the network.
      x: inputs, or their shape and dtype.
      y: targets, likewise, or `None`.
      num_columns: of a rectangular matrix; `None` for the symmetric one.
      arithmetic: of the matrix products.
      block_size: samples a block, if it is given.
      limit: bytes that may be taken.
      devices: that share a block.

    Returns:
      The estimate; where not even blocks of one sample fit, that of blocks of one.
    """
    n = x.shape[0]
    m = n if num_columns is None else num_columns
    sample = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape[1:], _dtype(a)), (x, y)
    )
    leaves, tree = jax.tree.flatten((problem, *sample))
    each = _per_sample(
        tree, tuple((np.shape(a), _dtype(a)) for a in leaves), arithmetic
    )
    width = max([4] + [_dtype(a).itemsize for a in leaves if _dtype(a).kind == "f"])
    gram = n * m * width
    on_cpu = jax.default_backend() == "cpu"
    workspace = _WORKSPACE if on_cpu else _WORKSPACE_DEVICE
    held = m if num_columns is None else m + n

    def at(size: int) -> MemoryEstimate:
        local = math.ceil(size / devices)
        batch = min(local, each.batch)
        work = batch * each.passing + 3 * local * size * width
        work += min(workspace, 16 * each.stored * size) + each.stored * size
        whole = MemoryEstimate(gram, each.stored * held, work, size, batch, True)
        stored = each.stored * 2 * size
        blocks = MemoryEstimate(gram, stored, work, size, batch, False)
        return whole if whole.peak <= limit or 2 * size >= held else blocks

    if block_size is not None:
        return at(min(block_size, max(n, m)))
    # Two blocks of a small matrix: the tile below its diagonal is for nothing.
    size = min(each.rows, max(256, math.ceil(max(n, m) / 2))) * devices
    size = min(size, max(n, m))
    while size > 1 and at(size).peak > limit:
        size = math.ceil(size / 2)
    return at(size)


def default_limit() -> int:
    """Three quarters of the device's memory, or of the machine's."""
    stats = jax.devices()[0].memory_stats() or {}
    whole = stats.get("bytes_limit")
    if whole is None:
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(0.75 * whole)


class _Each(NamedTuple):
    """Bytes a sample leaves behind and passes through; good blocks and batches."""

    stored: int
    passing: int
    rows: int
    batch: int


@functools.lru_cache(maxsize=64)
def _per_sample(tree: Any, shapes: Any, arithmetic: Arithmetic) -> _Each:
    # Tracing takes a while, so the answer is kept for all problems of these shapes.
    structs = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in shapes]
    problem, x, y = jax.tree.unflatten(tree, structs)
    pair = lambda a: jax.ShapeDtypeStruct((2, *a.shape), a.dtype)
    counts = []

    def count(problem, x, y):
        leaves, rebuild = float_leaves(problem.params)
        network = sample_network(problem.network, leaves, rebuild, x)
        named = [v.aval for eqn in network.eqns for v in eqn.outvars]
        weights = {leaf.shape for leaf in leaves}
        fresh = [a for a in named if hasattr(a, "shape") and a.shape not in weights]
        counts.append(_bytes(fresh))
        return represent_rows(problem, x, y, arithmetic=arithmetic, mesh=None)

    rows = jax.eval_shape(count, problem, *jax.tree.map(pair, (x, y)))
    spread = any(weight.sizes.positions > 1 for weight in rows.weights)
    stored, passing = _bytes(rows) // 2, counts[0]
    if jax.default_backend() != "cpu":
        return _Each(stored, passing, _ROWS_DEVICE, _ROWS_DEVICE)
    size = _ROWS_CONVOLUTION if spread else _ROWS
    return _Each(stored, passing, size, max(16, _PASS // max(passing, 1)))


def _bytes(tree: Any) -> int:
    return sum(math.prod(a.shape) * a.dtype.itemsize for a in jax.tree.leaves(tree))


def _dtype(a: Any) -> Any:
    return np.dtype(jax.dtypes.canonicalize_dtype(jax.numpy.result_type(a)))
