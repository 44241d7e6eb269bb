"""Ranks, and how sure they are."""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

__all__ = ["beats_next", "mean_and_stderr", "ranks"]


def ranks(values: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """1 for the largest value; equal values share the better place.

    Example:
      >>> ranks(np.array([0.1, 0.3, 0.3])).tolist()
      [3, 1, 1]
    """
    return stats.rankdata(-np.asarray(values), method="min").astype(int)


def mean_and_stderr(
    draws: Float[np.ndarray, "m n"],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Mean over the rows and its standard error; NaN where there is one row only."""
    if len(draws) < 2:
        return draws[0], np.full(draws.shape[1], np.nan)
    return draws.mean(0), draws.std(0, ddof=1) / np.sqrt(len(draws))


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
