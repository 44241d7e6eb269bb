"""Convolutions as matrix products, which is what a CPU is good at.

XLA's CPU backend runs a convolution inside a loop, or one whose kernels are vmapped,
on one thread and without blocking: 10 to 20 times slower than the matrix product of
its unfolded patches (docs/design/0007-training.md has the measurements). On a GPU or
TPU there is nothing to gain.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jaxtyping import Array

__all__ = ["as_matrix_products"]


def as_matrix_products(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn` with its convolutions computed as matrix products of patches.

    The function is traced, and its program interpreted with the rule for one
    primitive replaced; whatever else happens in it stays as it is, custom derivatives
    included. Grouped, batch-grouped and transposed convolutions are left alone.

    Args:
      fn: Function of arrays and pytrees of arrays.

    Example:
      >>> x, kernel = jnp.arange(5.0).reshape(1, 5, 1), jnp.ones((3, 1, 1))
      >>> conv = lambda x, k: jax.lax.conv_general_dilated(
      ...     x, k, (1,), "VALID", dimension_numbers=("NWC", "WIO", "NWC")
      ... )
      >>> as_matrix_products(conv)(x, kernel).ravel().tolist()
      [3.0, 6.0, 9.0]
    """

    return _AsMatrixProducts(fn)


@dataclasses.dataclass(frozen=True)
class _AsMatrixProducts:
    # Equal functions give equal transforms, and so one compiled program.
    fn: Callable[..., Any]

    def __call__(self, *args):
        leaves, treedef = jax.tree.flatten(args)

        def flat(*leaves):
            return self.fn(*jax.tree.unflatten(treedef, leaves))

        program, shapes = jax.make_jaxpr(flat, return_shape=True)(*leaves)
        outputs = _interpret(program.jaxpr, program.consts, leaves)
        return jax.tree.unflatten(jax.tree.structure(shapes), outputs)


def _interpret(jaxpr, consts, args):
    values: dict[Any, Any] = {}

    def read(atom):
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    values.update(zip(jaxpr.constvars, consts, strict=True))
    values.update(zip(jaxpr.invars, args, strict=True))
    for eqn in jaxpr.eqns:
        outputs = _evaluate(eqn, [read(atom) for atom in eqn.invars])
        values.update(zip(eqn.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _evaluate(eqn, args):
    name = eqn.primitive.name
    if name == "conv_general_dilated" and _is_plain(eqn.params):
        return [_unfolded(args[0], args[1], eqn.params)]
    if name in ("jit", "pjit"):
        inner = eqn.params["jaxpr"]
        return _interpret(inner.jaxpr, inner.consts, args)
    params = eqn.primitive.get_bind_params(eqn.params)
    outputs = eqn.primitive.bind(*args, **params)
    return outputs if eqn.primitive.multiple_results else [outputs]


def _is_plain(params):
    return (
        params["feature_group_count"] == 1
        and params["batch_group_count"] == 1
        and all(d == 1 for d in params["lhs_dilation"])
    )


def _unfolded(x, kernel, params) -> Array:
    x_axes, kernel_axes, out_axes = params["dimension_numbers"]
    x = jnp.transpose(x, (x_axes[0], *x_axes[2:], x_axes[1]))
    # To (window..., in, out), whatever the order it came in.
    kernel = jnp.transpose(kernel, (*kernel_axes[2:], kernel_axes[1], kernel_axes[0]))
    window = kernel.shape[:-2]
    edges = [(low, high, 0) for low, high in params["padding"]]
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])
    patches = _patches(x, window, params["window_strides"], params["rhs_dilation"])
    fan_in = math.prod(kernel.shape[:-1])
    out = jnp.matmul(
        patches.reshape(-1, fan_in),
        kernel.reshape(fan_in, -1),
        precision=params["precision"] and params["precision"][0],
        preferred_element_type=params["preferred_element_type"],
    )
    out = out.reshape(*patches.shape[: 1 + len(window)], -1)
    places = (out_axes[0], *out_axes[2:], out_axes[1])
    return jnp.transpose(out, [places.index(axis) for axis in range(out.ndim)])


def _patches(x, window, strides, dilation):
    # (n, out..., window size, channels): one slice for each offset inside the window.
    slices = []
    for offset in np.ndindex(*window):
        start = [o * d for o, d in zip(offset, dilation, strict=True)]
        spans = [(w - 1) * d + 1 for w, d in zip(window, dilation, strict=True)]
        stop = [
            s + (size - span) + 1
            for s, size, span in zip(start, x.shape[1:-1], spans, strict=True)
        ]
        slices.append(
            jax.lax.slice(
                x,
                (0, *start, 0),
                (x.shape[0], *stop, x.shape[-1]),
                (1, *strides, 1),
            )
        )
    return jnp.stack(slices, axis=-2)
