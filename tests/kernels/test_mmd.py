import jax.numpy as jnp
import numpy as np
import pytest
from oracles.games import mmd as oracle
from oracles.games import subsets

from jaxval.kernels import mmd as d

RNG = np.random.default_rng(0)
OWNER = np.array([0, 1, 1, 2, 2, 2, 0, 3])
X, VALID = RNG.normal(size=(8, 2, 2)), RNG.normal(size=(5, 2, 2)) + 0.3
KERNEL = d.rbf_ladder(2.0, (0.5, 1.0, 2.0))


def truth(x, unbiased):
    weights = np.asarray(KERNEL.weights)
    return oracle(x, VALID, np.asarray(KERNEL.bandwidths), weights, unbiased)


@pytest.mark.parametrize("unbiased", [False, True])
def test_two_samples_are_the_double_loop(unbiased):
    square = d.mmd(X, VALID, KERNEL, unbiased=unbiased, root=False)
    np.testing.assert_allclose(square, truth(X, unbiased), rtol=1e-9)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("block_rows", [1, 3, 100])
def test_every_coalition_from_the_sums(unbiased, block_rows):
    sums = d.kernel_sums(X, OWNER, VALID, KERNEL, block_rows=block_rows)
    for mask in subsets(4)[1:]:
        rows = mask[OWNER]
        if unbiased and rows.sum() < 2:
            continue
        square = d.coalition_mmd(sums, jnp.asarray(mask), unbiased=unbiased, root=False)
        np.testing.assert_allclose(square, truth(X[rows], unbiased), atol=1e-12)


def test_many_owners_take_the_scattered_path():
    x = RNG.normal(size=(80, 2))
    many = d.kernel_sums(x, np.arange(80), VALID[:, 0], KERNEL)
    one = d.kernel_sums(x, np.zeros(80, int), VALID[:, 0], KERNEL)
    np.testing.assert_allclose(
        np.sum(np.asarray(many.between)), np.sum(np.asarray(one.between)), rtol=1e-12
    )
    np.testing.assert_allclose(
        np.sum(np.asarray(many.to_valid)), np.sum(np.asarray(one.to_valid)), rtol=1e-12
    )


def test_the_root_of_a_negative_unbiased_square_is_zero():
    x = np.array([[0.0], [1.0]])
    kernel = d.rbf(1.0)
    assert d.mmd(x, x, kernel, unbiased=True, root=False) < 0
    assert d.mmd(x, x, kernel, unbiased=True, root=True) == 0.0


def test_biased_estimate_has_the_floor_of_its_size():
    rng = np.random.default_rng(3)
    kernel = d.rbf(1.0)
    floors = [
        d.mmd(rng.normal(size=(3, 2)), rng.normal(size=(200, 2)), kernel, root=False)
        for _ in range(20)
    ]
    similarity = 1 / 3  # E k of two standard normals in two dimensions, sigma = 1
    expected = (1 - similarity) * (1 / 3 + 1 / 200)
    stderr = np.std(floors) / np.sqrt(len(floors))
    assert abs(np.mean(floors) - expected) < 5 * stderr


@pytest.mark.parametrize("bandwidth", [1e-3, 1e6])
def test_a_kernel_that_sees_nothing_warns(bandwidth):
    with pytest.warns(d.DegenerateKernelWarning, match="knows only the sizes"):
        d.mmd(X, VALID, d.rbf(bandwidth))


def test_the_median_distance_is_the_data_s():
    x = np.array([[0.0], [1.0], [5.0]])
    assert d.median_distance(x, np.array([[9.0]])) == pytest.approx(4.5)
    repeated = np.r_[np.zeros((9, 1)), np.ones((1, 1))]
    assert d.median_distance(repeated, np.zeros((3, 1))) == pytest.approx(1.0)
    big = RNG.normal(size=(5000, 2))
    assert d.median_distance(big, big[:10], max_rows=500) == pytest.approx(1.66, 0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: d.mmd(X * np.nan, VALID, KERNEL), "x must be finite"),
        (lambda: d.mmd(X, VALID[:, 0], KERNEL), "same width"),
        (lambda: d.mmd(X, VALID[:0], KERNEL), "valid is empty"),
        (lambda: d.rbf(0.0), "bandwidth"),
        (lambda: d.rbf_ladder(1.0, ()), "factors is empty"),
        (lambda: d.median_distance(X[:1], X[:1]), "one row repeated"),
    ],
)
def test_bad_inputs_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
