import jax
import numpy as np
import pytest

from jaxval.semivalues import orders

DRAWS = {
    "uniform": orders.uniform,
    "antithetic": orders.antithetic,
    "orthogonal": orders.orthogonal(3),
    "rotations": orders.rotations(3),
}


@pytest.mark.parametrize("name", DRAWS)
def test_every_order_of_a_block_is_uniform_by_itself(name):
    keys = jax.random.split(jax.random.key(0), 12_000)
    blocks = np.asarray(jax.vmap(lambda k: DRAWS[name](k, 4))(keys))
    for place in range(blocks.shape[1]):
        code = blocks[:, place] @ np.array([64, 16, 4, 1])
        _, seen = np.unique(code, return_counts=True)
        assert len(seen) == 24
        # Counts of 24 equally likely orders: 5 standard deviations of a binomial.
        assert np.abs(seen - 500).max() < 5 * np.sqrt(500)


def test_a_full_turn_puts_every_player_everywhere_once(key):
    block = np.asarray(orders.rotations(7)(key, 7))
    assert (np.sort(block, axis=0) == np.arange(7)[:, None]).all()


def test_reversed_halves(key):
    for draw in [orders.antithetic, orders.orthogonal(2)]:
        block = np.asarray(draw(key, 6))
        half = len(block) // 2
        np.testing.assert_array_equal(block[half:], block[:half, ::-1])


def test_more_directions_than_the_space_has(key):
    assert orders.orthogonal(50)(key, 4).shape == (6, 4)
    assert orders.orthogonal(5)(key, 1).shape == (2, 1)
    assert orders.rotations(50)(key, 4).shape == (4, 4)
