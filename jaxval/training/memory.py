"""How much memory a training run takes, before anything is run."""

import math
from typing import Any

import jax
import jax.numpy as jnp

from jaxval.training.network import Network, Variables
from jaxval.training.run import Recipe

__all__ = ["run_bytes"]


def run_bytes(
    network: Network,
    recipe: Recipe,
    x: Any,
    y: Any,
    *,
    eval_rows: int = 256,
) -> int:
    """An upper bound of the bytes one training run needs beside its data.

    The program of one step, and of the outputs for one block of validation rows, is
    traced, and the sizes of all that it computes are added up, as if no buffer were
    used twice. Parameters and the optimiser's slots count twice, for the old and the
    new ones.

    Args:
      network: Network to train.
      recipe: Optimiser, loss and minibatch.
      x: Inputs (or their shapes) of the whole data set.
      y: Targets (or their shapes).
      eval_rows: Validation rows predicted at once.

    Example:
      >>> from jaxval import models
      >>> from jaxval.training import from_module
      >>> x = jax.numpy.zeros((500, 8, 8, 1))
      >>> network = from_module(models.cnn(), x)
      >>> 10**6 < run_bytes(network, Recipe(), x, jax.numpy.zeros(500, int)) < 10**8
      True
    """
    batch = min(recipe.batch_size or x.shape[0], x.shape[0])
    variables = jax.eval_shape(network.init, jax.random.key(0))
    slots = jax.eval_shape(recipe.optimizer.init, variables.params)

    def step(params, state, x, y):
        outputs, state = network.train(Variables(params, state), x, jnp.ones(len(y)))
        return recipe.loss(outputs, y).mean(), state

    gradient = jax.make_jaxpr(jax.grad(step, has_aux=True))(
        variables.params, variables.state, _rows(x, batch), _rows(y, batch)
    )
    outputs = jax.make_jaxpr(network.apply)(variables, _rows(x, eval_rows))
    held = 2 * sum(_bytes(leaf) for leaf in jax.tree.leaves((variables, slots)))
    return held + max(_computed(gradient.jaxpr), _computed(outputs.jaxpr))


def _rows(a, n):
    return jax.ShapeDtypeStruct((n, *a.shape[1:]), a.dtype)


def _computed(jaxpr) -> int:
    total = 0
    for eqn in jaxpr.eqns:
        inner = eqn.params.get("jaxpr")
        inner = getattr(inner, "jaxpr", inner)
        if eqn.primitive.name in ("jit", "pjit"):
            total += _computed(inner)
        else:
            total += sum(_bytes(var.aval) for var in eqn.outvars)
    return total


def _bytes(array: Any) -> int:
    return math.prod(array.shape) * array.dtype.itemsize
