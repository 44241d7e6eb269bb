"""Every leave-one-out of a partition, against a solve for each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxval import linalg
from jaxval.execution.precision import double, float64
from jaxval.linalg.partition import _square, size_order

ZETA = 0.1


def problem(sizes, outputs=1):
    rng = np.random.default_rng(len(sizes))
    owner = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    n = owner.size
    a = rng.normal(size=(n, n + 3))
    return a @ a.T, rng.normal(size=(n, outputs)), owner


def form(theta, y, kept):
    h = theta[np.ix_(kept, kept)] + ZETA * np.eye(kept.sum())
    return np.sum(y[kept] * np.linalg.solve(h, y[kept])) if kept.any() else 0.0


@pytest.mark.parametrize("sizes", [(7, 5, 9, 1, 3), (1, 2, 4, 16), (6,) * 3, (5,)])
def test_owners_in_any_order(sizes):
    theta, y, owner = problem(sizes, outputs=2)
    full, without = linalg.leave_owners_out(float64(theta), y, owner, ZETA)
    np.testing.assert_allclose(full, form(theta, y, owner >= 0), rtol=1e-11)
    expected = [form(theta, y, owner != i) for i in range(len(sizes))]
    np.testing.assert_allclose(without, expected, rtol=1e-9, atol=1e-12)


def test_both_routes_to_the_first_part_agree():
    """The largest owner first is left out directly, a small one by identity A."""
    theta, y, owner = problem((3, 14))
    direct = linalg.leave_owners_out(float64(theta), y, owner, ZETA)[1][::-1]
    rows = np.argsort(owner, kind="stable")
    h = float64(theta[np.ix_(rows, rows)] + ZETA * np.eye(17))
    _, without = linalg.leave_parts_out(h, float64(y[rows]), (3, 14))
    np.testing.assert_allclose(without, direct[::-1], rtol=1e-10)


def test_a_small_owner_keeps_its_digits():
    """A loss a billion times smaller than the form, to eight digits."""
    n = 20
    h, y = np.eye(n) * 1.5, np.ones(n)
    y[0] = 1e-4
    owner = np.r_[0, np.ones(n - 1, int)]
    full, without = linalg.leave_owners_out(float64(h), y, owner, 0.5)
    np.testing.assert_allclose(full - without[0], 0.5e-8, rtol=1e-6)


def test_agrees_with_groups_that_may_overlap():
    theta, y, owner = problem((5, 8, 2))
    h = float64(theta + ZETA * np.eye(15))
    members = jnp.asarray(linalg.member_table(owner))
    general = linalg.leave_groups_out(h, float64(y), members)
    special = linalg.leave_owners_out(float64(theta), y, owner, ZETA)
    for ours, theirs in zip(special, general, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10)


def test_wide_parts_are_squared_in_strips():
    v = np.random.default_rng(0).normal(size=(5, 1100))
    with double():
        found = _square(float64(v))
    np.testing.assert_allclose(np.tril(found), np.tril(np.eye(1100) + v.T @ v))


def test_compiles_once_for_one_layout():
    traces = []

    @jax.jit
    def forms(h, y):
        traces.append(1)
        return linalg.leave_parts_out(h, y, (4, 3))

    for seed in range(3):
        theta, y, _ = problem((4, 3))
        forms(float64(theta + (seed + 1) * np.eye(7)), float64(y))
    assert len(traces) == 1


def test_largest_owner_comes_first():
    rows, sizes, place = size_order(np.array([2, 0, 1, 1, 2, 2]))
    assert rows.tolist() == [0, 4, 5, 2, 3, 1]
    assert sizes == (3, 2, 1)
    assert place.tolist() == [2, 1, 0]


def test_messages():
    with pytest.raises(ValueError, match="positive definite"):
        linalg.leave_owners_out(-np.eye(2), np.ones(2), np.array([0, 1]), 0.5)
    with pytest.raises(ValueError, match="add up"):
        linalg.leave_parts_out(float64(np.eye(2)), jnp.ones(2), (1, 2))
