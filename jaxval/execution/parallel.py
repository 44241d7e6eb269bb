"""Mapping a function of one coalition, or of one row, over many: chunks and devices."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jax.tree_util import Partial

from jaxval._checks import check

__all__ = ["batched_map", "device_mesh"]


def device_mesh(num_devices: int | None = None) -> Mesh:
    """A one-dimensional mesh over the machine's devices, axis name `"batch"`.

    Args:
      num_devices: use the first so many; all of them when left out.
    """
    devices = jax.devices()[:num_devices]
    return Mesh(np.asarray(devices), ("batch",))


def batched_map(
    fn: Callable[[Any], Any],
    inputs: Any,
    *,
    chunk_size: int,
    mesh: Mesh | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Any:
    """`[fn(x) for x in inputs]`, vmapped in chunks of bounded memory.

    One program is compiled for all chunks (the last is padded by repeating its first
    input) and, when `fn` is a `jax.tree_util.Partial` over arrays, for all functions
    of its kind.

    Args:
      fn: of one input; a plain function or a `Partial` that carries its arrays.
      inputs: a pytree whose leaves have one input a row.
      chunk_size: inputs at once *on each device*: this bounds the memory.
      mesh: devices to split each chunk over (its first axis); one device when `None`.
      progress: called with (inputs done, inputs in all) after each chunk.

    Returns:
      The pytree of results, one a row, on the host's side of no particular device.

    Example:
      >>> batched_map(lambda x: x + 1, jnp.arange(5), chunk_size=2).tolist()
      [1, 2, 3, 4, 5]
    """
    check(chunk_size >= 1, f"chunk_size must be at least 1; got {chunk_size}.")
    total = len(jax.tree.leaves(inputs)[0])
    check(total > 0, "inputs is empty: there is nothing to map over.")
    fn = fn if isinstance(fn, Partial) else Partial(fn)
    devices = 1 if mesh is None else mesh.devices.size
    step = devices * min(chunk_size, _rounded(math.ceil(total / devices)))
    results = []
    for start in range(0, total, step):
        done = min(start + step, total)
        index = np.arange(start, start + step)
        index = np.where(index < total, index, start)
        chunk = jax.tree.map(lambda leaf, i=index: leaf[i], inputs)
        result = _run(fn, chunk) if mesh is None else _run_on(mesh, fn, chunk)
        results.append(jax.tree.map(lambda leaf, n=done - start: leaf[:n], result))
        if progress is not None:
            jax.block_until_ready(results[-1])
            progress(done, total)
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *results)


def _rounded(count: int) -> int:
    """A little more, so that calls of many sizes share few programs (4 an octave)."""
    unit = 1 << max(count.bit_length() - 3, 0)
    return -(-count // unit) * unit


@jax.jit
def _run(fn, chunk):
    return jax.vmap(fn)(chunk)


def _run_on(mesh, fn, chunk):
    return _sharded(mesh)(fn, chunk)


_PROGRAMS: dict[Mesh, Callable[..., Any]] = {}


def _sharded(mesh: Mesh) -> Callable[..., Any]:
    # One jitted function a mesh, so that its compiled programs are found again.
    if mesh not in _PROGRAMS:
        axis = PartitionSpec(mesh.axis_names[0])
        _PROGRAMS[mesh] = jax.jit(
            jax.shard_map(
                lambda fn, chunk: jax.vmap(fn)(chunk),
                mesh=mesh,
                in_specs=(PartitionSpec(), axis),
                out_specs=axis,
                check_vma=False,
            )
        )
    return _PROGRAMS[mesh]
