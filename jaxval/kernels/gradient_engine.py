r"""The gradient engine: $\Theta_{ij} = \langle g_i, g_j\rangle$ from the gradients.

It takes any pure network, assumes nothing about its layers, and is what the layer
engine is held against. It stores the gradients of two blocks of rows at a time.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Num

from jaxval.kernels import readouts as _readouts
from jaxval.kernels import row_blocks
from jaxval.kernels.readouts import Readout
from jaxval.types import ApplyFn, Params

__all__ = ["gram", "gradients"]


def gradients(
    apply_fn: ApplyFn,
    params: Params,
    x: Num[Array, "n ..."] | Num[np.ndarray, "n ..."],
    y: Num[Array, "n ..."] | Num[np.ndarray, "n ..."] | None = None,
    *,
    readout: Readout = _readouts.own_logit,
) -> list[Float[Array, "n ..."]]:
    r"""Per-sample gradients of the readout, one array of `(n, size)` a leaf.

    A sample is passed through the network alone, as a batch of one. Several readouts
    lie side by side, over the root of their number, so that in every case
    $\Theta_{ij}$ is the sum over arrays of the products of rows $i$ and $j$.

    Args:
      apply_fn: parameters and a batch of inputs to a batch of outputs.
      params: the parameters; leaves that are not real numbers are left alone.
      x: inputs, one a row.
      y: targets, one a row; `None` where the readout asks for none.
      readout: see `jaxval.kernels.readouts`.
    """
    leaves, rebuild = float_leaves(params)
    functions = _readouts.as_tuple(readout)

    def one(xi, yi):
        run = lambda leaves: apply_fn(rebuild(leaves), xi[None])[0]
        outputs, pull = jax.vjp(run, leaves)
        (grads,) = jax.vmap(pull)(_readouts.seeds(functions, outputs, yi))
        return [jnp.ravel(g) for g in grads]

    return jax.vmap(one)(x, y)


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
) -> Float[Array, "n m"]:
    """The empirical NTK from explicit gradients, two blocks of rows at a time.

    Args:
      apply_fn: parameters and a batch of inputs to a batch of outputs.
      params: the parameters.
      x: inputs, one a row.
      y: targets, one a row.
      x_other: other inputs, for a rectangular matrix.
      y_other: their targets.
      readout: see `jaxval.kernels.readouts`.
      block_size: rows whose gradients are held; two blocks of `block_size` times the
        number of parameters are the memory it takes. All rows when left out.
      progress: called with (tiles done, tiles in all).

    Returns:
      One row for each input in `x`, one column for each in `x_other` (or in `x`).

    Example:
      >>> linear = lambda w, x: x @ w
      >>> x = jnp.array([[1.0, 2.0], [3.0, 4.0]])
      >>> gram(linear, jnp.ones((2, 1)), x, readout=_readouts.only).tolist()
      [[5.0, 11.0], [11.0, 25.0]]
    """
    functions = tuple(Partial(r) for r in _readouts.as_tuple(readout))
    network = Partial(apply_fn)
    represent = lambda x, y: _gradients(network, params, functions, x, y)
    return row_blocks.gram(
        represent,
        _contract,
        (x, y),
        None if x_other is None else (x_other, y_other),
        block_size=block_size or max(len(x), 1 if x_other is None else len(x_other)),
        progress=progress,
    )


def float_leaves(params: Params) -> tuple[list[Array], Callable[[list[Array]], Params]]:
    """The leaves that have gradients, and the way back to the whole tree."""
    leaves, tree = jax.tree.flatten(params)
    has_gradient = [jnp.issubdtype(jnp.result_type(p), jnp.floating) for p in leaves]

    def rebuild(inner: list[Any]) -> Params:
        rest = iter(inner)
        mixed = [
            next(rest) if h else p for h, p in zip(has_gradient, leaves, strict=True)
        ]
        return jax.tree.unflatten(tree, mixed)

    inner = [jnp.asarray(p) for h, p in zip(has_gradient, leaves, strict=True) if h]
    return inner, rebuild


@jax.jit
def _gradients(network, params, functions, x, y):
    return gradients(network, params, x, y, readout=functions)


@jax.jit
def _contract(left, right):
    return sum(row_blocks.inner(a, b) for a, b in zip(left, right, strict=True))
