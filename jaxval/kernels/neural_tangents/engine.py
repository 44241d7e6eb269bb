r"""The finite-width kernel through `neural_tangents.empirical_ntk_fn`.

A second opinion on `kernels.tangent.gram`, written by others, and the peer that its
speed is measured against. An optional extra: `pip install 'jaxval[neural-tangents]'`.
"""

import enum
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Num

from jaxval._checks import check
from jaxval.kernels import readouts as _readouts
from jaxval.kernels import row_blocks
from jaxval.kernels.gradient_engine import float_leaves
from jaxval.kernels.neural_tangents import _package as _neural_tangents
from jaxval.kernels.readouts import Readout
from jaxval.types import ApplyFn, Params

__all__ = ["Implementation", "gram"]


class Implementation(enum.IntEnum):
    """Algorithms of neural-tangents, numbered as there."""

    AUTO = 0
    """Not usable on current JAX: needs the cost analysis of JAX 0.4."""
    JACOBIAN_CONTRACTION = 1
    """Per-sample Jacobians, contracted: its default."""
    NTK_VECTOR_PRODUCTS = 2
    """Products with the kernel, one an output; little memory."""
    STRUCTURED_DERIVATIVES = 3
    """Not usable on current JAX: interprets the jaxprs of JAX 0.4."""


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
    progress: Callable[[int, int], None] | None = None,
    implementation: Implementation | int = Implementation.JACOBIAN_CONTRACTION,
) -> Float[Array, "n m"]:
    r"""The empirical NTK of a readout, computed by neural-tangents.

    Args:
      apply_fn: parameters and a batch of inputs to a batch of outputs.
      params: the parameters; leaves that are not real numbers are left alone.
      x: inputs, one a row.
      y: targets, one a row; `None` where the readout asks for none.
      x_other: other inputs, for a rectangular matrix.
      y_other: their targets.
      readout: see `jaxval.kernels.readouts`.
      block_size: samples worked on at once; all when left out.
      progress: called with (tiles done, tiles in all).
      implementation: `JACOBIAN_CONTRACTION` or `NTK_VECTOR_PRODUCTS`.

    Returns:
      One row for each input in `x`, one column for each in `x_other` (or in `x`).

    Raises:
      ImportError: if neural-tangents is not installed.
      ValueError: for an implementation that does not run on current JAX.

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
    readouts = tuple(Partial(r) for r in _readouts.as_tuple(readout))
    contract = functools.partial(
        _tile, Partial(apply_fn), params, readouts, int(implementation)
    )
    with _neural_tangents.quietly():
        return row_blocks.gram(
            lambda x, y: (x, y),
            contract,
            (x, y),
            None if x_other is None else (x_other, y_other),
            block_size=block_size
            or max(len(x), len(x if x_other is None else x_other)),
            progress=progress,
        )


_USABLE = (Implementation.JACOBIAN_CONTRACTION, Implementation.NTK_VECTOR_PRODUCTS)


@functools.partial(jax.jit, static_argnums=3)
def _tile(network, params, readouts, implementation, left, right) -> Any:
    tangents = _neural_tangents.load()
    leaves, rebuild = float_leaves(params)

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
