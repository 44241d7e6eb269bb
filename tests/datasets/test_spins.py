import itertools

import jax
import numpy as np
import pytest

from jaxval import datasets


def energy_by_loops(spins):
    size = len(spins)
    total = 0.0
    for i, j in itertools.product(range(size), repeat=2):
        total -= spins[i, j] * spins[(i + 1) % size, j]
        total -= spins[i, j] * spins[i, (j + 1) % size]
    return total


@pytest.mark.parametrize("size", [2, 4, 8])
def test_energies_by_loops(size):
    spins = np.random.default_rng(0).choice([-1.0, 1.0], (20, size, size))
    expected = [energy_by_loops(s) for s in spins]
    np.testing.assert_array_equal(datasets.ising_energy(spins), expected)


def test_configurations_have_their_energies(key):
    data = datasets.ising(key, 500)
    assert set(np.unique(data.x)) == {-1.0, 1.0}
    expected = [energy_by_loops(x) for x in data.x[:50, :, :, 0]]
    np.testing.assert_array_equal(data.energy[:50], expected)
    np.testing.assert_allclose(data.y, (data.energy + 128) / 256)


def test_energies_are_spread_evenly(key):
    """All 63 levels (-128, -120, -116, ..., 120, 128), each with its share."""
    levels, counts = np.unique(datasets.ising(key, 6300).energy, return_counts=True)
    allowed = [e for e in range(-128, 129, 4) if abs(e) != 124]
    np.testing.assert_array_equal(levels, allowed)
    assert counts.min() >= 90
    assert counts.max() <= 110


def test_the_key_decides(key):
    one, again = datasets.ising(key, 50), datasets.ising(key, 50)
    other = datasets.ising(jax.random.key(1), 50)
    np.testing.assert_array_equal(one.x, again.x)
    assert not np.array_equal(one.x, other.x)


def test_rows_of_a_level_are_not_all_alike(key):
    data = datasets.ising(key, 6300)
    rows = data.x[data.energy == 0].reshape(-1, 64)
    assert len(np.unique(rows, axis=0)) > 0.95 * len(rows)
    # Neither direction of magnetisation is preferred: the ground states come in pairs.
    ground = data.x[data.energy == -128].mean((1, 2, 3))
    assert abs(ground.mean()) < 5 / np.sqrt(len(ground))


def test_order_is_random(key):
    """The first rows are no sorted part of the energies."""
    energy = datasets.ising(key, 4000).energy
    first, second = energy[:2000], energy[2000:]
    error = np.sqrt(first.var() / 2000 + second.var() / 2000)
    assert abs(first.mean() - second.mean()) < 5 * error


def test_split_has_the_sizes_of_table_7():
    assert sum(datasets.TABLE_7) == 12_787
    split = datasets.ising_split(jax.random.key(0), 30, 20)
    assert split.x_train.shape == (30, 8, 8, 1)
    assert len(split.y_valid) == 20


def test_sizes_are_checked(key):
    with pytest.raises(ValueError, match="n must be at least 1"):
        datasets.ising(key, 0)
    with pytest.raises(ValueError, match="size must be even"):
        datasets.ising(key, 5, size=7)
