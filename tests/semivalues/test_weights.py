import numpy as np
import pytest
from oracles.semivalues import NAMED_WEIGHTS as NAMED
from scipy.special import comb

from jaxval.semivalues import weights


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("n", [3, 7, 200, 10_000])
def test_normalised_and_free_of_overflow(name, n):
    log_weights = weights.resolve(NAMED[name], n)
    assert not np.isnan(log_weights).any()
    assert (log_weights < np.inf).all()
    np.testing.assert_allclose(
        weights.size_distribution(log_weights).sum(), 1, rtol=1e-9
    )


def test_beta_one_one_is_shapley():
    np.testing.assert_allclose(weights.beta(1, 1)(50), weights.shapley(50), rtol=1e-12)


def test_a_fair_weighted_banzhaf_is_banzhaf():
    np.testing.assert_allclose(weights.weighted_banzhaf(0.5)(50), weights.banzhaf(50))


def test_a_large_first_parameter_favours_small_coalitions():
    share = weights.size_distribution(weights.beta(16, 1)(100))
    assert (np.diff(share) < 0).all()


def test_beta_against_the_products_of_the_paper():
    # Kwon and Zou, equation 5, written as they do: j is the size plus one.
    n, a, b = 6, 4, 2
    j = np.arange(1, n + 1)
    rising = lambda start, count: np.prod(start + np.arange(count))
    paper = [
        rising(b, i - 1) * rising(a, n - i) / rising(a + b, n - 1) for i in j.tolist()
    ]
    np.testing.assert_allclose(np.exp(weights.beta(a, b)(n)), paper, rtol=1e-12)


def test_log_binomial_against_integers():
    np.testing.assert_allclose(
        np.exp(weights.log_binomial(30)), comb(30, np.arange(31)), rtol=1e-12
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros(3), "one for each size"),
        (np.array([0.5, 0.5]), "logarithm"),
        (np.array([np.nan, 0.0]), "logarithms"),
    ],
)
def test_what_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        weights.resolve(given, 2)


def test_parameters_out_of_range():
    with pytest.raises(ValueError, match="probability"):
        weights.weighted_banzhaf(1.0)
    with pytest.raises(ValueError, match="positive"):
        weights.beta(0, 1)
    with pytest.raises(ValueError, match="size"):
        weights.leave_group_out(4)(3)
