import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxval.kernels import pairwise


def brute_force(x, y):
    return np.array([[((a - b) ** 2).sum() for b in y] for a in x])


def test_squared_distances_far_from_the_origin(key):
    x = np.asarray(jax.random.normal(key, (7, 5))) + 100
    truth = brute_force(x.astype(np.float64), x[:3].astype(np.float64))
    np.testing.assert_allclose(
        pairwise.squared_distances(x, x[:3]), truth, rtol=1e-4, atol=1e-3
    )
    assert (np.diagonal(pairwise.squared_distances(x)) == 0).all()


@pytest.mark.parametrize("block_size", [2, 100])
def test_a_sum_of_gaussians(block_size, key):
    x = jax.random.normal(key, (7, 2, 3))
    flat = np.asarray(x, np.float64).reshape(7, -1)
    distances = brute_force(flat, flat)
    truth = 0.25 * np.exp(-distances / 2) + 0.75 * np.exp(-distances / 18)
    ours = pairwise.multi_rbf_gram(
        x, bandwidths=(1.0, 3.0), weights=(0.25, 0.75), block_size=block_size
    )
    np.testing.assert_allclose(ours, truth, rtol=1e-5, atol=1e-6)
    one = pairwise.gram(pairwise.rbf(3.0), jnp.asarray(flat, jnp.float32))
    np.testing.assert_allclose(one, np.exp(-distances / 18), rtol=1e-5, atol=1e-6)


def test_refusals():
    with pytest.raises(ValueError, match="bandwidth"):
        pairwise.rbf(0.0)
    with pytest.raises(ValueError, match="weights"):
        pairwise.multi_rbf_gram(jnp.ones((2, 1)), bandwidths=(1.0,), weights=(1.0, 2.0))
    with pytest.raises(ValueError, match="two points"):
        pairwise.median_distance(jnp.ones((1, 1)))
