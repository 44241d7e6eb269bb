import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from jaxval.coalitions import masks


@pytest.mark.parametrize("n", [0, 1, 3, 6])
def test_powerset_lists_every_coalition_once(n):
    rows = np.asarray(masks.powerset(n))
    assert rows.shape == (2**n, n)
    expected = {tuple(row) for row in itertools.product([False, True], repeat=n)}
    assert {tuple(row) for row in rows.tolist()} == expected
    parts = [masks.powerset(n, s, min(s + 3, 2**n)) for s in range(0, 2**n, 3)]
    np.testing.assert_array_equal(np.concatenate(parts), rows)


def test_prefixes_grow_by_the_order(key):
    order = jnp.array([3, 1, 0, 2])
    grown = [set(np.flatnonzero(row).tolist()) for row in masks.prefixes(order)]
    assert grown == [set(), {3}, {3, 1}, {3, 1, 0}, {0, 1, 2, 3}]
    np.testing.assert_array_equal(order[masks.ranks(order)], jnp.arange(4))


def test_too_many_players_to_enumerate():
    with pytest.raises(ValueError, match="got 31"):
        masks.powerset(31)
