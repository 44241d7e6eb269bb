r"""The finite-width kernel through `neural_tangents.empirical_ntk_fn`.

A second opinion on `kernels.tangent.gram`, written by others, and the peer that its
speed is measured against. An optional extra: `pip install 'jaxval[neural-tangents]'`.
"""

import enum
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float, Num

from jaxval._checks import check
from jaxval.execution.options import Execution
from jaxval.kernels import readouts as _readouts
from jaxval.kernels import row_blocks
from jaxval.kernels.gradient_engine import real_leaves
from jaxval.kernels.neural_tangents import _package as _neural_tangents
from jaxval.kernels.readouts import Readout
from jaxval.types import AnyArray, ApplyFn, Params, Points

__all__ = ["Implementation", "gram"]


class Implementation(enum.IntEnum):
    """Algorithms of neural-tangents, numbered as there."""

    AUTO = 0
    """Not usable on current JAX: needs the cost analysis of JAX 0.4."""
    JACOBIAN_CONTRACTION = 1
    """Per-sample Jacobians, contracted: its default."""
    NTK_VECTOR_PRODUCTS = 2
    """Products with the kernel, one per output; little memory."""
    STRUCTURED_DERIVATIVES = 3
    """Not usable on current JAX: interprets the jaxprs of JAX 0.4."""


def gram(
    apply_fn: ApplyFn,
    params: Params,
    rows: Num[AnyArray, "n ..."] | Points,
    columns: Num[AnyArray, "m ..."] | Points | None = None,
    *,
    readout: Readout = _readouts.true_class_logit,
    execution: Execution = Execution(),  # noqa: B008
    implementation: Implementation | int = Implementation.JACOBIAN_CONTRACTION,
) -> Float[Array, "n m"]:
    r"""The empirical NTK of a readout, computed by neural-tangents.

    Args:
      apply_fn: Function of parameters and a batch of inputs to a batch of outputs.
      params: Parameters of the network; a complex leaf counts as its real and its
        imaginary part, leaves of other kinds are left alone.
      rows: Inputs, one per row, or `Points(x, y)`.
      columns: Other inputs, for a rectangular matrix; the rows when `None`.
      readout: Scalar whose gradients are compared; see `jaxval.kernels.readouts`.
      execution: Samples worked on at once (`batch_size`; all when `None`), and
        `progress`, called with (tiles done, tiles in all). The package bounds no
        memory and knows no mesh.
      implementation: `JACOBIAN_CONTRACTION` or `NTK_VECTOR_PRODUCTS`.

    Returns:
      One row for each input in `x`, one column for each in `columns` (or in `rows`).

    Raises:
      ImportError: If neural-tangents is not installed.
      ValueError: If the implementation does not run on current JAX, or `rows` is no
        array.

    Example:
      >>> linear = lambda w, x: x @ w
      >>> gram(
      ...     linear, jnp.ones((2, 1)), jnp.eye(2), implementation=Implementation.AUTO
      ... )  # doctest: +IGNORE_EXCEPTION_DETAIL
      Traceback (most recent call last):
      ValueError: implementation AUTO of neural-tangents does not run

    References:
      Novak, Sohl-Dickstein and Schoenholz, *Fast finite width neural tangent kernel*,
      2022.
    """
    check(
        implementation in _USABLE,
        f"implementation {implementation!r} of neural-tangents 0.6.5 does not run on "
        f"jax {jax.__version__}; choose Implementation.JACOBIAN_CONTRACTION or "
        "Implementation.NTK_VECTOR_PRODUCTS (or kernels.tangent.gram, which is faster "
        "than either).",
    )
    _neural_tangents.load()
    left = row_blocks.inputs_and_targets(rows)
    right = None if columns is None else row_blocks.inputs_and_targets(columns)
    row_blocks.check_same_features(left, right)
    readouts = tuple(Partial(r) for r in _readouts.as_tuple(readout))
    contract = functools.partial(
        _tile, Partial(apply_fn), params, readouts, int(implementation)
    )
    longest = max(len(left[0]), 0 if right is None else len(right[0]))
    with _neural_tangents.quietly():
        return row_blocks.gram(
            lambda x, y: (x, y),
            contract,
            left,
            right,
            block_size=execution.batch_size or longest,
            progress=execution.progress,
        )


_USABLE = (Implementation.JACOBIAN_CONTRACTION, Implementation.NTK_VECTOR_PRODUCTS)


@functools.partial(jax.jit, static_argnums=3)
def _tile(network, params, readouts, implementation, left, right) -> Any:
    tangents = _neural_tangents.load()
    leaves, rebuild = real_leaves(params)

    def read(leaves, rows):
        x, y = rows
        outputs = network(rebuild(leaves), x)
        return jnp.stack([jax.vmap(r)(outputs, y) for r in readouts], axis=1)

    kernel_fn = tangents.empirical_ntk_fn(
        read,
        # The mean over the last axis of the diagonal: what a tuple of readouts means.
        trace_axes=(-1,),
        vmap_axes=0,
        implementation=tangents.NtkImplementation(implementation),
    )
    with jax.default_matmul_precision("highest"):
        return kernel_fn(left, right, leaves)
