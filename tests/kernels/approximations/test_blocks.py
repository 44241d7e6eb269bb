"""Diagonal blocks: the definition, additivity, permutations, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxval.coalitions import masks
from jaxval.execution.precision import float64
from jaxval.kernels import readouts, tangent
from jaxval.kernels.approximations import blocks
from jaxval.kernels.approximations.error import deviation

N, ZETA = 13, 0.1
OWNER = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 0, 2, 2])


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(N, N))
    return a @ a.T, rng.normal(size=N)


def by_definition(theta, y, blocking, present):
    kept = [rows[present[rows]] for rows in blocking]
    solve = lambda r: np.linalg.solve(theta[np.ix_(r, r)] + ZETA * np.eye(r.size), y[r])
    return sum(y[r] @ solve(r) for r in kept)


@pytest.mark.parametrize("num_blocks", [1, 4, N])
def test_every_blocking_names_every_row_once(key, num_blocks):
    for blocking in (
        blocks.contiguous(N, num_blocks),
        blocks.permuted(key, N, num_blocks),
    ):
        assert blocks.check_blocking(blocking) == N
        sizes = [len(block) for block in blocking]
        assert len(sizes) == num_blocks
        assert max(sizes) - min(sizes) <= 1


def test_aligned_blocks_hold_one_owner_each():
    blocking = blocks.aligned(OWNER, max_rows=2)
    assert blocks.check_blocking(blocking) == N
    assert all(len(set(OWNER[rows])) == 1 and len(rows) <= 2 for rows in blocking)


def test_forms_follow_the_definition(key, problem):
    theta, y = problem
    rng = np.random.default_rng(1)
    for blocking in (
        blocks.contiguous(N, 4),
        blocks.permuted(key, N, 3),
        blocks.aligned(OWNER),
    ):
        parts = blocks.from_dense(theta, blocking)
        for present in (rng.random(N) < 0.5, np.ones(N, bool), np.zeros(N, bool)):
            found = blocks.quadratic_form(parts, float64(y), ZETA, jnp.asarray(present))
            expected = by_definition(theta, y, blocking, present)
            np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-14)


def test_one_block_is_the_whole_matrix(problem):
    theta, y = problem
    whole = blocks.from_dense(theta, blocks.contiguous(N, 1))
    error = deviation(blocks.dense(whole), theta, y, ZETA)
    np.testing.assert_allclose(error, 0.0, atol=1e-12)


def test_dense_holds_the_blocks_and_nothing_else(key, problem):
    theta, _ = problem
    blocking = blocks.permuted(key, N, 4)
    number = np.empty(N, int)
    for block, rows in enumerate(blocking):
        number[rows] = block
    kept = number[:, None] == number[None, :]
    found = blocks.dense(blocks.from_dense(theta, blocking))
    np.testing.assert_array_equal(found, np.where(kept, theta, 0.0))


def test_aligned_blocks_make_an_additive_game(problem):
    theta, y = problem
    parts = blocks.from_dense(theta, blocks.aligned(OWNER, max_rows=3))
    added = blocks.owner_quadratic_forms(parts, y, ZETA, OWNER)
    for mask in np.asarray(masks.powerset(3)):
        present = jnp.asarray(mask[OWNER])
        found = blocks.quadratic_form(parts, float64(y), ZETA, present)
        np.testing.assert_allclose(found, added[mask].sum(), rtol=1e-10, atol=1e-14)


def test_mixed_blocks_are_not_additive(problem):
    theta, y = problem
    parts = blocks.from_dense(theta, blocks.contiguous(N, 2))
    with pytest.raises(ValueError, match="aligned"):
        blocks.owner_quadratic_forms(parts, y, ZETA, OWNER)


def test_permutations_average_over_blockings(key, problem):
    theta, y = problem
    gram = lambda rows: jnp.asarray(theta[np.ix_(rows, rows)], jnp.float32)
    forms = blocks.permuted_quadratic_forms(
        key, gram, float64(y), ZETA, num_blocks=3, num_permutations=4
    )
    again = [blocks.permuted(jax.random.fold_in(key, t), N, 3) for t in range(4)]
    grand_coalition = np.ones(N, bool)
    expected = [by_definition(theta, y, b, grand_coalition) for b in again]
    np.testing.assert_allclose(forms, expected, rtol=1e-4)
    assert np.unique(forms).size == 4


def test_blocks_of_a_network_ask_for_those_blocks_alone(key):
    x = jax.random.normal(key, (10, 3))
    params = jax.random.normal(key, (3, 1))
    asked = []

    def gram(rows):
        asked.append(len(rows))
        return tangent.gram(
            lambda w, x: jnp.tanh(x @ w),
            params,
            x[rows],
            readout=readouts.single_output,
        )

    parts = blocks.block_diagonal_gram(gram, blocks.contiguous(10, 3))
    assert sorted(asked) == [3, 3, 4]
    whole = tangent.gram(
        lambda w, x: jnp.tanh(x @ w), params, x, readout=readouts.single_output
    )
    np.testing.assert_allclose(
        blocks.dense(parts)[:3, :3], whole[:3, :3], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    "blocking",
    [
        [],
        [np.array([0, 1]), np.array([1])],
        [np.array([0]), np.array([], int)],
        [np.array([1, 2])],
    ],
)
def test_bad_blockings_are_refused(blocking):
    with pytest.raises(ValueError, match="blocks"):
        blocks.check_blocking(blocking)


@pytest.mark.parametrize("num_blocks", [0, 6])
def test_bad_numbers_of_blocks_are_refused(num_blocks):
    with pytest.raises(ValueError, match="num_blocks"):
        blocks.contiguous(5, num_blocks)
