import numpy as np
import pytest
from scipy import stats

from jaxval import evaluation
from jaxval.evaluation import replicates


@pytest.mark.parametrize("rows", [2, 7])
def test_errors_are_those_of_the_mean(rows):
    draws = np.random.default_rng(rows).normal(size=(rows, 5))
    mean, stderr = evaluation.mean_and_stderr(draws)
    np.testing.assert_allclose(mean, draws.mean(0), rtol=1e-14)
    np.testing.assert_allclose(stderr, stats.sem(draws), rtol=1e-12)
    one = evaluation.mean_and_error(draws[:, 2])
    np.testing.assert_allclose(one, (mean[2], stderr[2]), rtol=1e-12)
    seeds = replicates.over_seeds(draws.T)
    np.testing.assert_allclose(seeds.scores, mean, rtol=1e-14)
    np.testing.assert_allclose(seeds.stderr, stderr, rtol=1e-12)
    assert seeds.seeds == rows


def test_one_replicate_has_no_error():
    mean, stderr = evaluation.mean_and_stderr(np.array([[1.0, 2.0]]))
    assert mean.tolist() == [1.0, 2.0]
    assert np.isnan(stderr).all()
    assert np.isnan(evaluation.mean_and_error([3.0])[1])


def test_nothing_to_average_is_refused():
    with pytest.raises(ValueError, match="nothing to average"):
        evaluation.mean_and_error([])
    with pytest.raises(ValueError, match="at least 2"):
        evaluation.bootstrap_stderr(np.ones((1, 3)))
