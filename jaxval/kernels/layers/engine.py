r"""The layer engine's two programs: represent a block of samples, contract two blocks.

Both are compiled once a network and shape, and take everything else as arguments. With
a mesh, the rows of a tile are split over its devices and its columns are on all.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jax.tree_util import Partial
from jaxtyping import Array, Float

from jaxval.kernels import readouts as _readouts
from jaxval.kernels import row_blocks
from jaxval.kernels.layers import routes as layer_routes
from jaxval.kernels.layers.capture import represent
from jaxval.kernels.layers.routes import Arithmetic
from jaxval.kernels.layers.weights import Rows
from jaxval.kernels.readouts import Readout
from jaxval.types import ApplyFn, Params

__all__ = ["Problem", "contract_rows", "represent_rows"]


class Problem(NamedTuple):
    """A network, its parameters and what is read from it; a pytree.

    Attributes:
      network: the network as a pytree.
      params: its parameters.
      functions: its readouts as pytrees.
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
    arithmetic: Arithmetic,
    mesh: Mesh | None,
    batch: int | None = None,
) -> Rows:
    """Inputs, cotangents and small gradients of a block of samples.

    Args:
      problem: the network.
      x: inputs, one a row.
      y: targets, one a row, or `None`.
      arithmetic: of stored gradients.
      mesh: devices that share the rows.
      batch: samples passed through the network at once, where there is no mesh.
    """
    if mesh is None:
        return _in_batches(problem, x, y, arithmetic, batch or len(x))
    x, y = jax.tree.map(lambda a: _padded(jnp.asarray(a), mesh), (x, y))
    return _sharded_represent(mesh, arithmetic)(problem, x, y)


def contract_rows(
    left: Rows, right: Rows, *, arithmetic: Arithmetic, mesh: Mesh | None
) -> Float[Array, "n m"]:
    """The tile of two blocks, of which the second may be the first itself."""
    if mesh is None:
        return _contract(left, None if right is left else right, arithmetic)
    tile = _sharded_contract(mesh, arithmetic)(left, right)
    return jax.device_put(tile, mesh.devices.flat[0])


def _in_batches(problem, x, y, arithmetic, batch):
    first, size = row_blocks.starts(len(x), batch)
    if len(first) == 1:
        return _represent(problem, x, y, arithmetic)
    parts, done = [], 0
    for start in first:
        rows = jax.tree.map(lambda a, i=start: a[i : i + size], (x, y))
        part = _represent(problem, *rows, arithmetic)
        # The last batch may begin with rows that the one before it has ended with.
        parts.append(jax.tree.map(lambda a, d=done - start: a[d:], part))
        done = start + size
    return jax.tree.map(lambda *a: jnp.concatenate(a), *parts)


def _represent_block(problem, x, y, arithmetic):
    network, params, functions = problem
    return represent(network, params, functions, x, y, arithmetic)


@functools.partial(jax.jit, static_argnums=3)
def _represent(problem, x, y, arithmetic):
    return _represent_block(problem, x, y, arithmetic)


@functools.partial(jax.jit, static_argnums=2)
def _contract(left, right, arithmetic):
    return layer_routes.contract(left, right, arithmetic)


@functools.cache
def _sharded_represent(mesh, arithmetic):
    rows = PartitionSpec(mesh.axis_names[0])
    local = lambda problem, x, y: _represent_block(problem, x, y, arithmetic)
    specs = {"in_specs": (PartitionSpec(), rows, rows), "out_specs": rows}
    return jax.jit(jax.shard_map(local, mesh=mesh, check_vma=False, **specs))


@functools.cache
def _sharded_contract(mesh, arithmetic):
    rows = PartitionSpec(mesh.axis_names[0])
    local = lambda left, right: layer_routes.contract(left, right, arithmetic)
    specs = {"in_specs": (rows, PartitionSpec()), "out_specs": rows}
    return jax.jit(jax.shard_map(local, mesh=mesh, check_vma=False, **specs))


def _padded(a, mesh):
    # Devices need equally many rows; the tile's surplus is cut off by the caller.
    surplus = -len(a) % mesh.devices.size
    return jnp.concatenate([a, jnp.repeat(a[:1], surplus, 0)]) if surplus else a
