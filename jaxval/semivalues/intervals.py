r"""Intervals and ranks: what an estimate says, and how surely.

Below a hundred or so units the normal quantiles are too short; Student's $t$ is the
default here, and empirical Bernstein needs no shape of the distribution at all where
the units are bounded.

Units that all agree prove little: a contribution that comes once in a thousand units
is missed by most samples of a hundred. Where the standard error is 0 and the estimator
is not exact by construction, the rule of three bounds what was missed: with $m$ units
in a range $R$, the half-width is at least $3R/m$ (more above the level .95). Where $R$
is 0 or unknown, or $m < 8$, there is no interval: its limits are NaN, and so is the
confidence in a rank.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from jaxval._checks import check, positive
from jaxval.semivalues.status import degrees_of_freedom
from jaxval.types import ValueEstimate

__all__ = ["Interval", "bernstein", "rank_confidence", "simultaneous", "student"]

_FEWEST = 8
"""Units below which their agreement says nothing."""


class Interval(NamedTuple):
    """Lower and upper limits, one per player.

    Infinite where too few units were drawn to tell, NaN where all units agree and
    nothing bounds what they may have missed.
    """

    lower: Float[np.ndarray, " n"]
    upper: Float[np.ndarray, " n"]


def student(
    estimate: ValueEstimate,
    level: float = 0.95,
    *,
    score_range: float | int | None = None,
) -> Interval:
    r"""$\hat\phi_i \pm t_{m-1}\,\mathrm{se}_i$, each player by itself.

    Args:
      estimate: Estimate with its counts of independent units; exact values give a
        point.
      level: Level of each interval.
      score_range: Length $R$ of the range of a unit, in the units of the score, for
        players whose units all agree; the range of the units that came when `None`.

    Raises:
      ValueError: If the level is not between 0 and 1.

    Example:
      >>> estimate = ValueEstimate(np.zeros(1), np.ones(1), np.array([5]))
      >>> student(estimate).upper.round(3).tolist()
      [2.776]
      >>> agreeing = ValueEstimate(np.zeros(1), np.zeros(1), np.array([300]))
      >>> student(agreeing, score_range=1.0).upper.round(6).tolist()
      [0.01]

    References:
      Student, *The probable error of a mean*, 1908.
      Hanley and Lippman-Hand, *If nothing goes wrong, is everything all right?*, 1983.
    """
    _check_level(level)
    return _around(estimate, 1 - level, score_range)


def simultaneous(
    estimate: ValueEstimate,
    level: float = 0.95,
    *,
    score_range: float | int | None = None,
) -> Interval:
    r"""Intervals that hold all together with the given level (Bonferroni over players).

    Args:
      estimate: Estimate with its counts of independent units.
      level: Level of all intervals at once.
      score_range: Length of the range of a unit, as of `student`.

    Raises:
      ValueError: If the level is not between 0 and 1.

    Example:
      >>> estimate = ValueEstimate(np.zeros(2), np.ones(2), np.array([5, 5]))
      >>> simultaneous(estimate).upper.round(3).tolist()
      [3.495, 3.495]

    References:
      Dunn, *Multiple comparisons among means*, 1961.
    """
    _check_level(level)
    return _around(estimate, (1 - level) / len(estimate.values), score_range)


def bernstein(
    estimate: ValueEstimate, width: float | int, level: float = 0.95
) -> Interval:
    r"""Empirical Bernstein: holds for every distribution of bounded units.

    $$\hat\phi_i \pm \Bigl(\mathrm{se}_i \sqrt{2 \ln(4/\delta)}
      + \frac{7\, w \ln(4/\delta)}{3(m-1)}\Bigr)$$

    Args:
      estimate: Estimate with its counts of independent units.
      width: Length $w$ of the range in which one unit surely lies: twice the range
        of the score for permutations.
      level: Level $1 - \delta$ of each interval.

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
    estimate: ValueEstimate,
    covariance: Float[np.ndarray, "n n"] | None = None,
    *,
    score_range: float | int | None = None,
) -> Float[np.ndarray, "n n"]:
    r"""How surely the value of player $i$ (row) exceeds that of player $j$ (column).

    One-sided confidence of the difference, $T_{m-1}((\hat\phi_i - \hat\phi_j) /
    \mathrm{se}_{ij})$; one half where nothing differs or too few units were drawn.
    Values of the same walks are correlated, so the error of a difference comes from
    their covariance; without it, from the sum of both errors, which is never too small.
    Where all units of a player agree, the error behind the rule of three's interval is
    added; where there is none, the confidence is NaN.

    Args:
      estimate: Estimate with its counts of independent units.
      covariance: Covariance of the values, `Outcome.covariance`.
      score_range: Length of the range of a unit, as of `student`.

    Example:
      >>> values, stderr = np.array([2.0, 1.0]), np.full(2, 1e-9)
      >>> estimate = ValueEstimate(values, stderr, np.full(2, 9))
      >>> rank_confidence(estimate).round(3).tolist()
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
    free = max(float(np.min(degrees_of_freedom(estimate))), 1.0)
    # (n,): 0 but for players whose units all agree.
    hidden = _hidden(estimate, 0.05, score_range) / stats.t.ppf(0.975, free)
    error = error + hidden[:, None] + hidden[None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        score = gap / error
    confidence = np.where(np.isnan(score), 0.5, stats.t.cdf(score, free))
    unknown = np.isnan(hidden)[:, None] | np.isnan(hidden)[None, :]
    confidence = np.where(unknown, np.nan, confidence)
    np.fill_diagonal(confidence, 0.5)
    return confidence


def _around(
    estimate: ValueEstimate, miss: float, score_range: float | int | None
) -> Interval:
    """Two-sided intervals that miss with the given chance each."""
    values, stderr = np.asarray(estimate.values), np.asarray(estimate.stderr)
    free = np.maximum(degrees_of_freedom(estimate), 1)
    factor = stats.t.ppf(1 - miss / 2, free)
    reach = np.where(np.isnan(stderr), np.inf, factor * stderr)
    reach = reach + _hidden(estimate, miss, score_range)
    return Interval(values - reach, values + reach)


def _hidden(
    estimate: ValueEstimate, miss: float, score_range: float | int | None
) -> Float[np.ndarray, " n"]:
    """What units that agree may have missed: 0 elsewhere, NaN where nothing says."""
    counts = np.asarray(estimate.counts)
    sampled = np.isfinite(degrees_of_freedom(estimate))
    agree = (np.asarray(estimate.stderr) == 0) & sampled
    width = estimate.unit_range if score_range is None else score_range
    width = 0.0 if width is None else float(np.asarray(width))
    # What comes with chance q is missed by m units with chance (1 - q)^m < e^(-qm).
    bound = max(3.0, -float(np.log(miss))) * width / np.maximum(counts, 1)
    bound = np.where((counts >= _FEWEST) & (width > 0), bound, np.nan)
    return np.where(agree, bound, 0.0)


def _check_level(level: float) -> None:
    check(0 < level < 1, f"level must lie strictly between 0 and 1; got {level}.")
