"""How much memory a tangent Gram matrix takes, before it is computed."""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxval.execution.memory import default_limit, gibibytes
from jaxval.execution.options import Execution
from jaxval.execution.precision import MatmulPrecision
from jaxval.kernels.gradient_engine import real_leaves
from jaxval.kernels.layers.capture import sample_network
from jaxval.kernels.layers.engine import Problem, represent_rows

__all__ = ["MemoryEstimate", "check_fits", "estimate"]

_ROWS = 512
"""Rows per block on a CPU: tiles that stay in its cache."""

_ROWS_DEVICE = 4096
"""Rows per block on other devices: tiles that fill them."""

_ROWS_CONVOLUTION = 2048
"""Rows per block on a CPU where gradients are formed anew for each tile."""

_PASS = 12 * 2**20
"""Bytes of one pass through the network on a CPU, kept small for its cache."""

_WORKSPACE = 512 * 2**20
"""Bytes allowed for the workspaces of the routes on a CPU."""

_WORKSPACE_DEVICE = 4 * 2**30
"""And on other devices."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MemoryEstimate:
    """Bytes, and the block of rows they go with.

    Attributes:
      gram: Bytes of the Gram matrix itself.
      stored: Bytes of the inputs and cotangents that are held at once.
      work: Bytes of one pass through the network and one tile.
      block_size: Samples per block.
      batch_size: Samples passed through the network at once.
      keep: Whether those of all blocks are held; otherwise they are computed again.
    """

    gram: int
    stored: int
    work: int
    block_size: int
    batch_size: int
    keep: bool

    @property
    def peak(self) -> int:
        """Bytes of all together."""
        return self.gram + self.stored + self.work


def estimate(
    problem: Problem,
    x: Any,
    y: Any,
    num_columns: int | None,
    *,
    matmul_precision: MatmulPrecision,
    execution: Execution,
) -> MemoryEstimate:
    """What the Gram matrix of `x` will take, in the largest blocks that fit.

    Args:
      problem: Network, parameters and readouts.
      x: Inputs, one per row, or their shape and dtype.
      y: Targets, one per row, or their shape and dtype, or `None`.
      num_columns: Columns of a rectangular matrix; `None` for the symmetric one.
      matmul_precision: Precision of the matrix products.
      execution: Samples per block (`batch_size`), bytes (`memory`) and devices.

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
        tree, tuple((jnp.shape(a), _dtype(a)) for a in leaves), matmul_precision
    )
    limit = default_limit() if execution.memory is None else execution.memory
    devices = execution.num_devices
    real = [d for d in map(_dtype, leaves) if jnp.issubdtype(d, jnp.floating)]
    width = max([4] + [dtype.itemsize for dtype in real])
    gram = n * m * width
    on_cpu = jax.default_backend() == "cpu"
    workspace = _WORKSPACE if on_cpu else _WORKSPACE_DEVICE
    held = m if num_columns is None else m + n

    def at(size: int) -> MemoryEstimate:
        local = math.ceil(size / devices)
        batch = min(local, each.batch)
        work = batch * each.passing + 3 * local * size * width
        work += min(workspace, 16 * each.stored * size) + each.stored * size
        of = functools.partial(
            MemoryEstimate, gram=gram, work=work, block_size=size, batch_size=batch
        )
        at_once = of(stored=each.stored * held, keep=True)
        blocks = of(stored=each.stored * 2 * size, keep=False)
        return at_once if at_once.peak <= limit or 2 * size >= held else blocks

    if execution.batch_size is not None:
        return at(min(execution.batch_size * devices, max(n, m)))
    # Two blocks of a small matrix: the tile below its diagonal need not be computed.
    size = min(each.rows, max(256, math.ceil(max(n, m) / 2))) * devices
    size = min(size, max(n, m))
    while size > 1 and at(size).peak > limit:
        size = math.ceil(size / 2)
    return at(size)


def check_fits(plan: MemoryEstimate, execution: Execution) -> None:
    """Raise `ValueError` if the plan takes more than the limit."""
    limit = default_limit() if execution.memory is None else execution.memory
    if plan.peak <= limit:
        return
    peak, gram, stored, work = map(
        gibibytes, (plan.peak, plan.gram, plan.stored, plan.work)
    )
    raise ValueError(
        f"the Gram matrix would take about {peak} (itself {gram}, inputs and "
        f"cotangents {stored}, work {work}, in blocks of {plan.block_size}) and "
        f"execution.memory is {gibibytes(limit)}. Raise Execution(memory=...), lower "
        "its batch_size, or approximate: kernels.approximations."
    )


class _Each(NamedTuple):
    """Bytes a sample leaves behind and passes through; good blocks and batches."""

    stored: int
    passing: int
    rows: int
    batch: int


@functools.lru_cache(maxsize=64)
def _per_sample(tree: Any, shapes: Any, matmul_precision: MatmulPrecision) -> _Each:
    # Tracing takes a while, so the answer is kept for all problems of these shapes.
    structs = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in shapes]
    problem, x, y = jax.tree.unflatten(tree, structs)
    counts = []

    def count(problem, x, y):
        leaves, _ = real_leaves(problem.params)
        network = sample_network(problem.network, problem.params, x)
        named = [v.aval for eqn in network.eqns for v in eqn.outvars]
        weights = {leaf.shape for leaf in leaves}
        fresh = [a for a in named if hasattr(a, "shape") and a.shape not in weights]
        counts.append(_bytes(fresh))
        return represent_rows(
            problem, x, y, matmul_precision=matmul_precision, mesh=None
        )

    two = jax.tree.map(lambda a: jax.ShapeDtypeStruct((2, *a.shape), a.dtype), (x, y))
    rows = jax.eval_shape(count, problem, *two)
    spread = any(weight.sizes.positions > 1 for weight in rows.weights)
    stored, passing = _bytes(rows) // 2, counts[0]
    if jax.default_backend() != "cpu":
        return _Each(stored, passing, _ROWS_DEVICE, _ROWS_DEVICE)
    size = _ROWS_CONVOLUTION if spread else _ROWS
    return _Each(stored, passing, size, max(16, _PASS // max(passing, 1)))


def _bytes(tree: Any) -> int:
    return sum(math.prod(a.shape) * a.dtype.itemsize for a in jax.tree.leaves(tree))


def _dtype(a: Any) -> Any:
    dtype = getattr(a, "dtype", None)
    dtype = jnp.result_type(a) if dtype is None else dtype
    # Random keys have a dtype that JAX keeps as it is.
    if jnp.issubdtype(dtype, jax.dtypes.extended):
        return dtype
    return jnp.dtype(jax.dtypes.canonicalize_dtype(dtype))
