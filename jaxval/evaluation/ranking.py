"""Orders and ranks, with ties treated as ties."""

import numpy as np
from jaxtyping import Bool, Float, Int, Num
from scipy import stats

from jaxval._checks import check, finite, same_length
from jaxval.evaluation.replicates import mean_and_stderr

__all__ = ["beats_next", "descending", "mean_ranks", "near_ties", "ranks"]


def descending(
    values: Num[np.ndarray, " n"], tie_break: Num[np.ndarray, " n"] | None = None
) -> Int[np.ndarray, " n"]:
    """Players from the most to the least valuable.

    Values are often tied (all points of a cluster whose value is 0), and an order that
    falls back on the row number quietly uses how the file was sorted. Say what decides:
    a random number for each player, or a second criterion.

    Args:
      values: one a player.
      tie_break: decides among equals, the largest first; the row number, the smallest
        first, when left out.

    Raises:
      ValueError: if a value is not finite, or the lengths differ.

    Example:
      >>> descending(np.array([1.0, 3.0, 3.0]), np.array([0.0, 0.1, 0.7])).tolist()
      [2, 1, 0]
    """
    values = np.asarray(values)
    finite("values", values)
    rows = np.arange(len(values))
    second = -rows if tie_break is None else np.asarray(tie_break)
    same_length(values=values, tie_break=second)
    return np.lexsort((rows, -second, -values))


def mean_ranks(values: Num[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Ranks from 1, the smallest first; equals share the mean of their places.

    Args:
      values: one a player.

    Raises:
      ValueError: if one is not finite.

    Example:
      >>> mean_ranks(np.array([10.0, 20.0, 10.0])).tolist()
      [1.5, 3.0, 1.5]
    """
    values = np.asarray(values)
    finite("values", values)
    in_order = np.sort(values)
    first = np.searchsorted(in_order, values, side="left")
    last = np.searchsorted(in_order, values, side="right")
    return (first + 1 + last) / 2


def near_ties(
    values: Num[np.ndarray, " n"],
    stderr: Num[np.ndarray, " n"],
    num_errors: float = 2.0,
) -> int:
    """Neighbours in the order of values that the standard errors can't tell apart.

    Args:
      values: one a player.
      stderr: of each; 0 where it is exact.
      num_errors: standard errors of the difference, taken as independent, below which
        two values are as good as tied.

    Returns:
      How many of the n - 1 pairs of neighbours.

    Example:
      >>> near_ties(np.array([1.0, 1.1, 5.0]), np.array([0.1, 0.1, 0.1]))
      1
    """
    values, stderr = np.asarray(values, float), np.asarray(stderr, float)
    same_length(values=values, stderr=stderr)
    check(num_errors >= 0, f"num_errors must not be negative; got {num_errors}.")
    order = np.argsort(values)
    gaps = np.diff(values[order])
    errors = np.hypot(stderr[order][1:], stderr[order][:-1])
    return int(np.sum((gaps <= num_errors * errors) | (gaps == 0)))


def ranks(values: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """1 for the largest value; equal values share the better place.

    Example:
      >>> ranks(np.array([0.1, 0.3, 0.3])).tolist()
      [3, 1, 1]
    """
    return stats.rankdata(-np.asarray(values), method="min").astype(int)


def beats_next(
    draws: Float[np.ndarray, "m n"], confidence: float = 0.95
) -> Bool[np.ndarray, " n"]:
    """Whether each player's mean is surely above that of the next in rank.

    A paired t test on the rows, one-sided: what moves both alike, as a common
    initialisation does, doesn't count against either. The last has nobody to beat.

    Args:
      draws: independent estimates, one a row, of all players' values.
      confidence: of each comparison by itself.

    Example:
      >>> beats_next(np.array([[1.0, 2.0, 0.9], [1.1, 2.2, 1.2]])).tolist()
      [False, True, False]
    """
    order = np.argsort(-draws.mean(0), kind="stable")
    sure = np.zeros(draws.shape[1], bool)
    if len(draws) < 2:
        return sure
    ahead, stderr = mean_and_stderr(draws[:, order[:-1]] - draws[:, order[1:]])
    sure[order[:-1]] = ahead > stats.t.ppf(confidence, len(draws) - 1) * stderr
    return sure
