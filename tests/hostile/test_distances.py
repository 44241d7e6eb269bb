"""Distances where an expansion of squares fails: every room, hostile columns and rows.

Each table has near points far from the mean. The oracle is the definition in extended
precision.
"""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxval import _checks, linalg
from jaxval.execution.precision import double, float64
from jaxval.games import knn
from jaxval.kernels import _squares, mmd, pairwise, spectra

RNG = np.random.default_rng(0)
N, M = 70, 9


def table(kind, width):
    """Training and validation rows that a user might bring."""
    x = RNG.normal(size=(N + M, width))
    if kind == "unix time":
        x[:, 0] = 1.7e9 + RNG.integers(0, 3, N + M)
        x[0, 0] = 0.0  # one date is missing
    elif kind == "sentinel row":
        x[3] = 3e9
    elif kind == "sentinel column":
        x[::2, -1] = -9.99e8
    elif kind == "duplicates":
        x[20:40] = x[5] = x[N] + 0.0
    elif kind == "near duplicates":
        x[20:40] = x[N] + 1e-9 * RNG.normal(size=(20, width))
    elif kind == "two far clusters":
        x[::2] += 1e8
    elif kind == "huge":
        x *= 1e120
    elif kind == "tiny":
        x *= 1e-120
    elif kind == "integers":
        x = np.rint(3 * x)
    return x[:N], x[N:]


KINDS = [
    "ordinary", "unix time", "sentinel row", "sentinel column", "duplicates",
    "near duplicates", "two far clusters", "huge", "tiny", "integers",
]  # fmt: skip


def by_differences(x, y):
    gaps = x[:, None].astype(np.longdouble) - y[None].astype(np.longdouble)
    return (gaps**2).sum(-1)


@pytest.mark.parametrize("width", [1, 4, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_host_distances_keep_their_digits(kind, width):
    x, valid = table(kind, width)
    truth = by_differences(valid, x)
    bound = (_squares.CANCELLATION if width > _squares.NARROW else 1) * (width + 5)
    rtol = bound * 2.0**-53
    squares = pairwise.squared_distances(valid, x)
    assert squares.dtype == np.float64
    np.testing.assert_allclose(squares, truth.astype(float), rtol=rtol)
    assert (squares[truth == 0] == 0).all()
    lengths = pairwise.distances(valid, x)
    np.testing.assert_allclose(lengths, np.sqrt(truth).astype(float), rtol=rtol)
    square = pairwise.squared_distances(x)
    np.testing.assert_allclose(square, by_differences(x, x).astype(float), rtol=rtol)
    assert (np.diagonal(square) == 0).all()


@pytest.mark.parametrize("precision", ["single", "double"])
@pytest.mark.parametrize("width", [4, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_traced_distances_keep_their_digits(kind, width, precision):
    if precision == "single" and kind in ("huge", "tiny"):
        pytest.skip("float32 holds no such numbers")
    x, valid = table(kind, width)
    if precision == "single":
        x, valid = x.astype(np.float32), valid.astype(np.float32)
    eps = np.finfo(x.dtype).eps / 2
    rtol = _squares.CANCELLATION * (width + 5) * eps
    with double():
        ask = jax.jit(pairwise.squared_distances)
        squares = ask(jnp.asarray(x), jnp.asarray(valid))
        own = ask(jnp.asarray(x))
    assert squares.dtype == x.dtype
    np.testing.assert_allclose(squares, by_differences(x, valid).astype(float), rtol)
    np.testing.assert_allclose(own, by_differences(x, x).astype(float), rtol)


def test_a_tolerance_bounds_the_error():
    x, valid = table("sentinel column", 100)
    truth = by_differences(valid, x).astype(float)
    # Ones that a product gives with an error of up to 1e-16 * (1e9)^2.
    loose = pairwise.squared_distances(valid, x, tolerance=1e10)
    assert np.abs(loose - truth).max() > 1e-6
    tight = pairwise.squared_distances(valid, x, tolerance=1e-6)
    assert np.abs(tight - truth).max() <= 1e-6 + 1e-12 * truth.max()


@pytest.mark.parametrize("width", [3, 100])
# Where half of the rows are 1e9 away, float64 can't order that half.
@pytest.mark.parametrize("kind", ["unix time", "sentinel row", "duplicates"])
def test_knn_shapley_does_not_see_the_far_point(kind, width):
    x, valid = table(kind, width)
    y, y_valid = RNG.integers(0, 2, N), RNG.integers(0, 2, M)
    values = knn.knn_shapley(knn.pairwise_distances(valid, x), y, y_valid, k=3)
    truth = np.sqrt(by_differences(valid, x)).astype(float)
    expected = knn.knn_shapley(truth, y, y_valid, k=3)
    np.testing.assert_allclose(values, expected, rtol=1e-10, atol=1e-12)


def test_ties_of_integers_go_to_the_earlier_row():
    x = RNG.integers(0, 2, (N, 100)).astype(float)
    x[10:20] = x[30:40]
    squares = pairwise.squared_distances(x[:5] + 0.0, x)
    assert (squares == by_differences(x[:5], x)).all()


@pytest.mark.parametrize("width", [2, 100])
@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("huge", "tiny")])
def test_mmd_keeps_its_digits(kind, width):
    x, valid = table(kind, width)
    kernel = mmd.rbf_ladder(float(np.sqrt(2 * width)))

    def mean(a, b):
        squares = by_differences(a, b)
        values = [np.exp(-squares / (2 * s**2)) for s in kernel.bandwidths]
        return np.mean(values)

    truth = mean(x, x) + mean(valid, valid) - 2 * mean(x, valid)
    square = mmd.mmd(x, valid, kernel, root=False)
    np.testing.assert_allclose(square, float(truth), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("size", [1e9, 1e150, -9.99e8])
def test_one_sentinel_row_leaves_the_median_distance(size):
    x = RNG.normal(size=(200, 3))
    usual = pairwise.median_distance(x)
    x[7] = size
    assert pairwise.median_distance(x) == pytest.approx(usual, rel=0.05)
    assert pairwise.median_distance(x[:100], x[100:]) == pytest.approx(usual, rel=0.05)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_distances_at_any_scale(scale):
    x = RNG.normal(size=(9, 3))
    np.testing.assert_allclose(
        pairwise.distances(scale * x) / scale, pairwise.distances(x), rtol=1e-14
    )
    assert pairwise.median_distance(scale * x) > 0


raw = inspect.unwrap  # without the tests' own type checks, as a user's call
TWO = np.array([[1.0, 0.5], [0.0, 1.0]])
KNN = (np.ones((1, 2)), np.array([0, 1]), np.array([1]))
NAN = np.array([[np.nan], [1.0]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: raw(pairwise.squared_distances)(NAN), "x must be finite"),
        (lambda: raw(pairwise.distances)(np.ones((1, 1)), NAN), "y must be finite"),
        (lambda: raw(pairwise.median_distance)(np.r_[NAN, NAN]), "x must be finite"),
        (lambda: raw(pairwise.squared_distances)(1e200 * TWO), "Scale the columns"),
        (
            lambda: raw(pairwise.squared_distances)(TWO, np.ones((2, 3))),
            "same features",
        ),
        (lambda: raw(pairwise.distances)(np.array([["a"]])), "must hold real numbers"),
        (lambda: raw(knn.pairwise_distances)(NAN[:0], NAN), "no validation row"),
        (lambda: raw(knn.pairwise_distances)(NAN, NAN[1:]), "x must be finite"),
        (
            lambda: raw(knn.knn_shapley)(KNN[0][:0], KNN[1], KNN[2][:0], k=1),
            "y_valid is",
        ),
        (
            lambda: raw(knn.knn_shapley)(KNN[0][:, :0], KNN[1][:0], KNN[2], k=1),
            "y is empty",
        ),
        (
            lambda: raw(knn.knn)(KNN[0] * np.nan, *KNN[1:], k=1),
            "distances must be finite",
        ),
        (
            lambda: raw(knn.knn)(
                KNN[0], KNN[1] * np.nan, KNN[2], k=1, kind="regression"
            ),
            "y must be finite",
        ),
        (
            lambda: raw(knn.knn_shapley)(KNN[0], KNN[1], KNN[2] * np.nan, k=1),
            "y_valid must be finite",
        ),
        (lambda: raw(knn.knn)(*KNN, k=1, kind="softt"), "kind must be one of 'classif"),
        (lambda: raw(knn.knn_shapley)(*KNN, k=1, kind="softt"), "kind must be one of"),
        (lambda: raw(knn.knn)(*KNN, k=2.5), "k must be a whole number"),
        (lambda: raw(knn.knn_shapley)(*KNN, k=True), "k must be a whole number"),
        (
            lambda: raw(knn.knn)(KNN[0], np.ones((2, 2)), KNN[2], k=1),
            "y must hold .* one-hot",
        ),
        (lambda: raw(knn.knn)(KNN[0], KNN[1], np.array(["1"]), k=1), "never match"),
        (lambda: raw(knn.threshold_knn)(*KNN, radius=np.nan), "radius"),
        (lambda: raw(spectra.spectrum)(TWO), "gram must be symmetric"),
        (lambda: raw(spectra.spectrum)(TWO[:1]), "square matrix"),
        (
            lambda: linalg.forms_for_regularisers(-np.eye(2), np.ones(2), np.ones(1)),
            "zetas must keep",
        ),
        (
            lambda: raw(linalg.leave_owners_out)(TWO, np.ones(2), np.arange(2), 1.0),
            "gram must be symmetric",
        ),
        (
            lambda: raw(linalg.forms_for_regularisers)(TWO, np.ones(2), np.ones(1)),
            "gram must be symmetric",
        ),
        (lambda: raw(linalg.check_positive_definite)(TWO), "h must be symmetric"),
        (lambda: _checks.one_of("kind", 1, ("a", "b")), "kind must be one of 'a', 'b'"),
        (lambda: _checks.whole_number("k", 0), "at least 1; got 0"),
        (lambda: _checks.whole_number("k", "3"), "whole number"),
    ],
)
def test_nothing_hostile_is_taken_for_a_number(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("n", [1, 5, 3000])
def test_rounding_is_not_asymmetry(n):
    features = RNG.normal(size=(n, 4)).astype(np.float32)
    gram = features @ features.T
    gram[0, -1] *= 1 + 1e-6
    _checks.symmetric("gram", gram)
    _checks.symmetric("gram", float64(gram))
    if n > 1:
        gram[-1, 0] += 1.0
        with pytest.raises(ValueError, match=rf"entry \(0, {n - 1}\)"):
            _checks.symmetric("gram", gram)
