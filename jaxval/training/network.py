"""What a training run asks of a network: three pure functions."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from jaxval import models
from jaxval.training.convolution import as_matrix_products
from jaxval.types import ApplyFn, Params, PRNGKey

__all__ = [
    "Network",
    "Variables",
    "from_module",
    "on_cpu",
    "predict",
    "stateless",
]


class Variables(NamedTuple):
    """Parameters of a network, which learn, and its state, which is carried.

    Attributes:
      params: Pytree that the optimiser changes.
      state: Pytree of running statistics (batch norm); empty for most networks.
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

    Equal functions give equal networks, and so one compiled program.

    Args:
      init: Function `init(key) -> params`.
      apply_fn: Function `apply_fn(params, x) -> outputs`.

    Example:
      >>> linear = stateless(lambda key: jnp.ones((2, 1)), lambda p, x: x @ p)
      >>> linear.init(jax.random.key(0)).params.shape
      (2, 1)
    """
    return Network(_PlainInit(init), _PlainTrain(apply_fn), _PlainApply(apply_fn))


def from_module(module: Any, x_example: Any) -> Network:
    """Any kind of network as one that can be trained.

    A Linen module brings its batch norm along; whatever else `models.as_network` takes
    (NNX modules and makers of them, pairs of functions) is the same function in
    training and after. Equal modules give equal networks, so that a program compiled
    for one is found again for the other.

    Args:
      module: Module of `jaxval.models` or another, or what `models.as_network` takes.
      x_example: Batch of inputs, of which only shape and dtype matter.

    Example:
      >>> network = from_module(models.cnn(norm=True), jnp.zeros((1, 8, 8, 1)))
      >>> variables = network.init(jax.random.key(0))
      >>> network.apply(variables, jnp.zeros((5, 8, 8, 1))).shape
      (5, 10)
    """
    shape = (1, *x_example.shape[1:])
    example = _Example(shape, jax.dtypes.canonicalize_dtype(x_example.dtype))
    if not models.is_linen(module):
        network = models.as_network(module)
        return stateless(_InitAt(network, example), network.apply)
    return Network(_Init(module, example), _Train(module), _Apply(module))


@dataclasses.dataclass(frozen=True)
class _PlainInit:
    init: Callable[[PRNGKey], Params]

    def __call__(self, key):
        return Variables(self.init(key))


@dataclasses.dataclass(frozen=True)
class _PlainTrain:
    apply_fn: ApplyFn

    def __call__(self, variables, x, weights):
        return self.apply_fn(variables.params, x), ()


@dataclasses.dataclass(frozen=True)
class _PlainApply:
    apply_fn: ApplyFn

    def __call__(self, variables, x):
        return self.apply_fn(variables.params, x)


class _Example(NamedTuple):
    shape: tuple[int, ...]
    dtype: Any


@dataclasses.dataclass(frozen=True)
class _InitAt:
    network: models.Network
    example: _Example

    def __call__(self, key):
        return self.network.init(key, jax.ShapeDtypeStruct(*self.example))


@dataclasses.dataclass(frozen=True)
class _Init:
    module: Any
    example: _Example

    def __call__(self, key):
        return Variables(*models.init_with_state(key, self.module, self.example))


@dataclasses.dataclass(frozen=True)
class _Train:
    module: Any

    def __call__(self, variables, x, weights):
        run = models.apply_with_state(self.module)
        return run(variables.params, variables.state, x, True, weights)


@dataclasses.dataclass(frozen=True)
class _Apply:
    module: Any

    def __call__(self, variables, x):
        run = models.apply_with_state(self.module)
        return run(variables.params, variables.state, x)[0]


def on_cpu(network: Network) -> Network:
    """The same network with its convolutions as matrix products (many times faster)."""
    return network._replace(
        train=as_matrix_products(network.train),
        apply=as_matrix_products(network.apply),
    )


def predict(
    network: Network,
    variables: Variables,
    x: Num[Array, "n ..."],
    block_size: int = 256,
) -> Float[Array, "n outputs"]:
    """Outputs for `x`, a block of rows at a time so that memory stays bounded.

    Args:
      network: Network to ask.
      variables: Its parameters and state.
      x: Inputs, one per row.
      block_size: Rows at once.

    Example:
      >>> linear = stateless(lambda key: jnp.ones((2, 1)), lambda p, x: x @ p)
      >>> variables = linear.init(jax.random.key(0))
      >>> predict(linear, variables, jnp.eye(2), block_size=1).tolist()
      [[1.0], [1.0]]
    """
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
