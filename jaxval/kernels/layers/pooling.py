"""Maximum pooling whose gradient is made of comparisons.

XLA's own gradient (a select-and-scatter) is a scalar loop on CPUs: about forty times
slower than the pooling itself, and then most of a small network's backward pass. The
same gradient is a sum over the places of the window, each compared with the maximum.
"""

import itertools
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from jaxval.kernels.layers.trace import bind_equation

__all__ = ["bind_pooling_fast", "max_pool"]

_LARGEST = 25
"""Places in a window, beyond which the sum over them is no gain."""


def bind_pooling_fast(eqn: Any, inputs: list[Any]) -> list[Any]:
    """Compute one equation; a maximum pooling in a way that differentiates fast."""
    if eqn.primitive.name != "reduce_window_max":
        return bind_equation(eqn, inputs)
    params = eqn.params
    dilated = any(
        d != 1 for d in (*params["base_dilation"], *params["window_dilation"])
    )
    places = 1
    for size in params["window_dimensions"]:
        places *= size
    real = jnp.issubdtype(inputs[0].dtype, jnp.floating)
    if dilated or places > _LARGEST or not real:
        return bind_equation(eqn, inputs)
    args = params["window_dimensions"], params["window_strides"], params["padding"]
    return [max_pool(inputs[0], *args)]


def max_pool(x: Array, window: Any, strides: Any, padding: Any) -> Array:
    """The maximum over windows; of equal entries the first has the gradient.

    Args:
      x: Array of floating-point numbers.
      window: Size of the window along each axis.
      strides: Steps of the window along each axis.
      padding: Entries of minus infinity before and after each axis.

    Example:
      >>> max_pool(jnp.array([1.0, 3.0, 2.0, 2.0]), (2,), (2,), ((0, 0),)).tolist()
      [3.0, 2.0]
    """
    lowest = jnp.asarray(-jnp.inf, x.dtype)
    x = lax.pad(x, lowest, [(low, high, 0) for low, high in padding])
    steps = [(n - w) // s for n, w, s in zip(x.shape, window, strides, strict=True)]
    views = [
        lax.slice(
            x,
            first,
            [f + n * s + 1 for f, n, s in zip(first, steps, strides, strict=True)],
            strides,
        )
        for first in itertools.product(*map(range, window))
    ]
    largest = views[0]
    for view in views[1:]:
        largest = lax.max(largest, view)
    largest = lax.stop_gradient(largest)
    out = jnp.zeros_like(largest)
    taken = jnp.zeros(largest.shape, bool)
    for view in views:
        # A NaN equals nothing, and must not vanish.
        here = ((view == largest) | jnp.isnan(largest)) & ~taken
        out = out + jnp.where(here, view, 0)
        taken = taken | here
    return jnp.where(jnp.isnan(largest), jnp.nan, out)
