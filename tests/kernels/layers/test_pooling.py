import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxval.kernels.layers.pooling import max_pool

CASES = {
    "halves": ((1, 2, 2), (1, 2, 2), ((0, 0), (0, 0), (0, 0))),
    "overlapping": ((1, 3, 3), (1, 2, 2), ((0, 0), (1, 1), (0, 1))),
    "does not divide": ((1, 2, 3), (1, 2, 3), ((0, 0), (0, 0), (0, 0))),
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_xlas_own(name, key):
    # Whole numbers, so that there are ties.
    x = jax.random.randint(key, (2, 7, 8), 0, 4).astype(jnp.float32)
    theirs = lambda x: lax.reduce_window(x, -jnp.inf, lax.max, *CASES[name])
    ours = lambda x: max_pool(x, *CASES[name])
    out, pull = jax.vjp(theirs, x)
    again, pull_again = jax.vjp(ours, x)
    np.testing.assert_array_equal(out, again)
    weights = jax.random.normal(key, out.shape)
    np.testing.assert_allclose(pull(weights)[0], pull_again(weights)[0], rtol=1e-6)


def test_nan_stays():
    x = jnp.array([[1.0, jnp.nan, 2.0, 3.0]])
    out = max_pool(x, (1, 2), (1, 2), ((0, 0), (0, 0)))
    np.testing.assert_array_equal(out, [[np.nan, 3.0]])
