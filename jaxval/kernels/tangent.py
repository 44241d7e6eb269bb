r"""The empirical neural tangent kernel, $\Theta_{ij} = \langle g_i, g_j\rangle$.

The gradients $g_i$ are never formed: see `layers.routes` for how their products come
from each layer's inputs and cotangents, and `gradient_engine` for the plain way.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from jaxval._checks import check
from jaxval.execution.options import Execution
from jaxval.execution.parallel import require_one_process
from jaxval.execution.precision import EXACT, MatmulPrecision
from jaxval.kernels import readouts as _readouts
from jaxval.kernels import row_blocks
from jaxval.kernels.layers import plan as _plan
from jaxval.kernels.layers.check import LayerEngineWarning, guarded
from jaxval.kernels.layers.engine import Problem, contract_rows, represent_rows
from jaxval.kernels.layers.plan import MemoryEstimate
from jaxval.kernels.readouts import Readout
from jaxval.types import AnyArray, ApplyFn, Params, Points

__all__ = [
    "EXACT",
    "LayerEngineWarning",
    "MatmulPrecision",
    "MemoryEstimate",
    "ReducedPrecisionGram",
    "gram",
    "gram_reduced_precision",
    "memory_estimate",
]


def gram(
    apply_fn: ApplyFn,
    params: Params,
    rows: Num[AnyArray, "n ..."] | Points,
    columns: Num[AnyArray, "m ..."] | Points | None = None,
    *,
    readout: Readout = _readouts.true_class_logit,
    execution: Execution = Execution(),  # noqa: B008
    matmul_precision: MatmulPrecision = EXACT,
    self_check: bool = True,
) -> Float[Array, "n m"]:
    r"""The Gram matrix of gradients,

    $$\Theta_{ij} = \langle\nabla_\theta r(f(x_i), y_i),
    \nabla_\theta r(f(x_j), y_j)\rangle .$$

    One forward and one backward pass keep every layer's inputs and cotangents, and
    each layer adds its part by whichever route costs fewer operations; the matrix of
    all gradients is never formed. Any pure function will do as a network; one made of
    matrix products, convolutions and look-ups is fast. A parameter that is used
    several times counts once, with the sum of its gradients, as it should. A complex
    parameter $a + bi$ counts as its two real ones.

    Args:
      apply_fn: Function of parameters and a batch of inputs to a batch of outputs.
        Whatever is in `params` is differentiated: keep running averages out of it.
      params: Parameters of the network; leaves that are no real or complex numbers
        (counters, random keys) are left alone.
      rows: Inputs, one per row, or `Points(x, y)` with the targets that the readout
        asks for.
      columns: Other inputs, for a rectangular matrix; the rows when `None`.
      readout: Scalar whose gradients are compared, or a tuple of which the mean kernel
        is wanted; see `jaxval.kernels.readouts`.
      execution: Samples worked on at once (`batch_size`, as many as fit by default),
        bytes this may take, the result included (`memory`), devices that share the
        rows of each block (`mesh`), and `progress`, called with (tiles done, tiles in
        all).
      matmul_precision: Precision of the matrix products; see also
        `gram_reduced_precision`.
      self_check: Whether to recompute a few entries, at both ends and between, by
        plain differentiation of `apply_fn`, and to return nothing that disagrees.

    Returns:
      One row for each input in `rows`, one column for each in `columns` (or in `rows`).

    Raises:
      ValueError: If it would take more than `execution.memory`; if the network mixes
        samples; if the kernel is not finite. Inside `jax.jit`, NaN for the last two.

    Warns:
      LayerEngineWarning: If the self-check disagrees about a network that does not mix
        samples: the warning names the layer and the route, and the result is that of
        `gradient_engine`. Inside `jax.jit`, NaN instead.

    Example:
      >>> linear = lambda w, x: x @ w
      >>> x = jnp.array([[1.0, 2.0], [3.0, 4.0]])
      >>> readout = _readouts.single_output
      >>> gram(linear, jnp.ones((2, 1)), x, readout=readout).tolist()
      [[5.0, 11.0], [11.0, 25.0]]

    References:
      Jacot, Gabriel and Hongler, *Neural tangent kernel*, 2018; Novak, Sohl-Dickstein
      and Schoenholz, *Fast finite width neural tangent kernel*, 2022.
    """  # noqa: D205, D400, D415
    require_one_process("tangent.gram")
    plan = memory_estimate(
        apply_fn,
        params,
        rows,
        columns,
        readout=readout,
        execution=execution,
        matmul_precision=matmul_precision,
    )
    _plan.check_fits(plan, execution)
    left = row_blocks.inputs_and_targets(rows)
    right = None if columns is None else row_blocks.inputs_and_targets(columns)
    problem = Problem.of(apply_fn, params, readout)
    options: Any = {"matmul_precision": matmul_precision, "mesh": execution.mesh}
    size = plan.batch_size
    result = row_blocks.gram(
        lambda x, y: represent_rows(problem, x, y, batch_size=size, **options),
        lambda left, right: contract_rows(left, right, **options),
        left,
        right,
        block_size=plan.block_size,
        keep=plan.keep,
        progress=execution.progress,
    )
    if not self_check:
        return result
    return guarded(
        result,
        problem,
        left,
        right,
        plan=plan,
        matmul_precision=matmul_precision,
        execution=execution,
    )


def memory_estimate(
    apply_fn: ApplyFn,
    params: Params,
    rows: Any,
    columns: Any = None,
    *,
    readout: Readout = _readouts.true_class_logit,
    execution: Execution = Execution(),  # noqa: B008
    matmul_precision: MatmulPrecision = EXACT,
) -> MemoryEstimate:
    """What `gram` with these arguments would take; nothing is computed.

    Args:
      apply_fn: Function of parameters and a batch of inputs to a batch of outputs.
      params: Parameters of the network; shapes and dtypes (`jax.ShapeDtypeStruct`)
        will do.
      rows: Inputs, one per row, or `Points(x, y)`; shapes and dtypes will do.
      columns: Other inputs, for a rectangular matrix; shapes and dtypes will do.
      readout: Scalar whose gradients are compared, or a tuple of them.
      execution: Samples per block, bytes and devices, as for `gram`.
      matmul_precision: Precision of the matrix products.

    Returns:
      Bytes, and the block size that was chosen.

    Raises:
      ValueError: If `rows` and `columns` are no inputs of one shape.

    Example:
      >>> import jax
      >>> linear = lambda w, x: x @ w
      >>> x = jax.ShapeDtypeStruct((1000, 2), jnp.float32)
      >>> w = jax.ShapeDtypeStruct((2, 1), jnp.float32)
      >>> memory_estimate(linear, w, x, readout=_readouts.single_output).gram
      4000000
    """
    x, y = row_blocks.inputs_and_targets(rows)
    other = None if columns is None else row_blocks.inputs_and_targets(columns)
    row_blocks.check_same_features((x, y), other)
    return _plan.estimate(
        Problem.of(apply_fn, params, readout),
        x,
        y,
        None if other is None else other[0].shape[0],
        matmul_precision=matmul_precision,
        execution=execution,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReducedPrecisionGram:
    r"""A Gram matrix in reduced precision, and what that cost.

    Attributes:
      gram: The matrix.
      error: The largest $|\Delta\Theta_{ij}| / \sqrt{\Theta_{ii}\Theta_{jj}}$ of the
        rows in `sample`.
      sample: The rows that were computed in full precision too.
    """

    gram: Float[Array, "n m"]
    error: float
    sample: tuple[int, ...]


def gram_reduced_precision(
    apply_fn: ApplyFn,
    params: Params,
    rows: Num[AnyArray, "n ..."] | Points,
    *,
    matmul_precision: MatmulPrecision = MatmulPrecision(jnp.bfloat16),  # noqa: B008
    sample_size: int = 64,
    **options: Any,
) -> ReducedPrecisionGram:
    """The Gram matrix with faster, coarser products, and its error on a sample.

    Args:
      apply_fn: Function of parameters and a batch of inputs to a batch of outputs.
      params: Parameters of the network.
      rows: Inputs, one per row, or `Points(x, y)`.
      matmul_precision: Precision of the products: by default, operands are rounded to
        bfloat16 and their products summed in float32. Another is
        `MatmulPrecision(precision=jax.lax.DotAlgorithmPreset.TF32_TF32_F32_X3)`.
      sample_size: Number of evenly spaced rows whose products are computed in full as
        well.
      **options: Further arguments of `gram`.

    Returns:
      The matrix and its error.

    Raises:
      ValueError: If `sample_size` is not positive, or as for `gram`.

    Example:
      >>> linear = lambda w, x: x @ w
      >>> x = jnp.array([[1.0, 1.0 + 1e-3], [3.0, 4.0]])
      >>> out = gram_reduced_precision(
      ...     linear, jnp.ones((2, 1)), x, readout=_readouts.single_output
      ... )
      >>> 0 < out.error < 1e-2
      True
    """
    check(sample_size >= 1, f"sample_size must be at least 1; got {sample_size}.")
    coarse = gram(apply_fn, params, rows, matmul_precision=matmul_precision, **options)
    x, y = row_blocks.inputs_and_targets(rows)
    where = np.unique(np.linspace(0, len(x) - 1, min(sample_size, len(x))).astype(int))
    few = x[where] if y is None else Points(x[where], y[where])
    exact = np.asarray(gram(apply_fn, params, few, **options), np.float64)
    scale = np.sqrt(np.diagonal(exact))
    error = np.abs(np.asarray(coarse[where[:, None], where[None, :]]) - exact)
    relative = error / np.maximum(np.outer(scale, scale), np.finfo(float).tiny)
    sample = tuple(int(i) for i in where)
    return ReducedPrecisionGram(gram=coarse, error=float(relative.max()), sample=sample)
