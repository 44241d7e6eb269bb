"""From a Flax Linen module to pure functions of parameters, state and inputs."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from jaxval._checks import check
from jaxval.models.layers import Weight
from jaxval.types import ApplyFn, PRNGKey

__all__ = [
    "StatefulApplyFn",
    "apply_fn",
    "apply_with_state",
    "headless",
    "init",
    "init_with_state",
    "num_weights",
]

StatefulApplyFn = Callable[..., tuple[Float[Array, "n out"], dict[str, Any]]]
"""A network with state: `(params, state, x, train, weight)` to `(outputs, state)`."""


def init(key: PRNGKey, module: nn.Module, x_example: Any) -> Any:
    """Initial parameters of a network without state.

    Args:
      key: PRNG key for the initial parameters.
      module: Flax Linen module, one of the library's or any other.
      x_example: Batch of inputs, of which the shape after the first axis and the dtype
        matter.

    Returns:
      Parameters, the `"params"` of `module`.

    Raises:
      ValueError: If the module has state besides its parameters (batch norm).

    Example:
      >>> from jaxval import models
      >>> x = jax.numpy.zeros((5, 8, 8, 1))
      >>> params = init(jax.random.key(0), models.cnn(), x)
      >>> apply_fn(models.cnn())(params, x).shape
      (5, 10)
    """
    params, state = init_with_state(key, module, x_example)
    check(not state, _STATEFUL.format(sorted(state)))
    return params


def init_with_state(
    key: PRNGKey, module: nn.Module, x_example: Any
) -> tuple[Any, dict[str, Any]]:
    """Initial parameters and state (running statistics of batch norm; often empty).

    Args:
      key: PRNG key for the initial parameters.
      module: Flax Linen module, one of the library's or any other.
      x_example: Batch of inputs, of which the shape after the first axis and the dtype
        matter.

    Returns:
      Parameters, and the module's other collections by name.

    Example:
      >>> from jaxval import models
      >>> net, x = models.mlp([8], norm=True), jax.numpy.ones((4, 3))
      >>> params, state = init_with_state(jax.random.key(0), net, x)
      >>> list(state)
      ['batch_stats']
    """
    example = jax.ShapeDtypeStruct((1, *x_example.shape[1:]), x_example.dtype)
    variables = module.lazy_init(key, example)
    return variables["params"], {k: v for k, v in variables.items() if k != "params"}


def apply_fn(module: nn.Module) -> ApplyFn:
    """The network as a pure function `(params, x) -> outputs`, without state.

    Equal modules give equal (hashable) functions, so that a program compiled for one
    is found again for the other. The result keeps the module as its attribute `module`.

    Args:
      module: Flax Linen module without state.

    Raises:
      ValueError: When it is called, if the module needs state (batch norm).

    Example:
      >>> from jaxval import models
      >>> apply_fn(models.cnn()) == apply_fn(models.cnn())
      True
    """
    return _Apply(module)


@dataclasses.dataclass(frozen=True)
class _Apply:
    module: nn.Module

    def __call__(
        self, params: Any, x: Num[Array, "n ..."] | Num[np.ndarray, "n ..."]
    ) -> Float[Array, "n out"]:
        check(not getattr(self.module, "norm", False), _STATEFUL.format("batch_stats"))
        outputs: Any = self.module.apply({"params": params}, jnp.asarray(x))
        return outputs


def apply_with_state(module: nn.Module) -> StatefulApplyFn:
    """The network as a pure function of parameters *and state*.

    It maps `(params, state, x, train, weight)` to `(outputs, state)`. `train` is
    whether to normalise by the batch, and to gather its statistics into the new state;
    `weight`, of each sample or `None`, is zero for absent ones, which then have exactly
    no influence on the others (see `BatchNorm`). Modules that know neither argument
    are called without.

    Args:
      module: Flax Linen module, with or without state.

    Raises:
      ValueError: When it is called with a `weight`, if the module has state but can't
        take a `weight`.

    Example:
      >>> from jaxval import models
      >>> net, x = models.mlp([8], 10, norm=True), jax.numpy.ones((4, 3))
      >>> params, state = init_with_state(jax.random.key(0), net, x)
      >>> present = jax.numpy.array([True, True, False, False])
      >>> outputs, state = apply_with_state(net)(params, state, x, True, present)
      >>> outputs.shape
      (4, 10)
    """
    return _ApplyWithState(module)


@dataclasses.dataclass(frozen=True)
class _ApplyWithState:
    module: nn.Module

    def __call__(
        self,
        params: Any,
        state: dict[str, Any],
        x: Num[Array, "n ..."],
        train: bool = False,
        weight: Weight | None = None,
    ) -> tuple[Float[Array, "n out"], dict[str, Any]]:
        accepted = inspect.signature(type(self.module).__call__).parameters
        check(
            weight is None or not state or "weight" in accepted,
            f"{type(self.module).__name__} has state but takes no `weight`: absent "
            "samples would leak into it. Use models.BatchNorm, and pass weight on.",
        )
        options: dict[str, Any] = {"train": train, "weight": weight}
        options = {name: value for name, value in options.items() if name in accepted}
        variables = {"params": params, **state}
        if not (train and state):
            result: Any = self.module.apply(variables, x, **options)
            return result, state
        outputs, changed = self.module.apply(
            variables, x, **options, mutable=list(state)
        )
        return outputs, {**state, **changed}


def headless(module: nn.Module) -> nn.Module:
    """The network up to its last hidden layer, reading the same parameters: features.

    Args:
      module: Flax Linen module with an attribute `num_outputs`, as the library's have.

    Raises:
      ValueError: If the module has no `num_outputs`.

    Example:
      >>> from jaxval import models
      >>> net, x = models.cnn(), jax.numpy.ones((4, 8, 8, 1))
      >>> params = init(jax.random.key(0), net, x)
      >>> apply_fn(headless(net))(params, x).shape
      (4, 128)
    """
    check(
        hasattr(module, "num_outputs"),
        f"module must have a num_outputs to leave out; got {type(module).__name__}.",
    )
    return module.clone(num_outputs=None)


def num_weights(params: Any) -> int:
    """How many numbers the parameters hold.

    Args:
      params: Parameters, a pytree of arrays.

    Example:
      >>> num_weights({"a": jax.numpy.ones((2, 3)), "b": jax.numpy.ones(4)})
      10
    """
    return sum(leaf.size for leaf in jax.tree.leaves(params))


_STATEFUL = (
    "the module has state besides its parameters ({}): use models.init_with_state and "
    "models.apply_with_state, or norm=False for a tangent kernel."
)
