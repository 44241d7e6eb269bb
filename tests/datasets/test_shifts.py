import jax
import numpy as np
import pytest

from jaxval import datasets
from jaxval.types import Dataset


def test_noise_has_its_deviation(key):
    x = np.full((50, 40), 3, np.float32)
    noise = datasets.gaussian_noise(key, x, 0.2) - x
    n = noise.size
    assert abs(noise.mean()) < 5 * 0.2 / np.sqrt(n)
    assert abs(noise.var() / 0.04 - 1) < 5 * np.sqrt(2 / n)


def test_clipping_cuts_half_of_the_noise_on_spins(key):
    x = np.where(np.arange(4000).reshape(40, 100) % 2, 1, -1).astype(np.float32)
    noisy = datasets.gaussian_noise(key, x, 0.3, clip=(-1.0, 1.0))
    assert np.abs(noisy).max() <= 1
    unchanged = (noisy == x).mean()
    assert abs(unchanged - 0.5) < 5 * 0.5 / np.sqrt(4000)


def test_noise_by_owner(key):
    data = Dataset(np.zeros((300, 64)), np.zeros(300), np.arange(300) % 3)
    noisy = datasets.noisy_owners(key, data, (0.0, 0.1, 0.4))
    for owner, stddev in enumerate((0.0, 0.1, 0.4)):
        measured = noisy.x[data.owner == owner].std()
        assert abs(measured - stddev) <= 5 * stddev / np.sqrt(2 * 6400)
    np.testing.assert_array_equal(noisy.owner, data.owner)
    with pytest.raises(ValueError, match="one number for each of 3 owners; got 2"):
        datasets.noisy_owners(key, data, (0.1, 0.2))
    with pytest.raises(ValueError, match="stddevs must be a non-negative"):
        datasets.noisy_owners(key, data, (0.1, 0.2, -1.0))


def test_shared_noise_is_the_same_for_every_owner(key):
    data = Dataset(np.zeros((9, 5)), np.zeros(9), np.array([0, 1, 2] * 3))
    noisy = datasets.noisy_owners(key, data, (1.0, 2.0, 4.0), shared=True)
    parts = [noisy.x[data.owner == owner] for owner in range(3)]
    np.testing.assert_allclose(parts[1], 2 * parts[0], rtol=1e-6)
    np.testing.assert_allclose(parts[2], 4 * parts[0], rtol=1e-6)
    own = datasets.noisy_owners(key, data, (1.0, 2.0, 4.0))
    assert not np.allclose(own.x[1::3], 2 * own.x[0::3])


@pytest.mark.parametrize("rate", [0.0, 0.1, 1.0])
def test_flipped_labels_are_all_wrong_and_none_else(key, rate):
    y = np.arange(1000) % 5
    noisy, flipped = datasets.flip_labels(key, y, rate, 5)
    np.testing.assert_array_equal(noisy != y, flipped)
    assert flipped.sum() == 1000 * rate
    assert noisy.min() >= 0
    assert noisy.max() < 5


def test_flips_go_to_every_other_class_alike(key):
    noisy, _ = datasets.flip_labels(key, np.zeros(4000, int), 1.0, 5)
    shares = np.bincount(noisy, minlength=5) / 4000
    assert shares[0] == 0
    assert (np.abs(shares[1:] - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 4000)).all()


def test_flips_need_classes(key):
    with pytest.raises(ValueError, match="rate must be 0 to 1"):
        datasets.flip_labels(key, np.zeros(3, int), 1.5, 2)
    with pytest.raises(ValueError, match="class numbers 0 to 1"):
        datasets.flip_labels(key, np.array([0, 2]), 0.5, 2)
    with pytest.raises(ValueError, match="class numbers 0 to 1"):
        datasets.flip_labels(key, np.array([0.0, 1.0]), 0.5, 2)
    with pytest.raises(ValueError, match="num_classes must be at least 2"):
        datasets.flip_labels(key, np.zeros(3, int), 0.5, 1)


def domains(rows=100):
    x = np.arange(rows, dtype=np.float32)[:, None]
    return (x, np.arange(rows)), (-1 - x, np.arange(rows))


def test_mixtures_have_their_shares():
    first, second = domains()
    shares = (0.1, 0.5, 1.0)
    data = datasets.mixtures(first, second, shares, (10, 20, 30))
    assert data.sizes.tolist() == [10, 20, 30]
    for owner, expected in enumerate((1, 10, 30)):
        assert (data.x[data.owner == owner] < 0).sum() == expected
    assert len(np.unique(data.x)) == 60
    # The head of the second, the tail of the first, each with its own target.
    assert data.x[0, 0] == -1
    assert data.x[1, 0] == 99
    targets = np.where(data.x[:, 0] < 0, -1 - data.x[:, 0], data.x[:, 0])
    np.testing.assert_array_equal(data.y, targets)


def test_mixtures_may_begin_again_for_each_owner():
    first, second = domains(10)
    data = datasets.mixtures(first, second, (0.5, 0.5), (20, 20), disjoint=False)
    np.testing.assert_array_equal(data.x[:20], data.x[20:])
    with pytest.raises(ValueError, match="second domain has 10 rows.* ask for 20"):
        datasets.mixtures(first, second, (0.5, 0.5), (20, 20))
    with pytest.raises(ValueError, match="first domain has 10 rows.* ask for 11"):
        datasets.mixtures(first, second, (0.0,), (11,))


def test_mixtures_want_inputs_of_one_shape():
    grey = (np.zeros((4, 28, 28, 1)), np.zeros(4))
    colour = (np.zeros((4, 32, 32, 3)), np.zeros(4))
    with pytest.raises(ValueError, match=r"one shape.*replicate_channels.*pad_images"):
        datasets.mixtures(grey, colour, (0.5,), (4,))
    with pytest.raises(ValueError, match="shares must be 0 to 1"):
        datasets.mixtures(grey, grey, (1.5,), (4,))
    alike = datasets.pad_images(datasets.replicate_channels(grey[0]), 32)
    assert alike.shape == colour[0].shape


def test_padding_and_channels():
    x = np.arange(2 * 3 * 3, dtype=np.float32).reshape(2, 3, 3, 1)
    padded = datasets.pad_images(x, 6)
    np.testing.assert_array_equal(padded[:, 1:4, 1:4], x)
    assert padded.sum() == x.sum()
    with pytest.raises(ValueError, match="size must be at least"):
        datasets.pad_images(x, 2)
    colour = datasets.replicate_channels(x)
    np.testing.assert_array_equal(colour[..., 0], colour[..., 2])
    with pytest.raises(ValueError, match="grey images"):
        datasets.replicate_channels(colour)


def test_keys_decide(key):
    x = np.zeros((3, 3), np.float32)
    one = datasets.gaussian_noise(key, x, 1.0)
    np.testing.assert_array_equal(one, datasets.gaussian_noise(key, x, 1.0))
    other = datasets.gaussian_noise(jax.random.key(1), x, 1.0)
    assert not np.array_equal(one, other)
