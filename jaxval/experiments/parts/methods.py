"""What foretells a leave-one-out value: each method as a function of one key.

A method gives all values that it can from the same work, by the names of the table:
DAVINZ and its complexity share one Gram matrix, and each is charged for all of it.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxval import models
from jaxval.attribution import influence as influences
from jaxval.attribution.solvers import conjugate_gradient
from jaxval.coalitions.game import Game
from jaxval.experiments.parts.truth import Dealt, recipe_of
from jaxval.games import at_initialisation as untrained
from jaxval.games import davinz, size, volume
from jaxval.kernels import readouts, tangent
from jaxval.semivalues import exact
from jaxval.training import (
    as_matrix_products,
    cross_entropy,
    from_module,
    on_cpu,
    train,
)
from jaxval.types import Points, PRNGKey

__all__ = ["METHODS"]

Values = Float[np.ndarray, " players"]
Method = Callable[[PRNGKey, Dealt, Any], dict[str, Values]]


def _leave_one_out(game: Game) -> Values:
    return np.asarray(exact.leave_one_out(game).values)


def _davinz(settings: davinz.Settings, whose: str) -> Method:
    """DAVINZ and its complexity, under the paper's or the released code's settings."""

    def values(key, split, config):
        built = models.NTK if settings.init == "ntk" else models.PYTORCH
        module = models.cnn(width=config.width, parametrisation=built)
        apply_fn = models.apply_fn(module)
        params = models.init(key, module, split.data.x)
        own = settings.readout == "true_class_logit"
        gram = tangent.gram(
            apply_fn,
            params,
            Points(split.data.x, split.data.y) if own else split.data.x,
            readout=readouts.true_class_logit if own else readouts.trace(10),
        )
        outputs = jax.jit(apply_fn)(params, split.data.x)
        game = davinz.from_settings(settings, gram, outputs, split.data, split.x_valid)
        # Complexity is a cost: a contributor is worth what it rises by without it.
        return {
            f"DAVINZ, {whose}": _leave_one_out(game.game),
            f"complexity alone, {whose}": _leave_one_out(-game.complexity),
        }

    return values


def _discrepancy(key, split, config):
    sums = untrained.similarity(split.data, split.x_valid)
    return {"discrepancy alone": _leave_one_out(-davinz.discrepancy(sums))}


def _kernel_regression(key, split, config):
    game = untrained.kernel_regression_game(
        key,
        models.cnn(width=config.width),
        split.data,
        Points(split.x_valid, split.y_valid),
        penalty=1e-3,
    )
    return {"kernel regression, NTK": _leave_one_out(game)}


def _size(key, split, config):
    return {"size": _leave_one_out(size.size(split.data.owner))}


def _random(key, split, config):
    drawn = jax.random.normal(key, (split.data.num_owners,))
    return {"random": np.asarray(drawn)}


# One compiled program for all keys, which is why network and recipe are made alike.
_fit = jax.jit(train, static_argnums=(1, 6))


def _trained(key, split, config):
    network = on_cpu(from_module(models.cnn(width=config.width), split.data.x))
    init_key, order_key = jax.random.split(key)
    x, y = jnp.asarray(split.data.x), jnp.asarray(split.data.y)
    everybody, start = jnp.ones(len(y), bool), network.init(init_key)
    recipe = recipe_of(config.recipe, config.epochs)
    return _fit(order_key, network, start, x, y, everybody, recipe).variables.params


# The Hessian of a network has negative eigenvalues, and with damping of 0.01 or 0.1
# conjugate gradients don't solve for it (0.4 and 0.5 of the gradient left, on digits).
_DAMPING = 1.0


def _influence(key, split, config):
    params = _trained(key, split, config)
    each = influences.influences(
        as_matrix_products(models.apply_fn(models.cnn(width=config.width))),
        params,
        cross_entropy,
        split.data,
        Points(split.x_valid, split.y_valid),
        damping=_DAMPING,
        inverse=conjugate_gradient(max_steps=20),
    )
    return {"influence functions": influences.influence(each, split.data.owner)}


def _robust_volume(key, split, config):
    apply_fn = jax.jit(models.apply_fn(models.cnn(width=config.width)))
    outputs = apply_fn(_trained(key, split, config), split.data.x)
    features = volume.standardise(np.asarray(outputs))
    game = volume.robust_volume(features, split.data.owner)
    return {"robust volume": _leave_one_out(game)}


_PAPER = dataclasses.replace(davinz.PAPER, readout="trace")

METHODS: dict[str, Method] = {
    "davinz-paper": _davinz(_PAPER, "paper's settings"),
    "davinz-code": _davinz(davinz.RELEASED_CODE, "released code's"),
    "discrepancy": _discrepancy,
    "kernel-regression": _kernel_regression,
    "influence": _influence,
    "robust-volume": _robust_volume,
    "size": _size,
    "random": _random,
}
"""The methods by the names under which their values are kept."""
