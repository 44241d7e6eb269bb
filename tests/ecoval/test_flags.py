"""EcoVal's formulas under JAX's own debugging flags."""

import jax
import numpy as np
import pytest

from jaxval.ecoval import Members, adjust, allocate, share_rules

RULES = (
    share_rules.as_in_the_paper,
    share_rules.equal_where_unsafe,
    share_rules.shifted,
    share_rules.softplus,
    share_rules.absolute,
)
FLAGS = {
    "infinities": lambda: jax.debug_infs(True),
    "nans": lambda: jax.debug_nans(True),
    "promotion": lambda: jax.numpy_dtype_promotion("strict"),
    "x64": lambda: jax.enable_x64(True),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("flag", FLAGS)
def test_values_are_the_same_under_every_flag(flag, rule):
    # Cluster 1 has no members, cluster 2 a sum that is not positive.
    v_c = np.array([0.2, 0.1, -0.3])
    q, d = np.array([1.0, 2.0, -1.0, 0.5]), np.array([0.5, 0.0, 1.0, 2.0])
    cluster = np.array([0, 0, 2, 2], np.int32)
    points = Members(q, d, cluster)
    later = Members(q[:3], d[1:], np.array([0, 1, 2], np.int32))
    # Integers, as a user's own counts are, and single precision.
    whole = (v_c, np.array([2, 0, 2]), q, d, cluster)
    expected = allocate(v_c, later, points, share_rule=rule)
    sums = adjust(*whole, share_rule=rule)
    with FLAGS[flag]():
        found = allocate(v_c, later, points, share_rule=rule)
        again = adjust(*whole, share_rule=rule)
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.bounded, expected.bounded)
    np.testing.assert_array_equal(again, sums)
