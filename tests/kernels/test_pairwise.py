import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxval.kernels import pairwise

RNG = np.random.default_rng(0)


def by_differences(x, y):
    """The definition, in extended precision."""
    x, y = (np.asarray(z, np.longdouble) for z in (x, y))
    return np.asarray([[((a - b) ** 2).sum() for b in y] for a in x], np.float64)


@pytest.mark.parametrize("block_size", [2, 100])
@pytest.mark.parametrize("host", [False, True])
def test_a_sum_of_gaussians(block_size, host, key):
    x = jax.random.normal(key, (7, 2, 3))
    flat = np.asarray(x, np.float64).reshape(7, -1)
    distances = by_differences(flat, flat)
    truth = 0.25 * np.exp(-distances / 2) + 0.75 * np.exp(-distances / 18)
    ours = pairwise.multi_rbf_gram(
        np.asarray(x) if host else x,
        bandwidths=(1.0, 3.0),
        weights=(0.25, 0.75),
        block_size=block_size,
    )
    np.testing.assert_allclose(ours, truth, rtol=1e-5, atol=1e-6)
    one = pairwise.gram(pairwise.rbf(3.0), jnp.asarray(flat, jnp.float32))
    np.testing.assert_allclose(one, np.exp(-distances / 18), rtol=1e-5, atol=1e-6)


def test_equal_kernels_are_equal():
    assert pairwise.rbf(2.0) == pairwise.rbf(2.0)
    assert hash(pairwise.rbf(2.0)) == hash(pairwise.rbf(2.0))
    assert pairwise.rbf(2.0) != pairwise.rbf(1.0)


def test_the_median_distance_is_the_data_s():
    x = np.array([[0.0], [1.0], [5.0]])
    assert pairwise.median_distance(x, np.array([[9.0]])) == 4.5
    assert pairwise.median_distance(x) == 4.0
    repeated = np.r_[np.zeros((9, 1)), np.ones((1, 1))]
    assert pairwise.median_distance(repeated, np.zeros((3, 1))) == 1.0
    big = RNG.normal(size=(5000, 2))
    some = pairwise.median_distance(big, big[:10], max_rows=500)
    assert some == pytest.approx(1.66, 0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pairwise.rbf(0.0), "bandwidth must be a positive"),
        (
            lambda: pairwise.multi_rbf_gram(
                jnp.ones((2, 1)), bandwidths=(1.0,), weights=(1.0, 2.0)
            ),
            "weights must be one per bandwidth",
        ),
        (
            lambda: pairwise.multi_rbf_gram(jnp.ones((2, 1)), bandwidths=()),
            "bandwidths is empty",
        ),
        (lambda: pairwise.median_distance(jnp.ones((1, 1))), "two points"),
        (lambda: pairwise.median_distance(np.ones((3, 1))), "one row repeated"),
        (lambda: pairwise.median_distance(np.ones((3, 1)), max_rows=0), "max_rows"),
        (lambda: pairwise.gram(jnp.dot, jnp.ones((2, 1)), block_size=0), "block_size"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
