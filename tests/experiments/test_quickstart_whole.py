"""All 1,023 coalitions of quickstart as it comes, against plain NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxval import models
from jaxval.experiments import quickstart
from jaxval.experiments.parts import deals
from jaxval.kernels.pairwise import median_distance


def deal_of(config):
    key = jax.random.split(jax.random.key(config.seed), 4)[0]
    return deals.one_class_each(key, "digits", config.sizes, config.valid)


def network_of(config):
    return quickstart.network(config.network, config.width, len(config.sizes))


def keys_of(config):
    init_key = jax.random.split(jax.random.key(config.seed), 4)[1]
    return jax.random.split(init_key, config.seeds)


def jacobian_and_outputs(config, key):
    split, module = deal_of(config), network_of(config)
    params = models.init(key, module, split.data.x)
    with jax.enable_x64(True):
        x = jnp.asarray(split.data.x, jnp.float64)
        wide = jax.tree.map(lambda p: jnp.asarray(p, jnp.float64), params)
        weights, unravel = jax.flatten_util.ravel_pytree(wide)
        own = lambda w, xi, yi: models.apply_fn(module)(unravel(w), xi[None])[0, yi]
        both = jax.jit(jax.value_and_grad(own))
        rows = [
            both(weights, xi, yi)
            for xi, yi in zip(x, jnp.asarray(split.data.y), strict=True)
        ]
        return np.array([g for _, g in rows]), np.array([f for f, _ in rows])


def mean_kernels(config):
    split = deal_of(config)
    x = np.asarray(split.data.x, np.float64).reshape(len(split.data.x), -1)
    t = np.asarray(split.valid.x, np.float64).reshape(len(split.valid.x), -1)
    scale = median_distance(split.data.x, split.valid.x)
    bandwidths = scale * np.array([0.25, 0.5, 1.0, 2.0, 4.0])

    def kernel(a, b):
        squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
        return np.mean([np.exp(-squares / (2 * s**2)) for s in bandwidths], axis=0)

    return kernel(x, x), kernel(x, t), kernel(t, t)


@pytest.mark.slow
def test_all_1023_coalitions():
    config = quickstart.Config(seeds=1, check_seeds=2, check_epochs=1)
    table = quickstart.run(config).arrays["davinz"][0]
    (key,) = keys_of(config)
    gradients, outputs = jacobian_and_outputs(config, key)
    theta, left = gradients @ gradients.T, 1.0 - outputs
    h = theta + config.zeta * np.trace(theta) / len(theta) * np.eye(len(theta))
    within, across, target = mean_kernels(config)
    owner = np.asarray(deal_of(config).data.owner)
    complexity, distance = np.zeros(1024), np.zeros(1024)
    for number in range(1, 1024):
        rows = np.flatnonzero((number >> owner) & 1)
        form = left[rows] @ np.linalg.solve(h[np.ix_(rows, rows)], left[rows])
        complexity[number] = np.sqrt(form / len(rows))
        square = within[np.ix_(rows, rows)].mean() - 2 * across[rows].mean()
        distance[number] = np.sqrt(square + target.mean())
    singles = 2 ** np.arange(10)
    kappa = distance[singles].mean() / complexity[singles].mean()
    expected = -kappa * complexity - distance
    error = np.abs(table[1:] - expected[1:]) / np.abs(expected[1:])
    assert error.max() < 1e-5
