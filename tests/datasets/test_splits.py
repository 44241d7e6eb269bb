import jax
import numpy as np
import pytest

from jaxval import datasets

ROWS = 400
X = np.arange(ROWS, dtype=np.float32)[:, None]
Y = np.arange(ROWS) * 7 % 10


def test_by_class_takes_the_first_rows_in_file_order():
    data = datasets.by_class(X, Y, (3, 5, 4))
    assert data.sizes.tolist() == [3, 5, 4]
    for owner, size in enumerate((3, 5, 4)):
        mine = data.x[data.owner == owner, 0]
        np.testing.assert_array_equal(mine, np.flatnonzero(owner == Y)[:size])
        assert set(data.y[data.owner == owner].tolist()) == {owner}


def test_by_class_with_chosen_classes():
    data = datasets.by_class(X, Y, (2, 3), classes=(7, 4))
    assert data.y.tolist() == [7, 7, 4, 4, 4]
    with pytest.raises(ValueError, match="class 4 has 40 rows; the owners ask for 41"):
        datasets.by_class(X, Y, (2, 41), classes=(7, 4))
    with pytest.raises(ValueError, match="sizes, classes"):
        datasets.by_class(X, Y, (2, 3), classes=(1,))


def test_table_6_and_7():
    assert sum(datasets.TABLE_6) == 10_750
    y = np.repeat(np.arange(10), 1250)
    data = datasets.by_class(np.arange(len(y)), y, datasets.TABLE_6)
    assert data.sizes.tolist() == list(datasets.TABLE_6)


def test_by_size_is_consecutive():
    data = datasets.by_size(X, Y, (1, 10, 100))
    np.testing.assert_array_equal(data.x, X[:111])
    assert data.sizes.tolist() == [1, 10, 100]
    with pytest.raises(ValueError, match="ask for 401 rows in all; there are 400"):
        datasets.by_size(X, Y, (400, 1))
    with pytest.raises(ValueError, match="sizes must be a positive"):
        datasets.by_size(X, Y, (3, 0))


def test_proportions_are_kept_and_no_row_given_twice():
    table = np.array([[0.5, 0.5, 0.0], [0.1, 0.2, 0.7], [1 / 3, 1 / 3, 1 / 3]])
    sizes = (20, 30, 10)
    data = datasets.by_proportion(X, Y, sizes, table)
    assert data.sizes.tolist() == list(sizes)
    assert len(np.unique(data.x)) == 60
    for owner, size in enumerate(sizes):
        counts = np.bincount(data.y[data.owner == owner], minlength=3)
        assert (np.abs(counts - table[owner] * size) < 1).all()
    with pytest.raises(ValueError, match=r"sum to 1 .*\[0\.9"):
        datasets.by_proportion(X, Y, (2,), [[0.5, 0.4]])


@pytest.mark.parametrize(
    ("shares", "sizes"),
    [(4, [100] * 4), ((1.0, 1.0, 2.0), [100, 100, 200]), (3, [133, 134, 133])],
)
def test_random_owners_share_all_rows(key, shares, sizes):
    data = datasets.random_owners(key, X, Y, shares)
    np.testing.assert_array_equal(data.x, X)
    assert data.sizes.tolist() == sizes


def test_random_owners_are_random_and_never_empty(key):
    data = datasets.random_owners(key, X, Y, 2)
    # Of the first half, a half +- 5 standard errors belongs to owner 0.
    assert abs((data.owner[:200] == 0).mean() - 0.5) < 5 * 0.5 / np.sqrt(200)
    lopsided = datasets.random_owners(key, X[:10], Y[:10], (1e-6, 1.0, 1e-6))
    assert lopsided.sizes.tolist() == [1, 8, 1]
    assert datasets.random_owners(key, X[:3], Y[:3], 3).sizes.tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="4 owners can't share 3 rows"):
        datasets.random_owners(key, X[:3], Y[:3], 4)
    with pytest.raises(ValueError, match="shares must be a positive"):
        datasets.random_owners(key, X, Y, (1.0, -1.0))


def test_bootstrap_counts_are_the_bootstraps(key):
    sizes = (50, 400, 3)
    data = datasets.bootstrap(key, X, Y, sizes)
    counts = datasets.bootstrap_counts(key, ROWS, sizes)
    assert data.sizes.tolist() == list(sizes)
    for owner, size in enumerate(sizes):
        rows = data.x[data.owner == owner, 0].astype(int)
        np.testing.assert_array_equal(np.bincount(rows, minlength=ROWS), counts[owner])
        assert counts[owner].sum() == size
    # A bootstrap of n from n leaves a share of 1/e out.
    missing = (counts[1] == 0).mean()
    assert abs(missing - np.exp(-1)) < 5 * np.sqrt(0.1 / ROWS)


def test_shuffled_keeps_pairs(key):
    x, y = datasets.shuffled(key, X, Y)
    np.testing.assert_array_equal(x[:, 0].astype(int) * 7 % 10, y)
    assert sorted(x[:, 0].tolist()) == X[:, 0].tolist()
    assert not np.array_equal(x, X)
    with pytest.raises(ValueError, match="one row a sample"):
        datasets.shuffled(key, X, Y[:3])


def test_jax_arrays_are_taken_too(key):
    data = datasets.by_class(jax.numpy.asarray(X), jax.numpy.asarray(Y), (1, 2))
    assert isinstance(data.x, np.ndarray)
