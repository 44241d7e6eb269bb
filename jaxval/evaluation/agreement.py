r"""How well two valuations agree, and how well a valuation agrees with itself.

A correlation with a ground truth can't be judged without two more numbers: its interval
(ten contributors tell little), and how well the ground truth, measured twice, agrees
with itself. No method can be expected to correlate better with a noisy truth than about
the square root of the truth's reliability.
"""

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

    Example:
      >>> spearman(np.array([1.0, 2.0, 30.0]), np.array([1.0, 5.0, 6.0])).value
      1.0
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
    """
    x, y = _checked(x, y)
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
      half: mean correlation between the means of two random halves of the runs.
      whole: $2r / (1 + r)$, Spearman and Brown's forecast for the mean of all of them
        (NaN where halves disagree so much that it means nothing, $r \le 0$).
      ceiling: $\sqrt{\text{whole}}$, about the best that any method can reach.
    """

    half: float
    whole: float
    ceiling: float


def split_half_reliability(
    key: PRNGKey,
    runs: Num[np.ndarray, "runs n"],
    *,
    ranks: bool = False,
    num_splits: int = 100,
) -> Reliability:
    """Correlate the mean of half of the runs with the mean of the other half.

    Args:
      key: draws the halves.
      runs: values, one run (retraining seed) a row; with an odd number, one is left out
        of each split.
      ranks: Spearman's correlation in place of Pearson's.
      num_splits: random splits to average over; all of them where there are few.

    Raises:
      ValueError: with fewer than two runs.
    """
    runs = np.asarray(runs, float)
    check(
        runs.ndim == 2 and len(runs) >= 2,
        f"runs must have at least 2 rows, one a run; got shape {runs.shape}.",
    )
    finite("runs", runs)
    half = len(runs) // 2
    splits = 1 if len(runs) == 2 else num_splits
    orders = [
        np.asarray(jax.random.permutation(jax.random.fold_in(key, i), len(runs)))
        for i in range(splits)
    ]
    measure = spearman if ranks else pearson
    found = [
        measure(runs[o[:half]].mean(0), runs[o[half : 2 * half]].mean(0)).value
        for o in orders
    ]
    r = float(np.mean(found))
    whole = 2 * r / (1 + r) if r > 0 else math.nan
    return Reliability(r, whole, math.sqrt(whole) if r > 0 else math.nan)


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
