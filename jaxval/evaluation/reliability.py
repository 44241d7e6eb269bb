r"""How well a valuation agrees with itself, from run to run.

No method can be expected to correlate better with a noisy ground truth than about the
square root of that ground truth's reliability.
"""

import itertools
import math
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Num

from jaxval._checks import check, finite
from jaxval.evaluation.agreement import correlation, pearson, spearman
from jaxval.evaluation.ranking import mean_ranks
from jaxval.types import PRNGKey

__all__ = ["Reliability", "rank_stability", "split_half_reliability"]


def rank_stability(runs: Num[np.ndarray, "runs n"]) -> float:
    """The mean Spearman correlation of all pairs of runs of one method.

    Args:
      runs: Values, one run (seed, draw) per row.

    Returns:
      Mean correlation; NaN if a run is constant: it has no order.

    Raises:
      ValueError: with fewer than two runs.

    Example:
      >>> rank_stability(np.array([[1.0, 2.0, 3.0], [1.0, 3.0, 5.0]]))
      1.0
    """
    runs = np.asarray(runs, float)
    check(
        runs.ndim == 2 and len(runs) >= 2,
        f"runs must have at least 2 rows, one per run; got shape {runs.shape}.",
    )
    ranks = np.array([mean_ranks(run) for run in runs])
    pairs = [
        correlation(ranks[i], ranks[j])
        for i in range(len(runs))
        for j in range(i + 1, len(runs))
    ]
    return float(np.mean(pairs))


class Reliability(NamedTuple):
    r"""How far a ground truth averaged over runs can be trusted.

    Attributes:
      half: Split-half correlation: the mean over splits of the correlation between the
        means of two halves of the runs.
      full: Reliability of the mean of all runs, predicted by Spearman and Brown's
        formula (NaN where halves disagree so much that it means nothing, $r \le 0$).
      ceiling: $\sqrt{\text{full}}$, about the best correlation any method can reach.
      num_splits: Number of splits behind `half`: those with an order in either half.
    """

    half: float
    full: float
    ceiling: float
    num_splits: int


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
      key: PRNG key of the splits, where there are too many to take all.
      runs: Values, one run (retraining seed) per row; with an odd number, one is left
        out of each split.
      ranks: Whether to take Spearman's correlation in place of Pearson's.
      num_splits: Number of random splits to average over; all different ones where
        there are no more of them (up to 8 runs by default).

    Returns:
      The correlation and what follows from it. A split in which one half is constant
      has no correlation and doesn't count; all are NaN if no split counts.

    Raises:
      ValueError: with fewer than two runs, or if a number is not finite.

    Example:
      >>> runs = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, 3.0, 2.0]])
      >>> found = split_half_reliability(jax.random.key(0), runs)
      >>> round(found.half, 3), round(found.full, 3), found.num_splits
      (0.667, 0.857, 3)

    References:
      Spearman, *Correlation calculated from faulty data*; Brown, *Some experimental
      results in the correlation of mental abilities*, British Journal of Psychology,
      1910.
    """
    runs = np.asarray(runs, float)
    check(
        runs.ndim == 2 and len(runs) >= 2,
        f"runs must have at least 2 rows, one per run; got shape {runs.shape}.",
    )
    check(num_splits >= 1, f"num_splits must be at least 1; got {num_splits}.")
    finite("runs", runs)
    measure = spearman if ranks else pearson
    splits = _splits(key, len(runs), num_splits)
    halves = np.array(
        [measure(runs[a].mean(axis=0), runs[b].mean(axis=0)).value for a, b in splits]
    )
    halves = halves[np.isfinite(halves)]
    r = float(halves.mean()) if halves.size else math.nan
    if not r > 0:
        return Reliability(r, math.nan, math.nan, len(halves))
    ratio = len(runs) / (len(runs) // 2)
    full = ratio * r / (1 + (ratio - 1) * r)
    return Reliability(r, full, math.sqrt(full), len(halves))


def _splits(key, runs: int, most: int) -> list[tuple[list[int], list[int]]]:
    """Pairs of disjoint halves: all of them, or `most` at random."""
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
