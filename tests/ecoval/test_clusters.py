import numpy as np
import pytest
from oracles.ecoval import blobs

from jaxval.ecoval import Mixture, clusters, gaussian_mixture, principal_components
from jaxval.ecoval.representative_values import representatives


def test_the_mixture_finds_the_lumps(key):
    x, _, lump = blobs(key, 200)
    found = gaussian_mixture(key, x, Mixture(num_clusters=4))
    cluster = found.assign(x)
    assert found.converged
    pairs = {(int(a), int(b)) for a, b in zip(cluster, lump, strict=True)}
    agree = max(
        np.mean([b == best[a] for a, b in zip(cluster, lump, strict=True)])
        for best in [
            dict(
                sorted(pairs, key=lambda p: np.sum((cluster == p[0]) & (lump == p[1])))
            )
        ]
    )
    assert agree > 0.9
    for c in range(4):
        np.testing.assert_allclose(found.centroids[c], x[cluster == c].mean(0))
    first = x[0]
    np.testing.assert_allclose(
        clusters.distances(x, found)[0],
        np.linalg.norm(first - found.centroids[cluster[0]]),
    )


def test_same_key_same_clusters(key):
    x, _, _ = blobs(key, 60)
    a, b = (gaussian_mixture(key, x, Mixture(num_clusters=5)) for _ in range(2))
    np.testing.assert_array_equal(a.assign(x), b.assign(x))


def test_no_more_clusters_than_different_points(key):
    x = np.repeat(np.array([[0.0], [1.0], [5.0]]), 4, axis=0)
    found = gaussian_mixture(key, x)
    assert found.num_clusters == 3
    assert sorted(np.unique(found.assign(x)).tolist()) == [0, 1, 2]


def test_what_the_mixture_refuses(key):
    with pytest.raises(ValueError, match="finite"):
        gaussian_mixture(key, np.array([[0.0], [np.nan]]))
    with pytest.raises(ValueError, match="at least 2"):
        gaussian_mixture(key, np.array([[0.0]]))


def test_representatives_are_equally_many_and_different(key):
    cluster = np.array([0] * 5 + [1] * 2 + [3] * 7)
    drawn = representatives(key, cluster, 3)
    assert len(set(drawn.tolist())) == len(drawn)
    assert np.bincount(cluster[drawn]).tolist() == [3, 2, 0, 3]


def test_principal_components_keep_distances(key):
    x, _, _ = blobs(key, 50, dims=3)
    embed = principal_components(key, x.reshape(50, 3, 1), 5)
    z = embed(x)
    assert z.shape == (50, 3)
    np.testing.assert_allclose(
        np.linalg.norm(z[0] - z[1]), np.linalg.norm(x[0] - x[1]), rtol=1e-10
    )


def test_own_clusters_with_an_empty_one():
    x = np.array([[0.0], [2.0], [9.0]])
    own = clusters.given(lambda z: np.where(z[:, 0] < 5, 0, 2), x, 3)
    np.testing.assert_allclose(own.centroids[:, 0], [1.0, 0.0, 9.0])


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_clusters": 0},
        {"max_steps": 0},
        {"num_starts": 0},
        {"tolerance": -1.0},
        {"regulariser": float("nan")},
    ],
)
def test_mixtures_that_cannot_be(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"Mixture.{name}"):
        Mixture(**wrong)


def test_a_singular_mixture_says_what_to_do(key):
    x = np.linspace(0, 1e-9, 12)[:, None] + np.zeros(3)
    with pytest.raises(ValueError, match=r"raise Mixture\.regulariser"):
        gaussian_mixture(key, x, Mixture(num_clusters=4, regulariser=0.0))


def test_distances_of_rounding_are_zero(key):
    x = np.array([[1.0], [1.0], [4.0]]) + np.array([[0.0], [1e-12], [0.0]])
    own = clusters.given(lambda z: (z[:, 0] > 2).astype(int), x, 2)
    np.testing.assert_array_equal(clusters.distances(x, own), 0)
    assert clusters.distances(x + 0.1, own).min() > 0.09


def test_principal_components_of_what(key):
    with pytest.raises(ValueError, match="num_components"):
        principal_components(key, np.ones((4, 2)), 0)
    with pytest.raises(ValueError, match="empty"):
        principal_components(key, np.ones((0, 2)), 1)
    with pytest.raises(ValueError, match="finite"):
        principal_components(key, np.full((4, 2), np.nan), 1)
