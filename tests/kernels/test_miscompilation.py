"""A fusion of XLA's CPU backend that loses constant cotangents, kept from users."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxval.kernels import readouts, tangent

pytestmark = pytest.mark.optimised


def pooled(params, x):
    h = jax.lax.reduce_window(
        x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"
    )
    return jnp.matmul(h.reshape(h.shape[0], -1), params)


@pytest.mark.parametrize("rows", [32, 64, 256])
def test_pooling_with_constant_cotangents(rows):
    x = np.random.default_rng(0).normal(size=(rows, 14, 14, 16)).astype(np.float32)
    params = jnp.zeros((7 * 7 * 16, 10))
    gram = lambda x: tangent.gram(
        pooled, params, x, readout=readouts.sum_of_outputs, self_check=False
    )
    flat = x.astype(np.float64).reshape(rows, 7, 2, 7, 2, 16).max((2, 4))
    flat = flat.reshape(rows, -1)
    truth = 10 * flat @ flat.T
    for answer in (gram(jnp.asarray(x)), jax.jit(gram)(jnp.asarray(x))):
        assert np.abs(np.asarray(answer) - truth).max() < 1e-5 * truth.max()
