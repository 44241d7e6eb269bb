import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.ecoval import algorithm_1

from jaxval.ecoval import (
    FULL,
    NO_ADJUSTMENT,
    NO_ALPHA,
    NO_BETA,
    Members,
    adjust,
    allocate,
    share_rules,
)
from jaxval.execution.precision import float64

RULES = (
    share_rules.as_in_the_paper,
    share_rules.equal_where_unsafe,
    share_rules.shifted,
    share_rules.softplus,
    share_rules.absolute,
)
VARIANTS = {FULL: (1, 1), NO_ALPHA: (0, 1), NO_BETA: (1, 0), NO_ADJUSTMENT: (0, 0)}


def members(q, d, cluster):
    return Members(float64(q), float64(d), jnp.asarray(cluster, jnp.int32))


def random_members(seed, n=40, clusters=6):
    rng = np.random.default_rng(seed)
    cluster = np.concatenate([np.arange(clusters), rng.integers(0, clusters, n)])
    n = len(cluster)
    return rng.uniform(0.1, 1, n), rng.uniform(0, 2, n), cluster


def sums(x, cluster, clusters):
    return np.bincount(cluster, np.asarray(x), clusters)


@pytest.mark.parametrize("terms", VARIANTS)
def test_equals_algorithm_1(terms):
    q, d, cluster = random_members(0)
    v_c = np.array([0.1, -0.05, 0.0, 0.3, 0.02, 0.7])
    d[:] = np.maximum(d, 0.1)
    n_c = np.bincount(cluster)
    values = adjust(
        float64(v_c), jnp.asarray(n_c), *members(q, d, cluster), terms=terms
    )
    expected = algorithm_1(v_c, q, d, cluster, *VARIANTS[terms])
    np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("terms", VARIANTS)
@pytest.mark.parametrize("rule", RULES)
def test_values_of_a_cluster_add_up_to_its_value(rule, terms):
    rng = np.random.default_rng(1)
    _, d, cluster = random_members(1)
    q = rng.normal(size=len(d))
    v_c = rng.normal(size=6) * 0.3
    out = allocate(float64(v_c), members(q, d, cluster), terms=terms, share_rule=rule)
    np.testing.assert_allclose(sums(out.values, cluster, 6), v_c, atol=1e-10)
    assert np.isfinite(np.asarray(out.values)).all()


finite = st.floats(-1e3, 1e3).map(lambda x: x if abs(x) > 1e-6 else 0.0)


@settings(derandomize=True, max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(finite, finite.map(abs)), min_size=6, max_size=6),
    st.lists(st.floats(-2.0, 2.0), min_size=3, max_size=3),
)
def test_never_undefined_and_always_efficient(points, v_c):
    q, d = np.array(points).T
    cluster = np.array([0, 0, 0, 1, 1, 2])
    out = allocate(float64(v_c), members(q, d, cluster))
    assert np.isfinite(np.asarray(out.values)).all()
    np.testing.assert_allclose(sums(out.values, cluster, 3), v_c, atol=1e-9)


def test_identical_points_get_identical_values():
    q, d = np.array([0.2, 0.2, 0.5, 0.2]), np.array([1.0, 1.0, 0.3, 1.0])
    out = allocate(float64([0.4]), members(q, d, [0, 0, 0, 0])).values
    assert out[0] == out[1] == out[3] != out[2]
    same = allocate(float64([0.4]), members([0.2] * 3, [0.0] * 3, [0] * 3))
    np.testing.assert_allclose(same.values, 0.4 / 3, rtol=1e-12)
    np.testing.assert_allclose(same.gamma_alpha, 1, rtol=1e-12)  # Corollary 4.1.1


def test_a_cluster_of_one_gets_its_whole_value():
    out = allocate(float64([0.2, -0.1]), members([-3.0, 2.0], [0.0, 0.0], [0, 1]))
    np.testing.assert_allclose(out.values, [0.2, -0.1], rtol=1e-12)
    assert out.hazards.zero_distances.tolist() == [True, True]
    assert out.hazards.unsafe_sum.tolist() == [True, False]


def test_worthless_and_harmful_clusters_are_counted():
    v_c = float64([0.0, -0.3, 0.5, 0.2])
    out = allocate(
        v_c, members([1.0, 2, 1, 3, 1], [1.0, 2, 1, 2, 0.5], [0, 0, 1, 1, 2])
    )
    values = np.asarray(out.values)
    assert values[:2].tolist() == [0.0, 0.0]
    assert np.diff(np.asarray(out.preference))[0] > 0
    # Under a negative value the point with the larger shares gets more of it: the
    # correction is of second order and positive.
    assert values[2] < values[3] < 0
    assert out.hazards.tied_at_zero.tolist() == [True, False, False, False]
    assert out.hazards.negative.tolist() == [False, True, False, False]
    assert out.hazards.no_members.tolist() == [False, False, False, True]


def test_no_correction_where_the_factor_is_undefined():
    # 1 + V_c / n_c = 0 and below: -1 a member.
    out = allocate(
        float64([-2.0, -8.0]), members([1.0, 3, 2, 2], [1.0, 0, 1, 1], [0, 0, 1, 1])
    )
    assert out.values.tolist() == [-1.0, -1.0, -4.0, -4.0]
    assert out.hazards.no_correction.tolist() == [True, True]


@pytest.mark.parametrize("rule", RULES[1:])
def test_cancelling_values_stay_bounded(rule):
    q = [1.0, -1.0 + 1e-9, 0.5, 0.5]
    out = allocate(
        float64([0.2, 0.2]), members(q, [1.0] * 4, [0, 0, 1, 1]), share_rule=rule
    )
    assert np.abs(np.asarray(out.values)).max() < 0.25
    assert out.hazards.unsafe_sum.tolist() == [True, False]


def test_the_papers_share_explodes_where_values_cancel():
    q = [1.0, -1.0 + 1e-9]
    out = allocate(
        float64([0.2]),
        members(q, [1.0, 1.0], [0, 0]),
        share_rule=share_rules.as_in_the_paper,
    )
    assert np.abs(np.asarray(out.values)).max() > 1e6
    assert out.hazards.unsafe_sum.tolist() == [True]


@pytest.mark.parametrize("rule", [share_rules.shifted, share_rules.softplus])
def test_rules_that_keep_the_order_of_negative_values(rule):
    out = allocate(
        float64([0.3]), members([-3.0, -1.0, -2.0], [1.0] * 3, [0] * 3), share_rule=rule
    )
    assert out.values[1] > out.values[2] > out.values[0]


def test_refusing():
    with pytest.raises(ValueError, match="share_rule"):
        allocate(
            float64([0.3]),
            members([-3.0, 1.0], [1.0] * 2, [0] * 2),
            share_rule=share_rules.refuse_where_unsafe,
        )


def test_a_member_valued_again_gets_its_value_again():
    q, d, cluster = random_members(3)
    v_c = float64(np.linspace(-0.1, 0.4, 6))
    b = members(q, d, cluster)
    later = Members(*(part[5:9] for part in b))
    np.testing.assert_array_equal(
        allocate(v_c, later, b).values, allocate(v_c, b).values[5:9]
    )


def test_unseen_points_in_a_cluster_without_members_get_nothing():
    b = members([1.0, 2.0], [1.0, 1.0], [0, 0])
    new = members([5.0], [3.0], [1])
    out = allocate(float64([0.4, 0.3]), new, b)
    assert out.values.tolist() == [0.0]
    assert out.hazards.no_members.tolist() == [False, True]


def test_second_order_form():
    q, d, cluster = random_members(4)
    v_c, n_c = np.full(6, 0.3), np.bincount(cluster)
    out = allocate(float64(v_c), members(q, d, cluster))
    v = (v_c / n_c)[cluster]
    np.testing.assert_allclose(
        out.values, v + v**2 / (1 + v) * np.asarray(out.preference), rtol=1e-11
    )


def test_traced_once_for_other_numbers():
    traces = []

    @jax.jit
    def run(v_c, points):
        traces.append(1)
        return allocate(v_c, points).values

    for seed in range(3):
        q, d, _ = random_members(seed)
        cluster = np.arange(len(q)) % 6
        run(float64(np.arange(6) / 10), members(q, d, cluster))
    assert len(traces) == 1


def test_rounding_errors_are_no_distances():
    # Rows that are alike lie 1e-17 off their mean; an unseen point divides by that.
    b = members([0.01] * 4, [1e-17, 2e-17, 1.0, 0.5], [0, 0, 1, 1])
    out = allocate(float64([0.1, 0.1]), members([0.01], [0.5], [0]), b)
    np.testing.assert_allclose(out.values, 0.05, rtol=1e-12)
    assert out.hazards.zero_distances.tolist() == [True, False]


@pytest.mark.parametrize("rule", RULES)
def test_an_unseen_point_gets_no_more_than_all_members(rule):
    # A member of next to no value, or next to the centroid, is all the cluster has.
    b = members([1e-7, 0.5, 0.5], [0.5, 1e-8, 1.0], [0, 1, 2])
    new = members([0.01, 0.5, -3.0, 0.5], [0.5, 0.7, 0.5, 1.0], [0, 1, 2, 2])
    out = allocate(float64([0.1, 0.1, 0.1]), new, b, share_rule=rule)
    assert np.abs(np.asarray(out.values)).max() <= 0.1 + 1e-12
    assert out.bounded.tolist() == [True, True, rule is not share_rules.softplus, False]
    assert out.cluster.tolist() == [0, 1, 2, 2]


def test_members_are_never_bounded_and_unseen_points_never_beyond_them():
    q, d, cluster = random_members(7)
    q = np.where(np.arange(len(q)) % 5 == 0, -q, q)
    v_c = float64(np.linspace(-0.1, 0.4, 6))
    b = members(q, d, cluster)
    mine = allocate(v_c, b)
    assert not mine.bounded.any()
    rng = np.random.default_rng(8)
    new = members(
        rng.normal(size=300) * 100, rng.exponential(size=300) * 100,
        rng.integers(0, 6, 300),
    )  # fmt: skip
    out = allocate(v_c, new, b)
    assert out.bounded.mean() > 0.5
    n, v = np.bincount(cluster), np.asarray(v_c)
    # Both shares at most 1 or a member's own, at least 0 or a member's own.
    most = np.maximum(1, [np.abs(q[cluster == c]).sum() / abs(q[cluster == c].sum())
                          for c in range(6)])  # fmt: skip
    each = np.abs(v / n) * (1 + np.abs(v / n) / (1 + v / n) * n * (1 + most))
    assert (np.abs(np.asarray(out.values)) <= each[np.asarray(new.cluster)]).all()


def test_outsized_values_are_counted():
    b = members([1.0, 2.0, 1.0], [1.0, 2.0, 1.0], [0, 0, 1])
    out = allocate(float64([8000.0, 0.3]), b)
    assert out.hazards.outsized.tolist() == [True, False]
