r"""The empirical neural tangent kernel, $\Theta_{ij} = \langle g_i, g_j\rangle$.

The gradients $g_i$ are never formed: see `layer_routes` for how their products come
from each layer's inputs and cotangents, and `gradient_engine` for the plain way.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Num

from jaxval._checks import check, same_length
from jaxval.kernels import readouts as _readouts
from jaxval.kernels import row_blocks
from jaxval.kernels.layers import check as layer_check
from jaxval.kernels.layers import plan as layer_memory
from jaxval.kernels.layers.engine import Problem, contract_rows, represent_rows
from jaxval.kernels.layers.plan import MemoryEstimate
from jaxval.kernels.layers.routes import Arithmetic
from jaxval.kernels.readouts import Readout
from jaxval.types import ApplyFn, Params

__all__ = [
    "EXACT",
    "Arithmetic",
    "MemoryEstimate",
    "Rounded",
    "gram",
    "memory_estimate",
    "rounded_gram",
]

EXACT = Arithmetic()
"""Matrix products in the precision of the inputs."""


def gram(
    apply_fn: ApplyFn,
    params: Params,
    x: Num[Array, "n ..."] | Num[np.ndarray, "n ..."],
    y: Num[Array, "n ..."] | Num[np.ndarray, "n ..."] | None = None,
    x_other: Num[Array, "m ..."] | Num[np.ndarray, "m ..."] | None = None,
    y_other: Num[Array, "m ..."] | Num[np.ndarray, "m ..."] | None = None,
    *,
    readout: Readout = _readouts.own_logit,
    block_size: int | None = None,
    memory_limit: int | None = None,
    mesh: Mesh | None = None,
    arithmetic: Arithmetic = EXACT,
    self_check: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Float[Array, "n m"]:
    r"""The Gram matrix of gradients,

    $$\Theta_{ij} = \langle\nabla_\theta r(f(x_i), y_i),
    \nabla_\theta r(f(x_j), y_j)\rangle .$$

    One forward and one backward pass keep every layer's inputs and cotangents, and
    each layer adds its part by whichever route costs fewer operations; the matrix of
    all gradients is never formed. Any pure function will do as a network; one made of
    matrix products, convolutions and look-ups is fast. A parameter that is used
    several times counts once, with the sum of its gradients, as it should.

    Args:
      apply_fn: parameters and a batch of inputs to a batch of outputs. Whatever is in
        `params` is differentiated: keep running averages out of it.
      params: the parameters; leaves that are not real numbers are left alone.
      x: inputs, one a row.
      y: targets, one a row; `None` where the readout asks for none.
      x_other: other inputs, for a rectangular matrix.
      y_other: their targets.
      readout: the scalar whose gradients are compared, or a tuple of which the mean
        kernel is wanted; see `jaxval.kernels.readouts`.
      block_size: samples worked on at once; as many as fit the memory if left out.
      memory_limit: bytes this may take, the result included; three quarters of the
        device's memory if left out.
      mesh: devices to split the rows of each block over (its first axis).
      arithmetic: how matrix products are computed; see also `rounded_gram`.
      self_check: recompute a few entries by plain differentiation of `apply_fn` on a
        batch, and refuse to return anything else.
      progress: called with (tiles done, tiles in all).

    Returns:
      One row for each input in `x`, one column for each in `x_other` (or in `x`).

    Raises:
      ValueError: if it would take more than `memory_limit`; if the network mixes
        samples; if the kernel is not finite. Inside `jax.jit`, NaN for the last two.

    Example:
      >>> linear = lambda w, x: x @ w
      >>> x = jnp.array([[1.0, 2.0], [3.0, 4.0]])
      >>> gram(linear, jnp.ones((2, 1)), x, readout=_readouts.only).tolist()
      [[5.0, 11.0], [11.0, 25.0]]

    References:
      Jacot, Gabriel and Hongler, *Neural tangent kernel*, 2018; Novak, Sohl-Dickstein
      and Schoenholz, *Fast finite width neural tangent kernel*, 2022.
    """  # noqa: D205, D400, D415
    plan = memory_estimate(
        apply_fn,
        params,
        x,
        y,
        x_other,
        readout=readout,
        block_size=block_size,
        memory_limit=memory_limit,
        mesh=mesh,
        arithmetic=arithmetic,
    )
    _check_fits(plan, memory_limit)
    problem = Problem.of(apply_fn, params, readout)
    options: Any = {"arithmetic": arithmetic, "mesh": mesh}
    columns = None if x_other is None else (x_other, y_other)
    result = row_blocks.gram(
        lambda x, y: represent_rows(problem, x, y, batch=plan.batch_size, **options),
        lambda left, right: contract_rows(left, right, **options),
        (x, y),
        columns,
        block_size=plan.block_size,
        keep=plan.keep,
        progress=progress,
    )
    if not self_check:
        return result
    tolerance = _tolerance(result.dtype, arithmetic)
    return layer_check.guarded(result, problem, (x, y), columns, tolerance)


def memory_estimate(
    apply_fn: ApplyFn,
    params: Params,
    x: Any,
    y: Any = None,
    x_other: Any = None,
    *,
    readout: Readout = _readouts.own_logit,
    block_size: int | None = None,
    memory_limit: int | None = None,
    mesh: Mesh | None = None,
    arithmetic: Arithmetic = EXACT,
) -> MemoryEstimate:
    """What `gram` with these arguments would take; nothing is computed.

    Args:
      apply_fn: as for `gram`.
      params: as for `gram`; shapes and dtypes (`jax.ShapeDtypeStruct`) will do.
      x: as for `gram`, or its shape and dtype.
      y: likewise.
      x_other: likewise.
      readout: as for `gram`.
      block_size: as for `gram`.
      memory_limit: as for `gram`.
      mesh: as for `gram`.
      arithmetic: as for `gram`.

    Example:
      >>> import jax
      >>> linear = lambda w, x: x @ w
      >>> x = jax.ShapeDtypeStruct((1000, 2), jnp.float32)
      >>> w = jax.ShapeDtypeStruct((2, 1), jnp.float32)
      >>> memory_estimate(linear, w, x, readout=_readouts.only).gram
      4000000
    """
    _check_rows(x, y, x_other)
    limit = layer_memory.default_limit() if memory_limit is None else memory_limit
    return layer_memory.estimate(
        Problem.of(apply_fn, params, readout),
        x,
        y,
        None if x_other is None else x_other.shape[0],
        arithmetic=arithmetic,
        block_size=block_size,
        limit=limit,
        devices=1 if mesh is None else mesh.devices.size,
    )


class Rounded(NamedTuple):
    r"""A Gram matrix in reduced precision, and what that cost.

    Attributes:
      gram: the matrix.
      error: the largest $|\Delta\Theta_{ij}| / \sqrt{\Theta_{ii}\Theta_{jj}}$ of the
        rows in `sample`.
      sample: the rows that were computed in full precision too.
    """

    gram: Float[Array, "n m"]
    error: float
    sample: tuple[int, ...]


def rounded_gram(
    apply_fn: ApplyFn,
    params: Params,
    x: Num[Array, "n ..."] | Num[np.ndarray, "n ..."],
    y: Num[Array, "n ..."] | Num[np.ndarray, "n ..."] | None = None,
    *,
    arithmetic: Arithmetic = Arithmetic(jnp.bfloat16),  # noqa: B008
    sample_size: int = 64,
    **options: Any,
) -> Rounded:
    """The Gram matrix with faster, coarser products, and its error on a sample.

    Args:
      apply_fn: as for `gram`.
      params: as for `gram`.
      x: as for `gram`.
      y: as for `gram`.
      arithmetic: by default, operands are rounded to bfloat16 and their products
        summed in float32. `Arithmetic(precision=...)` takes what `jax.lax` takes,
        such as `jax.lax.DotAlgorithmPreset.TF32_TF32_F32_X3`.
      sample_size: evenly spaced rows whose products are computed in full as well.
      **options: for `gram`.

    Example:
      >>> linear = lambda w, x: x @ w
      >>> x = jnp.array([[1.0, 1.0 + 1e-3], [3.0, 4.0]])
      >>> out = rounded_gram(linear, jnp.ones((2, 1)), x, readout=_readouts.only)
      >>> 0 < out.error < 1e-2
      True
    """
    check(sample_size >= 1, f"sample_size must be at least 1; got {sample_size}.")
    coarse = gram(apply_fn, params, x, y, arithmetic=arithmetic, **options)
    where = np.unique(np.linspace(0, len(x) - 1, min(sample_size, len(x))).astype(int))
    few = x[where], None if y is None else y[where]
    exact = np.asarray(gram(apply_fn, params, *few, **options), np.float64)
    scale = np.sqrt(np.diagonal(exact))
    error = np.abs(np.asarray(coarse[where[:, None], where[None, :]]) - exact)
    relative = error / np.maximum(np.outer(scale, scale), np.finfo(float).tiny)
    return Rounded(coarse, float(relative.max()), tuple(int(i) for i in where))


def _check_rows(x, y, x_other):
    check(
        hasattr(x, "shape") and len(x.shape) >= 1 and x.shape[0] > 0,
        "x must be an array with one input a row, and not empty; got "
        f"{getattr(x, 'shape', type(x).__name__)}.",
    )
    if y is not None:
        same_length(x=_Length(x), y=_Length(y))
    if x_other is not None:
        check(
            x_other.shape[1:] == x.shape[1:] and x_other.shape[0] > 0,
            "x_other must have rows of the shape of those of x, "
            f"{tuple(x.shape[1:])}; got an array of shape {tuple(x_other.shape)}.",
        )


class _Length:
    """`len` of an array or of a shape."""

    def __init__(self, array):
        self.rows = array.shape[0]

    def __len__(self):
        return self.rows


def _check_fits(plan, memory_limit):
    limit = layer_memory.default_limit() if memory_limit is None else memory_limit
    if plan.peak <= limit:
        return
    gib = lambda count: f"{count / 2**30:.3g} GiB"
    raise ValueError(
        f"the Gram matrix would take about {gib(plan.peak)} (itself {gib(plan.gram)}, "
        f"inputs and cotangents {gib(plan.stored)}, work {gib(plan.work)}, in blocks "
        f"of {plan.block_size}) and memory_limit is {gib(limit)}. Raise memory_limit, "
        "lower block_size, or approximate: kernels.approximations."
    )


def _tolerance(dtype, arithmetic):
    if arithmetic != EXACT:
        return 0.1
    return 1e-8 if dtype == jnp.float64 else 2e-3
