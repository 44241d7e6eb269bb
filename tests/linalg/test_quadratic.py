import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxval import linalg
from jaxval.execution.precision import float64

OWNER = np.array([0, 2, 1, 1, 0, 3, 3, 3, 2])
N = len(OWNER)


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(N, 12))
    return features @ features.T + 0.1 * np.eye(N), rng.normal(size=(N, 2))


def form(h, y, rows):
    rows = np.flatnonzero(rows)
    if not rows.size:
        return 0.0
    return np.sum(y[rows] * np.linalg.solve(h[np.ix_(rows, rows)], y[rows]))


def coalitions(k):
    return (np.arange(2**k)[:, None] >> np.arange(k)) % 2 > 0


def test_prefixes_are_the_leading_blocks(problem):
    h, y = problem
    expected = [form(h, y, np.arange(N) < m + 1) for m in range(N)]
    np.testing.assert_allclose(
        linalg.prefix_quadratic_forms(float64(h), float64(y)), expected, rtol=1e-10
    )
    np.testing.assert_allclose(
        linalg.quadratic_form(float64(h), float64(y)), expected[-1], rtol=1e-10
    )


def test_masked_form_and_solve_are_the_sub_system(problem):
    h, y = problem
    present = OWNER != 1
    np.testing.assert_allclose(
        linalg.masked_quadratic_form(float64(h), float64(y), jnp.asarray(present)),
        form(h, y, present),
        rtol=1e-10,
    )
    dual = linalg.masked_solve(float64(h), float64(y), jnp.asarray(present))
    rows = np.flatnonzero(present)
    expected = np.linalg.solve(h[np.ix_(rows, rows)], y[rows])
    np.testing.assert_allclose(np.asarray(dual)[rows], expected, rtol=1e-9)
    assert (np.asarray(dual)[~present] == 0).all()


def test_leave_groups_out_also_takes_unions(problem):
    h, y = problem
    unions = np.array([[0, 4, N, N, N], [2, 3, 5, 6, 7], [N, N, N, N, N]])
    full, without = linalg.leave_groups_out(float64(h), float64(y), jnp.asarray(unions))
    expected = [form(h, y, ~np.isin(np.arange(N), u)) for u in unions]
    np.testing.assert_allclose(without, expected, rtol=1e-9)
    np.testing.assert_allclose(full, expected[-1], rtol=1e-10)


@pytest.mark.parametrize("memory", [1, 2**28], ids=["depth first", "by levels"])
def test_the_lattice_walk_is_every_subset_solve(problem, memory):
    h, y = problem
    rows = np.argsort(OWNER, kind="stable")
    sizes = tuple(np.bincount(OWNER).tolist())
    forms = linalg.powerset_quadratic_forms(
        float64(h[np.ix_(rows, rows)]), float64(y[rows]), sizes, memory=memory
    )
    expected = [form(h, y, mask[OWNER]) for mask in coalitions(4)]
    np.testing.assert_allclose(forms, expected, rtol=1e-9, atol=1e-12)


def test_additive_statistics_are_every_subset_solve():
    rng = np.random.default_rng(1)
    features, y = rng.normal(size=(N, 3)), rng.normal(size=(N, 2))
    statistics = linalg.additive_statistics(features, y, OWNER)
    h = features @ features.T + 0.2 * np.eye(N)
    expected = [form(h, y, mask[OWNER]) for mask in coalitions(4)]
    np.testing.assert_allclose(
        linalg.powerset_statistic_forms(statistics, 0.2), expected, atol=1e-10
    )
    sums = [float64(np.asarray(part).sum(axis=0)) for part in statistics[:3]]
    whole = linalg.statistic_form(*sums, 0.2)
    np.testing.assert_allclose(whole, expected[-1], rtol=1e-10)


def test_tables_are_sums_over_coalitions():
    rng = np.random.default_rng(2)
    for players in (1, 2, 5):
        a, b = rng.normal(size=players), rng.normal(size=(players, players))
        b = b + b.T
        masks = coalitions(players).astype(float)
        np.testing.assert_allclose(
            linalg.additive_table(float64(a)), masks @ a, atol=1e-12
        )
        np.testing.assert_allclose(
            linalg.pairwise_table(float64(b)),
            np.einsum("si,ij,sj->s", masks, b, masks),
            atol=1e-12,
        )


def test_every_regulariser_from_one_eigendecomposition(problem):
    h, y = problem
    zetas = np.array([1e-3, 1e-1, 10.0])
    expected = [form(h + z * np.eye(N), y, np.ones(N)) for z in zetas]
    np.testing.assert_allclose(
        linalg.forms_for_regularisers(h, y, zetas), expected, rtol=1e-9
    )


def test_duplicates_collapse(problem):
    h, y = problem
    counts = np.array([2, 0, 1, 3, 1, 1, 0, 1, 1])
    rows = np.repeat(np.arange(N), counts)
    drawn = h[np.ix_(rows, rows)] + 0.3 * np.eye(len(rows))
    expected = y[rows, 0] @ np.linalg.solve(drawn, y[rows, 0])
    collapsed = linalg.collapse_duplicates(
        float64(h), float64(y[:, 0]), jnp.asarray(counts), 0.3
    )
    np.testing.assert_allclose(collapsed, expected, rtol=1e-9)


def test_double_precision_also_inside_a_single_precision_jit(problem):
    h, y = problem
    single = jax.jit(linalg.quadratic_form)(float64(h), float64(y))
    assert single.dtype == jnp.float64
    np.testing.assert_allclose(single, form(h, y, np.ones(N)), rtol=1e-10)


def test_an_indefinite_matrix_says_which_regulariser_helps(problem):
    h, _ = problem
    broken = h - 5.0 * np.eye(N)
    with pytest.raises(ValueError, match="Add at least") as caught:
        linalg.check_positive_definite(broken)
    enough = float(str(caught.value).split("at least ")[1].split()[0])
    linalg.check_positive_definite(broken + enough * np.eye(N))


def test_sizes_must_add_up(problem):
    h, y = problem
    with pytest.raises(ValueError, match="add up"):
        linalg.powerset_quadratic_forms(float64(h), float64(y), (1, 2))
