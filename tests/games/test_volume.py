import numpy as np
import pytest
from oracles.games import subsets

from jaxval.games import size, volume

RNG = np.random.default_rng(0)
OWNER = np.arange(12) % 3
FEATURES = RNG.normal(size=(12, 2))


def test_volume_is_the_log_determinant():
    game = volume.volume(FEATURES, OWNER, jitter=0.1)
    expected = []
    for mask in subsets(3):
        x = FEATURES[mask[OWNER]]
        expected.append(
            0.5 * np.linalg.slogdet(x.T @ x + 0.1 * np.eye(2))[1] - np.log(0.1)
        )
    np.testing.assert_allclose(game.powerset_scores(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("released", [False, True])
def test_robust_volume_ignores_replication(released):
    once = volume.robust_volume(FEATURES, OWNER, released_davinz=released)
    thrice = volume.robust_volume(
        np.repeat(FEATURES, 3, 0), np.repeat(OWNER, 3), released_davinz=released
    )
    plain = [
        volume.volume(np.repeat(FEATURES, r, 0), np.repeat(OWNER, r)) for r in (1, 3)
    ]
    grand_coalition = np.ones(3, bool)
    grown = thrice.score(grand_coalition) - once.score(grand_coalition)
    assert grown < 0.1
    inflated = [float(game.scores(grand_coalition[None])[0]) for game in plain]
    np.testing.assert_allclose(inflated[1] - inflated[0], np.log(3), rtol=1e-6)


def test_robust_volume_survives_ten_thousand_rows_in_ten_dimensions():
    x = volume.standardise(RNG.normal(size=(10_000, 10)))
    game = volume.robust_volume(x, np.arange(10_000) % 2, released_davinz=True)
    assert np.isfinite(game.score(np.ones(2, bool)))
    assert np.isfinite(game.score(np.zeros(2, bool)))


def test_standardise_drops_constant_columns():
    x = np.c_[FEATURES, np.ones(12)]
    assert volume.standardise(x).shape == (12, 2)
    with pytest.raises(ValueError, match="all constant"):
        volume.standardise(np.ones((3, 2)))


def test_sizes():
    np.testing.assert_allclose(size.size(OWNER).powerset_scores()[-1], 12.0)
    np.testing.assert_allclose(size.log_size(OWNER).powerset_scores()[-1], np.log(13))


@pytest.mark.parametrize("make", [volume.volume, volume.robust_volume])
def test_features_must_be_a_finite_matrix(make):
    with pytest.raises(ValueError, match=r"features must be a matrix.*\[:, None\]"):
        make(FEATURES[:, :0], OWNER)
    with pytest.raises(ValueError, match="features must be finite"):
        make(np.where(FEATURES > 1, np.nan, FEATURES), OWNER)
    with pytest.raises(ValueError, match="without gaps"):
        make(FEATURES, 2 * OWNER)


def test_cubes_too_small_to_be_counted_are_refused():
    with pytest.raises(ValueError, match="omega must not be so small"):
        volume.robust_volume(FEATURES * 1e20, OWNER, omega=1e-3)
