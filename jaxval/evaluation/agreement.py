r"""How well two valuations agree, and how well a valuation agrees with itself.

A correlation with a ground truth can't be judged without two more numbers: its interval
(ten contributors tell little), and how well the ground truth, measured twice, agrees
with itself. No method can be expected to correlate better with a noisy truth than about
the square root of the truth's reliability.
"""

import itertools
import math
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Num

from jaxval._checks import check, finite, same_length
from jaxval.evaluation.ranking import descending, mean_ranks
from jaxval.types import PRNGKey

__all__ = [
    "Agreement",
    "Reliability",
    "bootstrap_interval",
    "pearson",
    "rank_stability",
    "spearman",
    "split_half_reliability",
    "top_overlap",
]


class Agreement(NamedTuple):
    """A correlation and its 95 % interval.

    Attributes:
      value: NaN when one side is constant: there is no order to agree with.
      low: NaN with fewer than 4 players.
      high: likewise.
    """

    value: float
    low: float
    high: float


def pearson(x: Num[np.ndarray, " n"], y: Num[np.ndarray, " n"]) -> Agreement:
    r"""Pearson's correlation, with the interval of Fisher's transformation.

    $\tanh(\operatorname{artanh} r \pm 1.96 / \sqrt{n - 3})$.

    Args:
      x: values of one method.
      y: values of another, player by player.

    Raises:
      ValueError: if the lengths differ, there are fewer than 2, or one is not finite.

    Example:
      >>> pearson(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])).value
      1.0

    References:
      Fisher, *On the probable error of a coefficient of correlation*, Metron, 1921.
    """
    return _fisher(_correlation(x, y), len(x), 1.0)


def spearman(x: Num[np.ndarray, " n"], y: Num[np.ndarray, " n"]) -> Agreement:
    r"""Spearman's rank correlation: Pearson's of the ranks, equals at their mean rank.

    The interval is Fisher's with the variance $(1 + r^2 / 2) / (n - 3)$ of Bonett and
    Wright (2000), and half a swap of neighbours short of $\pm 1$ where all ranks agree:
    that four players are ranked alike is no proof that others would be.

    Args:
      x: values of one method.
      y: values of another, player by player.

    Raises:
      ValueError: as of `pearson`.

    Example:
      >>> spearman(np.array([1.0, 2.0, 30.0]), np.array([1.0, 5.0, 6.0])).value
      1.0

    References:
      Bonett and Wright, *Sample size requirements for estimating Pearson, Kendall and
      Spearman correlations*, Psychometrika, 2000.
    """
    _checked(x, y)
    r = _correlation(mean_ranks(np.asarray(x)), mean_ranks(np.asarray(y)))
    n = len(x)
    most = 1 - 6 / (n * (n**2 - 1)) if n > 2 else 0.0
    found = _fisher(max(-most, min(most, r)) if r == r else r, n, 1 + r**2 / 2)
    return Agreement(r, min(found.low, r), max(found.high, r))


def bootstrap_interval(
    key: PRNGKey,
    x: Num[np.ndarray, " n"],
    y: Num[np.ndarray, " n"],
    statistic=spearman,
    num_resamples: int = 1000,
) -> Agreement:
    """A correlation with the percentile interval over resampled players.

    Resamples in which one side is constant have no correlation and are left out.

    Args:
      key: draws the resamples.
      x: values of one method.
      y: values of another.
      statistic: `pearson`, `spearman`, or another function to an `Agreement`.
      num_resamples: of n players with replacement.

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
    drawn = np.array([statistic(x[i], y[i]).value for i in rows])
    drawn = drawn[np.isfinite(drawn)]
    value = statistic(x, y).value
    if not drawn.size:
        return Agreement(value, math.nan, math.nan)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Agreement(value, float(low), float(high))


def top_overlap(
    x: Num[np.ndarray, " n"], y: Num[np.ndarray, " n"], count: int
) -> float:
    """The share of the `count` most valuable players that two methods have in common.

    Args:
      x: values of one method.
      y: values of another, player by player.
      count: players at the top of either; ties fall to the smaller row number.

    Raises:
      ValueError: if the lengths differ, or `count` is no number of players.

    Example:
      >>> top_overlap(np.array([3.0, 2.0, 1.0]), np.array([3.0, 1.0, 2.0]), 2)
      0.5
    """
    x, y = _checked(x, y)
    check(1 <= count <= len(x), f"count must be 1 to {len(x)}; got {count}.")
    both = np.intersect1d(descending(x)[:count], descending(y)[:count])
    return len(both) / count


def rank_stability(runs: Num[np.ndarray, "runs n"]) -> float:
    """The mean Spearman correlation of all pairs of runs of one method.

    Args:
      runs: values, one run (seed, draw) a row.

    Returns:
      NaN if a run is constant: it has no order.

    Raises:
      ValueError: with fewer than two runs.

    Example:
      >>> rank_stability(np.array([[1.0, 2.0, 3.0], [1.0, 3.0, 5.0]]))
      1.0
    """
    runs = np.asarray(runs, float)
    check(
        runs.ndim == 2 and len(runs) >= 2,
        f"runs must have at least 2 rows, one a run; got shape {runs.shape}.",
    )
    ranks = np.array([mean_ranks(run) for run in runs])
    pairs = [
        _correlation(ranks[i], ranks[j])
        for i in range(len(runs))
        for j in range(i + 1, len(runs))
    ]
    return float(np.mean(pairs))


class Reliability(NamedTuple):
    r"""How far a ground truth averaged over runs can be trusted.

    Attributes:
      half: mean correlation between the means of two halves of the runs.
      whole: Spearman and Brown's forecast for the mean of all of them, as of
        `split_half_reliability` (NaN where halves disagree so much that it means
        nothing, $r \le 0$).
      ceiling: $\sqrt{\text{whole}}$, about the best that any method can reach.
      splits: behind `half`: those with an order in either half.
    """

    half: float
    whole: float
    ceiling: float
    splits: int


def split_half_reliability(
    key: PRNGKey,
    runs: Num[np.ndarray, "runs n"],
    *,
    ranks: bool = False,
    num_splits: int = 100,
) -> Reliability:
    r"""Correlate the mean of half of the runs with the mean of the other half.

    With $r$ the mean correlation of halves of $h$ out of $R$ runs, the mean of all runs
    has, by Spearman and Brown, the reliability

    $$\frac{k\,r}{1 + (k - 1)\,r}, \qquad k = R / h,$$

    which is $2r/(1+r)$ for an even number of runs. It is derived for Pearson's
    correlation and an approximation for that of ranks.

    Args:
      key: draws the halves, where there are too many to take all.
      runs: values, one run (retraining seed) a row; with an odd number, one is left out
        of each split.
      ranks: Spearman's correlation in place of Pearson's.
      num_splits: random splits to average over; all different ones where there are no
        more of them (up to 8 runs by default).

    Returns:
      The correlation and what follows from it. A split in which one half is constant
      has no correlation and doesn't count; all are NaN if no split counts.

    Raises:
      ValueError: with fewer than two runs, or if a number is not finite.

    Example:
      >>> runs = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, 3.0, 2.0]])
      >>> found = split_half_reliability(jax.random.key(0), runs)
      >>> round(found.half, 3), round(found.whole, 3), found.splits
      (0.667, 0.857, 3)

    References:
      Spearman, *Correlation calculated from faulty data*; Brown, *Some experimental
      results in the correlation of mental abilities*, British Journal of Psychology,
      1910.
    """
    runs = np.asarray(runs, float)
    check(
        runs.ndim == 2 and len(runs) >= 2,
        f"runs must have at least 2 rows, one a run; got shape {runs.shape}.",
    )
    check(num_splits >= 1, f"num_splits must be at least 1; got {num_splits}.")
    finite("runs", runs)
    measure = spearman if ranks else pearson
    splits = _splits(key, len(runs), num_splits)
    found = np.array(
        [measure(runs[a].mean(axis=0), runs[b].mean(axis=0)).value for a, b in splits]
    )
    found = found[np.isfinite(found)]
    r = float(found.mean()) if found.size else math.nan
    if not r > 0:
        return Reliability(r, math.nan, math.nan, len(found))
    ratio = len(runs) / (len(runs) // 2)
    whole = ratio * r / (1 + (ratio - 1) * r)
    return Reliability(r, whole, math.sqrt(whole), len(found))


def _splits(key, runs: int, most: int) -> list[tuple[list[int], list[int]]]:
    """Pairs of disjoint halves: all of them, or so many at random."""
    half, numbers = runs // 2, range(runs)
    if math.comb(runs, half) * math.comb(runs - half, half) // 2 <= most:
        return [
            (list(a), list(b))
            for a in itertools.combinations(numbers, half)
            for b in itertools.combinations(sorted(set(numbers) - set(a)), half)
            if a[0] < b[0]
        ]
    orders = [
        np.asarray(jax.random.permutation(jax.random.fold_in(key, i), runs)).tolist()
        for i in range(most)
    ]
    return [(order[:half], order[half : 2 * half]) for order in orders]


def _checked(x, y):
    x, y = np.asarray(x, float), np.asarray(y, float)
    same_length(x=x, y=y)
    check(len(x) >= 2, f"a correlation needs at least 2 players; got {len(x)}.")
    finite("x", x)
    finite("y", y)
    return x, y


def _correlation(x, y) -> float:
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
