"""Spectra, their warning, and the errors of approximate matrices."""

import warnings

import numpy as np
import pytest

from jaxval.kernels import spectra
from jaxval.kernels.approximations.error import deviation


def gram(n=9, rank=12):
    rng = np.random.default_rng(0)
    a = rng.normal(size=(n, rank))
    return a @ a.T, rng.normal(size=n)


def test_report_against_numpy():
    theta, _ = gram()
    report = spectra.spectrum(theta, zeta=0.5)
    values = np.linalg.eigvalsh(theta)
    np.testing.assert_allclose(report.eigenvalues, values, rtol=1e-10)
    np.testing.assert_allclose(report.mean, np.trace(theta) / 9, rtol=1e-12)
    h = theta + 0.5 * np.eye(9)
    np.testing.assert_allclose(report.condition, np.linalg.cond(h), rtol=1e-9)
    np.testing.assert_allclose(report.zeta_over_mean, 0.5 * 9 / np.trace(theta))
    expected = np.trace(theta @ np.linalg.inv(h))
    np.testing.assert_allclose(report.effective_dimension, expected, rtol=1e-9)


def test_singular_matrices_are_reported_not_hidden():
    theta, _ = gram(9, rank=3)
    report = spectra.spectrum(theta)
    assert report.condition > 1e14
    assert abs(report.smallest) < 1e-12 * report.largest


def test_a_regulariser_that_dominates_warns():
    theta, _ = gram()
    mean = np.trace(theta) / 9
    with pytest.warns(spectra.RegulariserWarning, match="mean eigenvalue"):
        spectra.spectrum(theta, zeta=1.01 * mean)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spectra.spectrum(theta, zeta=0.99 * mean)
    from jaxval.games import complexity

    assert complexity.RegulariserWarning is spectra.RegulariserWarning


def test_refusals():
    theta, _ = gram(9, rank=3)
    with pytest.raises(ValueError, match="finite"):
        spectra.spectrum(np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match="trace"):
        spectra.spectrum(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="zeta"):
        spectra.spectrum(theta, zeta=-1.0)


def test_errors_of_an_approximation():
    theta, y = gram()
    near = theta + 0.1 * np.eye(9)
    error = deviation(near, theta, y, 1.0)
    q = lambda a: y @ np.linalg.solve(a + np.eye(9), y)
    np.testing.assert_allclose(error.quadratic_form, q(near) / q(theta) - 1)
    expected = np.linalg.norm(near - theta) / np.linalg.norm(theta)
    np.testing.assert_allclose(error.frobenius, expected)
    np.testing.assert_allclose((1 + error.score) ** 2, 1 + error.quadratic_form)
    given = deviation(near, theta, y, 1.0, form=2 * q(theta))
    np.testing.assert_allclose(given.quadratic_form, 1.0)
    with pytest.raises(ValueError, match="all zero"):
        deviation(near, theta, 0 * y, 1.0)
