r"""How well two valuations agree: correlations with intervals, and overlap at the top.

A correlation with a ground truth can't be judged without its interval (ten contributors
tell little) and the ground truth's own reliability (`jaxval.evaluation.reliability`).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Num

from jaxval._checks import check, same_length
from jaxval._targets import numbers
from jaxval.evaluation.ranking import mean_ranks, top_chances
from jaxval.types import PRNGKey

__all__ = [
    "Agreement",
    "Overlap",
    "bootstrap_interval",
    "pearson",
    "spearman",
    "top_overlap",
]


class Agreement(NamedTuple):
    """A correlation and its 95 % interval.

    Attributes:
      value: Correlation; NaN when one side is constant: there is no order to agree
        with.
      low: Lower limit; NaN with fewer than 4 players.
      high: Upper limit; NaN with fewer than 4 players.
    """

    value: float
    low: float
    high: float


def pearson(x: Num[np.ndarray, " n"], y: Num[np.ndarray, " n"]) -> Agreement:
    r"""Pearson's correlation, with the interval of Fisher's transformation.

    $\tanh(\operatorname{artanh} r \pm 1.96 / \sqrt{n - 3})$.

    Args:
      x: Values by one method, one per player.
      y: Values by another method, in the same order.

    Raises:
      ValueError: if the lengths differ, there are fewer than 2, or one is not finite.

    Example:
      >>> pearson(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])).value
      1.0

    References:
      Fisher, *On the probable error of a coefficient of correlation*, Metron, 1921.
    """
    return _fisher(correlation(x, y), len(x), 1.0)


def spearman(x: Num[np.ndarray, " n"], y: Num[np.ndarray, " n"]) -> Agreement:
    r"""Spearman's rank correlation: Pearson's of the ranks, ties at their mean rank.

    The interval is Fisher's with the variance $(1 + r^2 / 2) / (n - 3)$ of Bonett and
    Wright (2000), and half a swap of neighbours short of $\pm 1$ where all ranks agree:
    that four players are ranked alike does not prove that others would be.

    Args:
      x: Values by one method, one per player.
      y: Values by another method, in the same order.

    Raises:
      ValueError: if the lengths differ, there are fewer than 2, or one is not finite.

    Example:
      >>> spearman(np.array([1.0, 2.0, 30.0]), np.array([1.0, 5.0, 6.0])).value
      1.0

    References:
      Bonett and Wright, *Sample size requirements for estimating Pearson, Kendall and
      Spearman correlations*, Psychometrika, 2000.
    """
    _checked(x, y)
    r = correlation(mean_ranks(np.asarray(x)), mean_ranks(np.asarray(y)))
    n = len(x)
    most = 1 - 6 / (n * (n**2 - 1)) if n > 2 else 0.0
    interval = _fisher(max(-most, min(most, r)) if r == r else r, n, 1 + r**2 / 2)
    return Agreement(r, min(interval.low, r), max(interval.high, r))


def bootstrap_interval(
    key: PRNGKey,
    x: Num[np.ndarray, " n"],
    y: Num[np.ndarray, " n"],
    statistic: Callable[..., Agreement] = spearman,
    num_resamples: int = 1000,
) -> Agreement:
    """A correlation with the percentile interval over resampled players.

    Resamples in which one side is constant have no correlation and are left out.

    Args:
      key: PRNG key of the resamples.
      x: Values by one method, one per player.
      y: Values by another method, in the same order.
      statistic: Correlation: `pearson`, `spearman`, or another function to an
        `Agreement`.
      num_resamples: Number of resamples of n players with replacement.

    Raises:
      ValueError: if the lengths differ, there are fewer than 2 players or no resample.

    Returns:
      The correlation of all players, and the 2.5 and 97.5 percentiles; NaN limits if
      no resample has a correlation.

    Example:
      >>> x = np.arange(10.0)
      >>> found = bootstrap_interval(jax.random.key(0), x, x**2, num_resamples=50)
      >>> round(found.value, 6), round(found.low, 6)
      (1.0, 1.0)

    References:
      Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 13.
    """
    x, y = _checked(x, y)
    check(num_resamples >= 1, f"num_resamples must be at least 1; got {num_resamples}.")
    rows = np.asarray(jax.random.randint(key, (num_resamples, len(x)), 0, len(x)))
    resampled = np.array([statistic(x[i], y[i]).value for i in rows])
    resampled = resampled[np.isfinite(resampled)]
    value = statistic(x, y).value
    if not resampled.size:
        return Agreement(value, math.nan, math.nan)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Agreement(value, float(low), float(high))


class Overlap(NamedTuple):
    """What two methods have in common at the top.

    Attributes:
      share: Share of the most valuable players in common, 0 to 1.
      num_tied: Players at the end of the top, of either method, whose equal values
        don't say which of them are in it: `share` is the expectation over independent
        random orders of them. 0 where the top is well defined.
    """

    share: float
    num_tied: int


def top_overlap(
    x: Num[np.ndarray, " n"], y: Num[np.ndarray, " n"], count: int
) -> Overlap:
    r"""The share of the `count` most valuable players that two methods have in common.

    With $p_i$ and $q_i$ the chances of player $i$ to be in the top of either method
    (0 or 1 but for ties, see `top_chances`), $\frac 1k \sum_i p_i q_i$.

    Args:
      x: Values by one method, one per player.
      y: Values by another method, in the same order.
      count: Number of players at the top, $k$.

    Raises:
      ValueError: if the lengths differ, or `count` is no number of players.

    Example:
      >>> top_overlap(np.array([3.0, 2.0, 1.0]), np.array([3.0, 1.0, 2.0]), 2)
      Overlap(share=0.5, num_tied=0)
      >>> top_overlap(np.array([3.0, 2.0, 1.0]), np.zeros(3), 1).num_tied
      3
    """
    x, y = _checked(x, y)
    p, q = top_chances(x, count), top_chances(y, count)
    tied = sum(int(((each > 0) & (each < 1)).sum()) for each in (p, q))
    return Overlap(float(p @ q) / count, tied)


def _checked(x, y):
    x, y = numbers("x", x, ndim=1), numbers("y", y, ndim=1)
    same_length(x=x, y=y)
    check(len(x) >= 2, f"x and y must have at least 2 players; got {len(x)}.")
    return x, y


def correlation(x, y) -> float:
    """Pearson's correlation without an interval; NaN where one side is constant."""
    x, y = _checked(x, y)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    # In units of the spread, so that tiny and huge values don't under- or overflow.
    x, y = (x - x.mean()) / np.ptp(x), (y - y.mean()) / np.ptp(y)
    r = float(x @ y / math.sqrt((x @ x) * (y @ y)))
    return max(-1.0, min(1.0, r))


def _fisher(r: float, n: int, variance: float) -> Agreement:
    if n < 4 or not math.isfinite(r):
        return Agreement(r, math.nan, math.nan)
    if abs(r) >= 1:
        return Agreement(r, r, r)
    half = 1.959964 * math.sqrt(variance / (n - 3))
    return Agreement(
        r, math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)
    )
