"""Mapping a function of one coalition, or of one row, over many: chunks and devices."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jax.tree_util import Partial

from jaxval._checks import check

__all__ = [
    "batched_map",
    "device_mesh",
    "indexed_map",
    "padded_rows",
    "require_one_process",
    "shard_rows",
]


def require_one_process(what: str) -> None:
    """Raise unless JAX runs in one process.

    Nothing here passes arrays between processes: under `jax.distributed` a program
    would wait for the others until it timed out.

    Args:
      what: What was asked for, as the message names it.

    Raises:
      RuntimeError: If there are several processes.

    Example:
      >>> require_one_process("semivalues.run")
    """
    count = jax.process_count()
    if count > 1:
        raise RuntimeError(
            f"{what} works in one process, and JAX runs in {count} here: start it "
            "without jax.distributed.initialize. Runs with keys of their own, on "
            "whatever machines, are joined by semivalues.merge."
        )


def device_mesh(num_devices: int | None = None) -> Mesh:
    """A one-dimensional mesh over the machine's devices, axis name `"batch"`.

    Args:
      num_devices: Number of devices, the first ones; all of them when left out.
    """
    require_one_process("device_mesh")
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
      fn: Function of one input, plain or a `Partial` that carries its arrays.
      inputs: Pytree whose leaves have one input per row.
      chunk_size: Inputs at once *on each device*: this bounds the memory.
      mesh: Devices to split each chunk over (its first axis); one device when `None`.
      progress: Called with (inputs done, inputs in all) after each chunk.

    Returns:
      The pytree of results, one per row.

    Example:
      >>> batched_map(lambda x: x + 1, jnp.arange(5), chunk_size=2).tolist()
      [1, 2, 3, 4, 5]
    """
    require_one_process("mapping over many inputs")
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
      rows: Pytree of arrays with one row each per sample, a multiple of the number of
        devices, as `padded_rows` makes it.

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


@functools.partial(jax.jit, static_argnums=0)
def _run_on(mesh, fn, chunk):
    axis = PartitionSpec(mesh.axis_names[0])
    specs = {"in_specs": (PartitionSpec(), axis), "out_specs": axis}
    return jax.shard_map(_run, mesh=mesh, check_vma=False, **specs)(fn, chunk)


def indexed_map(
    fn: Callable[..., Any],
    start: int,
    count: int,
    *operands: Any,
    capacity: int,
    batch_size: int = 1,
    mesh: Mesh | None = None,
) -> Any:
    """`[fn(i, *operands) for i in range(start, start + count)]`, one program for all.

    `count` is an argument of the program: calls of any length up to `capacity` share
    it, and the result of an index is the same to the bit whatever the call's length
    and the number of devices.

    Args:
      fn: Function of an index (uint32) and the operands, plain or a `Partial`.
      start: First index.
      count: Indices, at most `capacity`.
      *operands: Pytrees, the same for all indices.
      capacity: Rows of the results.
      batch_size: Indices vmapped at once on each device.
      mesh: Devices to spread the indices over (its first axis); one when `None`.

    Returns:
      The pytree of results on one device, `capacity` rows; those from `count` on mean
      nothing.

    Example:
      >>> indexed_map(lambda i, x: i * x, 2, 3, 10.0, capacity=4)[:3].tolist()
      [20.0, 30.0, 40.0]
    """
    require_one_process("semivalues.run")
    check(
        0 <= count <= capacity,
        f"count must lie between 0 and the capacity {capacity}; got {count}.",
    )
    fn = fn if isinstance(fn, Partial) else Partial(fn)
    devices = 1 if mesh is None else mesh.devices.size
    rows = -(-capacity // (devices * batch_size)) * batch_size
    share = -(-count // devices)
    # Each device gets a run of indices: its first one, and how many.
    before = np.minimum(share * np.arange(devices), count)
    counts = (np.minimum(before + share, count) - before).astype(np.int32)
    firsts = (start + before).astype(np.uint32)
    out = _indexed(rows, batch_size, mesh, fn, firsts, counts, operands)
    if mesh is None:
        return out
    out = jax.device_put(out, mesh.devices.flat[0])
    index = np.arange(capacity)
    device = np.minimum(index // max(share, 1), devices - 1)
    place = np.minimum(device * rows + index % max(share, 1), devices * rows - 1)
    return _take(out, place.astype(np.int32))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _indexed(rows, batch_size, mesh, fn, firsts, counts, operands):
    on_device = functools.partial(_on_device, rows, batch_size)
    if mesh is None:
        return on_device(fn, firsts, counts, operands)
    axis, everywhere = PartitionSpec(mesh.axis_names[0]), PartitionSpec()
    specs = {"in_specs": (everywhere, axis, axis, everywhere), "out_specs": axis}
    sharded = jax.shard_map(on_device, mesh=mesh, check_vma=False, **specs)
    return sharded(fn, firsts, counts, operands)


def _on_device(rows, batch_size, fn, firsts, counts, operands):
    """The indices of one device, in blocks of `batch_size`."""
    first, count = firsts[0], counts[0]
    of_index = functools.partial(_at_index, fn, operands)
    many = jax.vmap(of_index) if batch_size > 1 else of_index
    offsets = jnp.arange(batch_size, dtype=jnp.uint32)
    index = first + offsets if batch_size > 1 else first
    # Traced once, for the shapes of the results and for the loop.
    traced, shapes = jax.make_jaxpr(many, return_shape=True)(index)
    again = jax.extend.core.jaxpr_as_fun(traced)
    structure = jax.tree.structure(shapes)

    def block(b, out):
        place = (b * batch_size).astype(jnp.uint32)
        part = jax.tree.unflatten(structure, again(index + place))
        part = part if batch_size > 1 else jax.tree.map(lambda x: x[None], part)
        start = b * batch_size
        return jax.tree.map(
            lambda x, new: jax.lax.dynamic_update_slice_in_dim(x, new, start, 0),
            out,
            part,
        )

    def empty(x):
        row = x.shape[1:] if batch_size > 1 else x.shape
        return jnp.zeros((rows, *row), x.dtype)

    start = jax.tree.map(empty, shapes)
    blocks = (count + (batch_size - 1)) // batch_size
    return jax.lax.fori_loop(jnp.zeros_like(blocks), blocks, block, start)


def _at_index(fn, operands, i):
    return fn(i, *operands)


@jax.jit
def _take(tree, index):
    return jax.tree.map(lambda x: x[index], tree)
