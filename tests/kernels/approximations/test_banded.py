"""Banded inverses: against the dense completion, and what characterises it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxval.execution.precision import float64
from jaxval.kernels.approximations import banded, blocks

ZETA = 0.1
CASES = [(12, 4, 1), (13, 4, 2), (13, 5, 0)]


def problem(n):
    rng = np.random.default_rng(n)
    a = rng.normal(size=(n, n))
    return a @ a.T, rng.normal(size=n), rng.random(n) < 0.6


def completed(theta, blocking, bandwidth, zeta):
    """Theorem 3 of Asif and Moura in plain loops; blocks may be empty."""
    m = len(blocking)
    h = theta + zeta * np.eye(len(theta))
    out = np.zeros_like(h)
    for i in range(m):
        for j in range(max(0, i - bandwidth), min(m, i + bandwidth + 1)):
            out[np.ix_(blocking[i], blocking[j])] = h[np.ix_(blocking[i], blocking[j])]
    for gap in range(bandwidth + 1, m if bandwidth else 0):
        for i in range(m - gap):
            s = np.concatenate(blocking[i + 1 : i + 1 + bandwidth])
            a, b = blocking[i], blocking[i + gap]
            link = np.linalg.solve(out[np.ix_(s, s)], out[np.ix_(s, b)])
            out[np.ix_(a, b)] = out[np.ix_(a, s)] @ link
            out[np.ix_(b, a)] = out[np.ix_(a, b)].T
    return out


def renumbered(blocking, present):
    number = np.cumsum(present) - 1
    return [number[rows[present[rows]]] for rows in blocking]


@pytest.mark.parametrize(("n", "num_blocks", "bandwidth"), CASES)
def test_against_the_dense_completion(key, n, num_blocks, bandwidth):
    theta, y, _ = problem(n)
    blocking = blocks.permuted(key, n, num_blocks)
    band = banded.from_dense(theta, blocking, bandwidth)
    whole = completed(theta, blocking, bandwidth, ZETA)
    inverse = np.linalg.inv(whole)
    np.testing.assert_allclose(banded.complete(band, ZETA), whole, rtol=1e-10)
    form = banded.quadratic_form(band, float64(y), ZETA)
    np.testing.assert_allclose(form, y @ inverse @ y, rtol=1e-10)
    solved = banded.solve(band, float64(y), ZETA)
    np.testing.assert_allclose(solved, inverse @ y, rtol=1e-8, atol=1e-10)
    found = banded.dense(banded.inverse(band, ZETA))
    np.testing.assert_allclose(found, inverse, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("n", "num_blocks", "bandwidth"), CASES)
def test_the_completion_agrees_on_the_band_and_is_positive_definite(
    n, num_blocks, bandwidth
):
    theta, _, _ = problem(n)
    blocking = blocks.contiguous(n, num_blocks)
    whole = banded.complete(banded.from_dense(theta, blocking, bandwidth), ZETA)
    number = np.repeat(np.arange(num_blocks), [len(b) for b in blocking])
    near = np.abs(number[:, None] - number[None, :]) <= bandwidth
    np.testing.assert_allclose(whole[near], (theta + ZETA * np.eye(n))[near])
    assert np.linalg.eigvalsh(whole)[0] > 0
    inverse = np.linalg.inv(whole)
    np.testing.assert_allclose(inverse[~near], 0.0, atol=1e-9 * np.abs(inverse).max())


def test_cutting_to_the_band_alone_would_not_stay_positive_definite():
    """Why the completion is needed: nearly equal samples, a band of one."""
    theta = np.full((6, 6), 0.99) + 0.01 * np.eye(6)
    band = banded.from_dense(theta, blocks.contiguous(6, 6), 1)
    assert np.linalg.eigvalsh(banded.dense(band))[0] < 0
    assert np.linalg.eigvalsh(banded.complete(band))[0] > 0


@pytest.mark.parametrize(("n", "num_blocks", "bandwidth"), CASES)
def test_a_coalition_completes_its_own_matrix(n, num_blocks, bandwidth):
    theta, y, present = problem(n)
    blocking = blocks.contiguous(n, num_blocks)
    band = banded.from_dense(theta, blocking, bandwidth)
    own = theta[np.ix_(present, present)]
    kept = renumbered(blocking, present)
    if bandwidth and all(len(rows) for rows in kept):
        whole = completed(own, kept, bandwidth, ZETA)
        expected = y[present] @ np.linalg.solve(whole, y[present])
        found = banded.quadratic_form(band, float64(y), ZETA, jnp.asarray(present))
        np.testing.assert_allclose(found, expected, rtol=1e-10)
    empty_coalition = jnp.zeros(n, bool)
    assert float(banded.quadratic_form(band, float64(y), ZETA, empty_coalition)) == 0.0


def test_bandwidth_zero_is_the_block_diagonal(key):
    theta, y, present = problem(13)
    blocking = blocks.permuted(key, 13, 4)
    ask = (float64(y), ZETA, jnp.asarray(present))
    narrow = banded.quadratic_form(banded.from_dense(theta, blocking, 0), *ask)
    diagonal = blocks.quadratic_form(blocks.from_dense(theta, blocking), *ask)
    np.testing.assert_allclose(narrow, diagonal, rtol=1e-12)


def test_the_widest_band_is_exact():
    theta, y, _ = problem(12)
    band = banded.from_dense(theta, blocks.contiguous(12, 4), 3)
    exact = y @ np.linalg.solve(theta + ZETA * np.eye(12), y)
    np.testing.assert_allclose(
        banded.quadratic_form(band, float64(y), ZETA), exact, rtol=1e-10
    )


def test_coalitions_can_be_jitted_and_mapped_and_compile_once():
    theta, y, _ = problem(12)
    band = banded.from_dense(theta, blocks.contiguous(12, 4), 1)
    traces = []

    @jax.jit
    def form(band, present):
        traces.append(1)
        return banded.quadratic_form(band, float64(y), ZETA, present)

    masks = np.random.default_rng(0).random((5, 12)) < 0.5
    one_by_one = [form(band, jnp.asarray(mask)) for mask in masks]
    assert len(traces) == 1
    mapped = jax.vmap(form, (None, 0))(band, jnp.asarray(masks))
    np.testing.assert_allclose(mapped, np.asarray(one_by_one), rtol=1e-10)


def test_the_band_is_asked_for_in_one_shape():
    shapes = []

    def gram(rows, others):
        shapes.append((len(rows), len(others)))
        return jnp.ones((len(rows), len(others)))

    banded.block_banded_gram(gram, blocks.contiguous(13, 4), 2)
    assert shapes == [(4, 12)] * 4


@pytest.mark.parametrize("bandwidth", [-1, 4])
def test_bad_bandwidths_are_refused(bandwidth):
    with pytest.raises(ValueError, match="bandwidth"):
        banded.from_dense(np.eye(8), blocks.contiguous(8, 4), bandwidth)


def test_a_singular_band_says_what_to_do():
    band = banded.from_dense(np.ones((6, 6)), blocks.contiguous(6, 3), 1)
    with pytest.raises(ValueError, match="positive zeta"):
        banded.complete(band)
