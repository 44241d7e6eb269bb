"""One record that Linen modules, NNX modules and plain functions are turned into.

What is written against `Network` knows no network library: games at initialisation ask
for parameters and outputs, and nothing else.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from jaxval._checks import check
from jaxval.models import functions
from jaxval.types import ApplyFn, Params, PRNGKey

__all__ = ["Network", "as_network", "fixed", "is_linen"]


@dataclasses.dataclass(frozen=True)
class Network:
    """A network as two pure functions.

    Equal functions give equal networks, so that what is compiled for one is found again
    for the other.

    Attributes:
      init: `init(key, x) -> params`; of `x`, a batch of inputs, only the shape after
        the first axis and the dtype matter.
      apply: `apply(params, x) -> outputs`, one row of outputs per sample.

    Example:
      >>> x = jax.numpy.ones((3, 2))
      >>> ones = lambda key, x: jax.numpy.ones((x.shape[1], 1))
      >>> linear = Network(ones, lambda params, x: x @ params)
      >>> linear.apply(linear.init(jax.random.key(0), x), x).tolist()
      [[2.0], [2.0], [2.0]]
    """

    init: Callable[[PRNGKey, Any], Params]
    apply: ApplyFn

    def num_outputs(self, params: Params, x: Any) -> int:
        """Outputs per sample, found without computing anything.

        Args:
          params: Parameters, or their shapes.
          x: Batch of inputs, of which only shape and dtype matter.

        Raises:
          ValueError: If the outputs are no matrix.
        """
        row = jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype)
        shape = jax.eval_shape(self.apply, params, row).shape
        check(
            len(shape) == 2,
            f"the network must give one row of outputs per sample; got shape {shape} "
            "for one sample. Flatten its outputs.",
        )
        return shape[1]


def fixed(apply_fn: ApplyFn, params: Params) -> Network:
    """A network whose parameters are given: every key draws the same ones.

    Args:
      apply_fn: `apply_fn(params, x) -> outputs`.
      params: Parameters, such as those of a network trained before.

    Example:
      >>> network = fixed(lambda p, x: x * p, 2.0)
      >>> network.init(jax.random.key(3), jax.numpy.ones((1, 1)))
      2.0
    """
    return Network(_Fixed(params), apply_fn)


def as_network(module: Any) -> Network:
    """Any kind of network as the house's record.

    Args:
      module: One of
        a `Network`, which is returned;
        a Flax Linen module (ours or another's) without state;
        a function `rngs -> nnx.Module`, called anew for each key;
        an NNX module, whose parameters are as they are, whatever the key;
        a pair of functions `(init(key, x), apply(params, x))`.

    Raises:
      ValueError: If it is none of these, or has running statistics (batch norm).

    Example:
      >>> from jaxval import models
      >>> network, x = as_network(models.mlp([8], 3)), jax.numpy.ones((5, 2))
      >>> params = network.init(jax.random.key(0), x)
      >>> network.apply(params, x).shape, network.num_outputs(params, x)
      ((5, 3), 3)
    """
    if isinstance(module, Network):
        return module
    if isinstance(module, nn.Module):
        return Network(_LinenInit(module), functions.apply_fn(module))
    if _is_nnx(module):
        graph, params, rest = _split(module)
        return Network(_Fixed(params), _NnxApply(graph, _ById(rest)))
    if isinstance(module, tuple) and len(module) == 2 and all(map(callable, module)):
        return Network(*module)
    good = callable(module) and list(inspect.signature(module).parameters) == ["rngs"]
    check(
        good,
        "network must be a Network, a Flax module, a function `rngs -> nnx.Module`, or "
        f"a pair of functions (init, apply); got {type(module).__name__}.",
    )
    return Network(_NnxInit(module), _NnxMake(module))


def is_linen(module: Any) -> bool:
    """Whether it is a Flax Linen module, which may carry running statistics.

    Args:
      module: Any object.

    Example:
      >>> from jaxval import models
      >>> is_linen(models.cnn()), is_linen(as_network(models.cnn()))
      (True, False)
    """
    return isinstance(module, nn.Module)


def _is_nnx(module: Any) -> bool:
    # Asked of `sys.modules`: who has an NNX module has imported NNX, and the oldest
    # Flax that is supported can't import it under the newest JAX it allows.
    nnx = sys.modules.get("flax.nnx")
    return nnx is not None and isinstance(module, nnx.Module)


@dataclasses.dataclass(frozen=True)
class _LinenInit:
    module: nn.Module

    def __call__(self, key: PRNGKey, x: Any) -> Params:
        return functions.init(key, self.module, x)


class _ById:
    """Arrays that can't be compared: equal to themselves alone."""

    def __init__(self, value: Any):
        self.value = value


class _Fixed:
    def __init__(self, params: Params):
        self.params = params

    def __call__(self, key: PRNGKey, x: Any) -> Params:
        del key, x
        return self.params


@dataclasses.dataclass(frozen=True)
class _NnxApply:
    graph: Any
    rest: _ById

    def __call__(self, params: Params, x: Any) -> Float[Array, "n out"]:
        from flax import nnx

        return nnx.merge(self.graph, params, self.rest.value)(jax.numpy.asarray(x))


@dataclasses.dataclass(frozen=True)
class _NnxInit:
    make: Callable[[Any], Any]

    def __call__(self, key: PRNGKey, x: Any) -> Params:
        from flax import nnx

        del x
        return _split(self.make(nnx.Rngs(key)))[1]


@dataclasses.dataclass(frozen=True)
class _NnxMake:
    make: Callable[[Any], Any]

    def __call__(self, params: Params, x: Any) -> Float[Array, "n out"]:
        from flax import nnx

        # What is no parameter (random streams of a dropout that is off) plays no part.
        graph, _, rest = _split(self.make(nnx.Rngs(0)))
        return nnx.merge(graph, params, rest)(jax.numpy.asarray(x))


def _split(module):
    """Graph, parameters and the rest of an NNX module in evaluation mode."""
    from flax import nnx

    module = nnx.clone(module)
    module.eval()
    graph, params, statistics, rest = nnx.split(module, nnx.Param, nnx.BatchStat, ...)
    check(
        not jax.tree.leaves(statistics),
        "the network has running statistics (batch norm), which a network at "
        "initialisation has not gathered: leave the normalisation out.",
    )
    return graph, nnx.to_pure_dict(params), rest
