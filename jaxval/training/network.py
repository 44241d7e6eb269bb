"""What a training run asks of a network: three pure functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from jaxval.types import ApplyFn, Params, PRNGKey

__all__ = ["Network", "Variables", "predict", "stateless"]


class Variables(NamedTuple):
    """What a network knows: parameters, which learn, and state, which is carried.

    Attributes:
      params: a pytree that the optimiser changes.
      state: a pytree of running statistics (batch norm); empty for most networks.
    """

    params: Params
    state: Any = ()


class Network(NamedTuple):
    """A network that can be trained, as functions of its variables.

    Attributes:
      init: `init(key) -> Variables`.
      train: `train(variables, x, weights) -> (outputs, state)`; `weights` are 1 for
        the rows that count and 0 for those that only fill the batch up, which must
        leave outputs of the others and the state as if they weren't there.
      apply: `apply(variables, x) -> outputs`, for use after training.

    Example:
      >>> linear = stateless(lambda key: jnp.ones((2, 1)), lambda p, x: x @ p)
      >>> linear.apply(linear.init(jax.random.key(0)), jnp.array([[1.0, 2.0]])).item()
      3.0
    """

    init: Callable[[PRNGKey], Variables]
    train: Callable[[Variables, Array, Array], tuple[Array, Any]]
    apply: Callable[[Variables, Array], Array]


def stateless(init: Callable[[PRNGKey], Params], apply_fn: ApplyFn) -> Network:
    """A network without batch norm: the same function in training and after.

    Args:
      init: `init(key) -> params`.
      apply_fn: `apply_fn(params, x) -> outputs`.
    """
    return Network(
        init=lambda key: Variables(init(key)),
        train=lambda variables, x, weights: (apply_fn(variables.params, x), ()),
        apply=lambda variables, x: apply_fn(variables.params, x),
    )


def predict(
    network: Network,
    variables: Variables,
    x: Num[Array, "n ..."],
    block_size: int = 256,
) -> Float[Array, "n outputs"]:
    """Outputs for `x`, a block of rows at a time so that memory stays bounded."""
    rows = x.shape[0]
    blocks = -(-rows // block_size)
    if blocks <= 1:
        return network.apply(variables, x)
    size = -(-rows // blocks)
    index = jnp.minimum(jnp.arange(blocks * size), rows - 1)
    outputs = jax.lax.map(
        lambda i: network.apply(variables, x[i]), index.reshape(blocks, size)
    )
    return outputs.reshape(blocks * size, -1)[:rows]
