"""Mapping a function of one coalition, or of one row, over many: chunks and devices."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jax.tree_util import Partial

from jaxval._checks import check

__all__ = ["batched_map", "device_mesh", "padded_rows", "shard_rows"]


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


def shard_rows(
    fn: Callable[[Any, Any], Any], mesh: Mesh, shared: Any, rows: Any
) -> Any:
    """`fn(shared, rows)` with the rows split over the devices of a mesh.

    Args:
      fn: Function of what all devices share and of a part of the rows, to a pytree
        with one row per row of its part. It is static: equal functions (of a module,
        or frozen dataclasses with `__call__`) share a compiled program.
      mesh: Devices, along its first axis.
      shared: Pytree that is whole on every device.
      rows: Pytree of arrays with one row each per sample, as many as `padded_rows`
        makes them: a multiple of the number of devices.

    Returns:
      The pytree of results, its rows split over the devices.

    Example:
      >>> import operator
      >>> shard_rows(operator.mul, device_mesh(1), jnp.array(2.0), jnp.ones(3)).tolist()
      [2.0, 2.0, 2.0]
    """
    return _shard_rows(fn, mesh, shared, rows)


def padded_rows(rows: Any, mesh: Mesh) -> Any:
    """The rows, and the first repeated until each device has equally many.

    Args:
      rows: Pytree of arrays with one row each per sample.
      mesh: Devices to split them over.

    Example:
      >>> padded_rows(np.arange(3), device_mesh(1)).tolist()
      [0, 1, 2]
    """

    def pad(a):
        a = jnp.asarray(a)
        surplus = -len(a) % mesh.devices.size
        return jnp.concatenate([a, jnp.repeat(a[:1], surplus, 0)]) if surplus else a

    return jax.tree.map(pad, rows)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _shard_rows(fn, mesh, shared, rows):
    axis = PartitionSpec(mesh.axis_names[0])
    specs = {"in_specs": (PartitionSpec(), axis), "out_specs": axis}
    return jax.shard_map(fn, mesh=mesh, check_vma=False, **specs)(shared, rows)


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
