r"""Intervals and ranks: what an estimate says, and how surely.

Below a hundred or so units the normal quantiles are too short; Student's $t$ is the
default here, and empirical Bernstein needs no shape of the distribution at all where
the units are bounded.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from jaxval._checks import check, positive
from jaxval.types import ValueEstimate

__all__ = ["Interval", "bernstein", "rank_confidence", "simultaneous", "student"]


class Interval(NamedTuple):
    """Lower and upper limits, one a player; infinite where nothing is known."""

    lower: Float[np.ndarray, " n"]
    upper: Float[np.ndarray, " n"]


def student(estimate: ValueEstimate, level: float = 0.95) -> Interval:
    r"""$\hat\phi_i \pm t_{m-1}\,\mathrm{se}_i$, each player by itself.

    Args:
      estimate: with its counts of independent units; exact values give a point.
      level: of each interval.

    Example:
      >>> estimate = ValueEstimate(np.zeros(1), np.ones(1), np.array([5]))
      >>> student(estimate).upper.round(3).tolist()
      [2.776]

    References:
      Student, *The probable error of a mean*, 1908.
    """
    _check_level(level)
    return _around(estimate, _quantile(estimate, (1 + level) / 2))


def simultaneous(estimate: ValueEstimate, level: float = 0.95) -> Interval:
    r"""Intervals that hold all together with the given level (Bonferroni over players).

    Args:
      estimate: with its counts of independent units.
      level: of all of them at once.

    Example:
      >>> estimate = ValueEstimate(np.zeros(2), np.ones(2), np.array([5, 5]))
      >>> simultaneous(estimate).upper.round(3).tolist()
      [3.495, 3.495]

    References:
      Dunn, *Multiple comparisons among means*, 1961.
    """
    _check_level(level)
    tail = (1 - level) / (2 * len(estimate.values))
    return _around(estimate, _quantile(estimate, 1 - tail))


def bernstein(
    estimate: ValueEstimate, width: float | int, level: float = 0.95
) -> Interval:
    r"""Empirical Bernstein: holds for every distribution of bounded units.

    $$\hat\phi_i \pm \Bigl(\mathrm{se}_i \sqrt{2 \ln(4/\delta)}
      + \frac{7\, w \ln(4/\delta)}{3(m-1)}\Bigr)$$

    Args:
      estimate: with its counts of independent units.
      width: $w$, the length of the range in which one unit surely lies: twice the range
        of the score for permutations.
      level: $1 - \delta$ of each interval.

    Example:
      >>> estimate = ValueEstimate(np.zeros(1), np.full(1, 0.1), np.array([1001]))
      >>> bernstein(estimate, width=2.0).upper.round(3).tolist()
      [0.316]

    References:
      Maurer and Pontil, *Empirical Bernstein bounds*, COLT 2009, theorem 4.
    """
    _check_level(level)
    positive("width", width)
    log = np.log(4 / (1 - level))
    free = np.maximum(np.asarray(estimate.counts, float) - 1, 0)
    with np.errstate(divide="ignore"):
        reach = np.asarray(estimate.stderr) * np.sqrt(2 * log) + 7 * width * log / (
            3 * free
        )
    values = np.asarray(estimate.values)
    reach = np.where(np.isfinite(reach), reach, np.inf)
    return Interval(values - reach, values + reach)


def rank_confidence(
    estimate: ValueEstimate, covariance: Float[np.ndarray, "n n"] | None = None
) -> Float[np.ndarray, "n n"]:
    r"""How surely player $i$ (row) is worth more than player $j$ (column).

    One-sided confidence of the difference, $T_{m-1}((\hat\phi_i - \hat\phi_j) /
    \mathrm{se}_{ij})$; one half where nothing is known or nothing differs. Values of
    the same walks are correlated, so the error of a difference comes from their
    covariance; without it, from the sum of both errors, which is never too small.

    Args:
      estimate: with its counts of independent units.
      covariance: of the values, `Outcome.covariance`.

    Example:
      >>> estimate = ValueEstimate(np.array([2.0, 1.0]), np.zeros(2), np.full(2, 9))
      >>> rank_confidence(estimate).tolist()
      [[0.5, 1.0], [0.0, 0.5]]
    """
    values, stderr = np.asarray(estimate.values), np.asarray(estimate.stderr)
    gap = values[:, None] - values[None, :]
    if covariance is None:
        error = stderr[:, None] + stderr[None, :]
    else:
        variance = np.diag(covariance)
        square = variance[:, None] + variance[None, :] - 2 * covariance
        error = np.sqrt(np.maximum(square, 0.0))
    free = max(int(np.min(estimate.counts)) - 1, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = gap / error
    return np.where(np.isnan(score), 0.5, stats.t.cdf(score, free))


def _quantile(estimate: ValueEstimate, probability: float):
    free = np.maximum(np.asarray(estimate.counts) - 1, 1)
    return stats.t.ppf(probability, free)


def _around(estimate: ValueEstimate, factor) -> Interval:
    values, stderr = np.asarray(estimate.values), np.asarray(estimate.stderr)
    reach = np.where(np.isnan(stderr), np.inf, factor * stderr)
    return Interval(values - reach, values + reach)


def _check_level(level: float) -> None:
    check(0 < level < 1, f"level must lie strictly between 0 and 1; got {level}.")
