"""What foretells a leave-one-out value: each method as a function of one key."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float

from jaxval import models
from jaxval.experiments import untrained
from jaxval.experiments.ground_truth import Dealt
from jaxval.games import davinz, size, volume
from jaxval.games import influence as influences
from jaxval.kernels import readouts, tangent
from jaxval.semivalues import exact
from jaxval.training import (
    Recipe,
    as_matrix_products,
    cross_entropy,
    from_module,
    on_cpu,
    train,
)
from jaxval.types import Game, PRNGKey

__all__ = ["METHODS"]

Values = Float[np.ndarray, " players"]
Method = Callable[[PRNGKey, Dealt, Any], Values]


def _leave_one_out(game: Game) -> Values:
    return np.asarray(exact.leave_one_out(game).values)


def _davinz(settings: davinz.Settings, part: str = "game") -> Method:
    """DAVINZ, or a part of it, under the paper's or the released code's settings."""

    def values(key, split, config):
        built = models.NTK if settings.init == "ntk" else models.PYTORCH
        module = models.cnn(width=config.width, parametrisation=built)
        apply_fn = models.apply_fn(module)
        params = models.init(key, module, split.data.x)
        own = settings.readout == "own_logit"
        gram = tangent.gram(
            apply_fn,
            params,
            split.data.x,
            split.data.y if own else None,
            readout=readouts.own_logit if own else readouts.trace(10),
        )
        outputs = jax.jit(apply_fn)(params, split.data.x)
        game = davinz.from_settings(settings, gram, outputs, split.data, split.x_valid)
        # Both parts are costs: a contributor is worth what they rise by without it.
        return _leave_one_out(game.game if part == "game" else -getattr(game, part))

    return values


def _discrepancy(key, split, config):
    sums = untrained.similarity(split.data, split.x_valid)
    return _leave_one_out(-davinz.discrepancy(sums))


def _kernel_regression(key, split, config):
    game = untrained.kernel_regression_game(
        key,
        models.cnn(width=config.width),
        split.data,
        split.x_valid,
        split.y_valid,
        ridge=1e-3,
    )
    return _leave_one_out(game)


def _size(key, split, config):
    return _leave_one_out(size.size(split.data.owner))


def _random(key, split, config):
    return np.asarray(jax.random.normal(key, (split.data.num_owners,)))


# One compiled program for all keys, which is why network and recipe are made alike.
_fit = jax.jit(train, static_argnums=(1, 6))


@functools.cache
def _recipe(epochs: int) -> Recipe:
    return Recipe(optimizer=optax.adam(1e-3), batch_size=32, epochs=epochs)


def _trained(key, split, config):
    network = on_cpu(from_module(models.cnn(width=config.width), split.data.x))
    init_key, order_key = jax.random.split(key)
    x, y = jnp.asarray(split.data.x), jnp.asarray(split.data.y)
    everybody, start = jnp.ones(len(y), bool), network.init(init_key)
    recipe = _recipe(config.epochs)
    return _fit(order_key, network, start, x, y, everybody, recipe).variables.params


def _influence(key, split, config):
    params = _trained(key, split, config)
    each = influences.influences(
        as_matrix_products(models.apply_fn(models.cnn(width=config.width))),
        params,
        lambda outputs, y: cross_entropy(outputs[None], y[None])[0],
        split.data,
        split.x_valid,
        split.y_valid,
        damping=0.01,
        inverse=influences.conjugate_gradient(max_steps=20),
    )
    return influences.influence(each, split.data.owner)


def _robust_volume(key, split, config):
    apply_fn = jax.jit(models.apply_fn(models.cnn(width=config.width)))
    outputs = apply_fn(_trained(key, split, config), split.data.x)
    features = volume.standardise(np.asarray(outputs))
    return _leave_one_out(volume.robust_volume(features, split.data.owner))


_PAPER = dataclasses.replace(davinz.PAPER, readout="trace")

METHODS: dict[str, Method] = {
    "DAVINZ, paper's settings": _davinz(_PAPER),
    "DAVINZ, released code's": _davinz(davinz.RELEASED_CODE),
    "complexity alone, paper's": _davinz(_PAPER, "complexity"),
    "complexity alone, code's": _davinz(davinz.RELEASED_CODE, "complexity"),
    "discrepancy alone": _discrepancy,
    "kernel regression, NTK": _kernel_regression,
    "influence functions": _influence,
    "robust volume": _robust_volume,
    "size": _size,
    "random": _random,
}
"""The methods by the names that the table gives them."""
