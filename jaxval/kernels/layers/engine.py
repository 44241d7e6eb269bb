r"""The layer engine's two programs: represent a block of samples, contract two blocks.

Both are compiled once per network and shape, and take everything else as arguments.
With a mesh, the rows of a tile are split over its devices and its columns are on all.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.tree_util import Partial
from jaxtyping import Array, Float

from jaxval.execution.parallel import padded_rows, shard_rows
from jaxval.execution.precision import MatmulPrecision
from jaxval.kernels import readouts as _readouts
from jaxval.kernels import row_blocks
from jaxval.kernels.layers import capture, routes
from jaxval.kernels.layers.weights import Rows
from jaxval.kernels.readouts import Readout
from jaxval.types import ApplyFn, Params

__all__ = ["Problem", "contract_rows", "represent_rows"]


class Problem(NamedTuple):
    """A network, its parameters and what is read from it; a pytree.

    Attributes:
      network: The network as a pytree.
      params: Its parameters.
      functions: Its readouts as pytrees.
    """

    network: Partial
    params: Params
    functions: tuple[Partial, ...]

    @classmethod
    def of(cls, apply_fn: ApplyFn, params: Params, readout: Readout) -> "Problem":
        """Functions made into pytrees, so that they are found again when compiled."""
        functions = tuple(Partial(r) for r in _readouts.as_tuple(readout))
        return cls(Partial(apply_fn), params, functions)


def represent_rows(
    problem: Problem,
    x: Any,
    y: Any,
    *,
    matmul_precision: MatmulPrecision,
    mesh: Mesh | None,
    batch_size: int | None = None,
) -> Rows:
    """Inputs, cotangents and small gradients of a block of samples.

    Args:
      problem: Network, parameters and readouts.
      x: Inputs, one per row.
      y: Targets, one per row, or `None`.
      matmul_precision: Precision of the products that stored gradients are made by.
      mesh: Devices that share the rows.
      batch_size: Samples passed through the network at once, where there is no mesh.
    """
    if mesh is None:
        return _in_batches(problem, x, y, matmul_precision, batch_size or len(x))
    return shard_rows(
        _Represent(matmul_precision), mesh, problem, padded_rows((x, y), mesh)
    )


def contract_rows(
    left: Rows, right: Rows, *, matmul_precision: MatmulPrecision, mesh: Mesh | None
) -> Float[Array, "n m"]:
    """The tile of two blocks, of which the second may be the first itself."""
    if mesh is None:
        return _contract(left, None if right is left else right, matmul_precision)
    # The caller cuts off what `padded_rows` has added.
    tile = shard_rows(_Contract(matmul_precision), mesh, right, left)
    return jax.device_put(tile, mesh.devices.flat[0])


def _in_batches(problem, x, y, matmul_precision, batch_size):
    first, size = row_blocks.starts(len(x), batch_size)
    if len(first) == 1:
        return _represent(problem, x, y, matmul_precision)
    batches, done = [], 0
    for start in first:
        rows = jax.tree.map(lambda a, i=start: a[i : i + size], (x, y))
        part = _represent(problem, *rows, matmul_precision)
        # The last batch may begin with rows that the one before it has ended with.
        batches.append(jax.tree.map(lambda a, d=done - start: a[d:], part))
        done = start + size
    return jax.tree.map(lambda *a: jnp.concatenate(a), *batches)


@functools.partial(jax.jit, static_argnums=3)
def _represent(problem, x, y, matmul_precision):
    return _Represent(matmul_precision)(problem, (x, y))


@functools.partial(jax.jit, static_argnums=2)
def _contract(left, right, matmul_precision):
    return routes.contract(left, right, matmul_precision)


@dataclasses.dataclass(frozen=True)
class _Represent:
    matmul_precision: MatmulPrecision

    def __call__(self, problem, rows):
        network, params, functions = problem
        x, y = rows
        return capture.represent(
            network, params, functions, x, y, self.matmul_precision
        )


@dataclasses.dataclass(frozen=True)
class _Contract:
    matmul_precision: MatmulPrecision

    def __call__(self, columns, rows):
        return routes.contract(rows, columns, self.matmul_precision)
