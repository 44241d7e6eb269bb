import numpy as np
import pytest

from jaxval.semivalues import intervals
from jaxval.types import ValueEstimate
from jaxval.valuation import report
from jaxval.valuation.result import Valuation


def valuation_of(values, stderr, baselines, error_source="9 seeds"):
    values, stderr = np.asarray(values, float), np.asarray(stderr, float)
    estimate = ValueEstimate(values, stderr, np.full(len(values), 9))
    return Valuation(
        owner_names=tuple("abcdefghijkl")[: len(values)],
        num_rows=np.full(len(values), 3),
        estimate=estimate,
        prob_greater=intervals.rank_confidence(estimate),
        sampling_stderr=stderr,
        name="Shapley",
        column="shapley",
        method="by hand",
        unit="points",
        error_source=error_source,
        baselines=baselines,
        endpoints=None,
        num_evaluations=0,
        draws=values[None],
    )


@pytest.mark.parametrize(
    ("values", "stderr", "baseline", "words"),
    [
        # Noise: no two owners differ significantly.
        (range(5), [9] * 5, [3, 1, 4, 0, 2], "too uncertain to be compared"),
        # Well known, but five owners can't rule out that it is the same ranking.
        (range(5), [0.01] * 5, [0, 1, 4, 3, 2], "too few to say whether"),
        (
            range(12),
            [0.01] * 12,
            list(range(12))[::-1],
            "differs from that of every simpler",
        ),
        (range(12), [0.01] * 12, range(12), "that alone gives most of this ranking"),
        # Seeds that all agree say nothing of those that might not.
        (range(3), [0.0] * 3, range(3), "too uncertain to be compared: its errors"),
        (range(3), [1e-9] * 3, range(3), "as far as 3 owners can tell"),
    ],
)
def test_the_verdict_claims_no_more_than_is_known(values, stderr, baseline, words):
    baselines = {"size only": np.asarray(baseline, float)}
    valuation = valuation_of(list(values), stderr, baselines)
    second = report.report(valuation).sentences[1]
    assert words in second
    assert ("differs from" in words) == ("differs from" in second)


def test_two_that_do_not_differ_significantly_are_not_ranked():
    valuation = valuation_of([1.0, 1.1], [1.0, 1.0], {"random": np.arange(2.0)})
    (sentence,) = report.report(valuation).sentences
    assert "not even these two are significantly different" in sentence
