"""EcoVal's formulas as plain loops over Algorithm 1, and small utilities."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jaxval import Game
from jaxval.execution.precision import float64, in_double


def algorithm_1(v_c, q, d, cluster, alpha=True, beta=True):
    """Lines 9, 10 and 24 to 30, point by point, where every sum is positive."""
    values = []
    for i in range(len(q)):
        members = [j for j in range(len(q)) if cluster[j] == cluster[i]]
        v, n = v_c[cluster[i]], len(members)
        gamma_alpha = (1 + q[i] / sum(q[j] for j in members) * v) / (1 + v / n)
        gamma_beta = (1 + d[i] / sum(d[j] for j in members) * v) / (1 + v / n)
        factor = (gamma_alpha if alpha else 1) + (gamma_beta if beta else 1) - 1
        values.append(v / n * factor)
    return np.array(values)


@in_double
def _nearest_mean(arrays, mask):
    """Accuracy of the nearest class mean: defined for every coalition."""
    x, y, x_valid, y_valid = arrays
    one_hot = (y[:, None] == jnp.arange(2)[None, :]) & mask[:, None]
    size = one_hot.sum(0)
    means = one_hot.T.astype(x.dtype) @ x / jnp.maximum(size, 1)[:, None]
    gaps = ((x_valid[:, None, :] - means[None, :, :]) ** 2).sum(-1)
    gaps = jnp.where((size > 0)[None, :], gaps, jnp.inf)
    return jnp.mean((gaps.argmin(1) == y_valid) * 1.0)


def nearest_mean_utility(x_valid, y_valid):
    """A utility of points: the accuracy of the nearest class mean."""

    def utility(x, y):
        arrays = (
            float64(x),
            jnp.asarray(np.asarray(y, np.int32)),
            float64(x_valid),
            jnp.asarray(np.asarray(y_valid, np.int32)),
        )
        return Game(len(x), Partial(_nearest_mean, arrays))

    return utility


def blobs(key, n, dims=2):
    """Two classes, two lumps each."""
    lump_key, noise_key = jax.random.split(key)
    lump = np.asarray(jax.random.randint(lump_key, (n,), 0, 4))
    centres = np.zeros((4, dims))
    centres[:, :2] = [[0, 0], [0, 6], [4, 0], [4, 6]]
    noise = np.asarray(jax.random.normal(noise_key, (n, dims)))
    return centres[lump] + noise, (lump >= 2).astype(int), lump
