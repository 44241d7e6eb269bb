r"""Orders and ranks, with ties treated as ties, and how sure a ranking is.

Values are often tied: all points of a cluster whose value is 0, identical rows, players
that no coalition needs. An order that falls back on the row number then reports how the
file was sorted. What needs an order takes a `tie_break`, and what is left tied after it
is answered in expectation over all orders of the tied, or refused.
"""

import numpy as np
from jaxtyping import Bool, Float, Int, Num
from scipy import stats

from jaxval._checks import check, finite, same_length
from jaxval._targets import numbers
from jaxval.evaluation.replicates import mean_and_stderr

__all__ = [
    "beats_next",
    "mean_ranks",
    "num_tied",
    "num_unresolved_neighbours",
    "order_descending",
    "prob_greater",
    "rank_ranges",
    "ranks",
    "tie_groups",
    "top_chances",
]


def order_descending(
    values: Num[np.ndarray, " n"], tie_break: Num[np.ndarray, " n"] | None = None
) -> Int[np.ndarray, " n"]:
    """Players from the most to the least valuable.

    Say what decides among equal values: a random number for each player, or a second
    criterion.

    Args:
      values: Values, one per player.
      tie_break: Second criterion among equal values, the largest first. What it leaves
        tied, or all ties when left out, falls to the smaller row number.

    Returns:
      Row numbers of the players.

    Raises:
      ValueError: if a value is not finite, or the lengths differ.

    Example:
      >>> values, second = np.array([1.0, 3.0, 3.0]), np.array([0.0, 0.1, 0.7])
      >>> order_descending(values, second).tolist()
      [2, 1, 0]
    """
    values, second = _both(values, tie_break)
    return np.lexsort((np.arange(len(values)), -second, -values))


def tie_groups(
    values: Num[np.ndarray, " n"], tie_break: Num[np.ndarray, " n"] | None = None
) -> Int[np.ndarray, " n"]:
    """The group of players of equal value that each player is in, from 0, the lowest.

    Args:
      values: Values, one per player.
      tie_break: Second criterion: players are tied if they agree in both.

    Raises:
      ValueError: if a value is not finite, or the lengths differ.

    Example:
      >>> tie_groups(np.array([2.0, 1.0, 2.0])).tolist()
      [1, 0, 1]
      >>> tie_groups(np.array([2.0, 1.0, 2.0]), np.array([5.0, 0.0, 4.0])).tolist()
      [2, 0, 1]
    """
    values, second = _both(values, tie_break)
    order = np.lexsort((second, values))
    # (n-1,): whether the player after differs from the one before it in the order.
    steps = (np.diff(values[order]) != 0) | (np.diff(second[order]) != 0)
    groups = np.empty(len(values), int)
    groups[order] = np.concatenate([[0], np.cumsum(steps)])[: len(values)]
    return groups


def num_tied(
    values: Num[np.ndarray, " n"], tie_break: Num[np.ndarray, " n"] | None = None
) -> int:
    """Players that share their value with another player.

    Args:
      values: Values, one per player.
      tie_break: Second criterion: players are tied if they agree in both.

    Example:
      >>> num_tied(np.array([2.0, 1.0, 2.0, 3.0]))
      2
    """
    sizes = np.bincount(tie_groups(values, tie_break))
    return int(sizes[sizes > 1].sum())


def mean_ranks(values: Num[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Ranks from 1, the smallest first; equal values share the mean of their ranks.

    That mean is the expected rank over all orders of the tied players.

    Args:
      values: Values, one per player.

    Raises:
      ValueError: if one is not finite.

    Example:
      >>> mean_ranks(np.array([10.0, 20.0, 10.0])).tolist()
      [1.5, 3.0, 1.5]
    """
    values = numbers("values", values, ndim=1)
    in_order = np.sort(values)
    first = np.searchsorted(in_order, values, side="left")
    last = np.searchsorted(in_order, values, side="right")
    return (first + 1 + last) / 2


def ranks(values: Num[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Ranks from 1, the largest value first; equal values share the better rank.

    Args:
      values: Values, one per player.

    Raises:
      ValueError: if one is not finite.

    Example:
      >>> ranks(np.array([0.1, 0.3, 0.3])).tolist()
      [3, 1, 1]
    """
    values = numbers("values", values, ndim=1)
    return stats.rankdata(-values, method="min").astype(int)


def top_chances(values: Num[np.ndarray, " n"], count: int) -> Float[np.ndarray, " n"]:
    """The chance that each player is among the `count` most valuable.

    It is 1 above the value at which the top ends, 0 below it, and the same for all
    players who share that value: the remaining places over their number.

    Args:
      values: Values, one per player.
      count: Number of players at the top.

    Raises:
      ValueError: if a value is not finite, or `count` is not 1 to n.

    Example:
      >>> top_chances(np.array([3.0, 1.0, 1.0, 0.0]), 2).tolist()
      [1.0, 0.5, 0.5, 0.0]
    """
    values = numbers("values", values, ndim=1)
    check(1 <= count <= len(values), f"count must be 1 to {len(values)}; got {count}.")
    last = np.sort(values)[-count]
    above, tied = values > last, values == last
    return np.where(above, 1.0, np.where(tied, (count - above.sum()) / tied.sum(), 0.0))


def num_unresolved_neighbours(
    values: Num[np.ndarray, " n"],
    stderr: Num[np.ndarray, " n"],
    num_errors: float = 2.0,
) -> int:
    """Neighbouring pairs in the order of values whose order the errors leave open.

    Args:
      values: Values, one per player.
      stderr: Standard error of each value; 0 where it is exact.
      num_errors: Standard errors of the difference, taken as independent, below which
        two values are as good as tied.

    Returns:
      How many of the n - 1 pairs of neighbours.

    Raises:
      ValueError: if the lengths differ or `num_errors` is negative.

    Example:
      >>> errors = np.array([0.1, 0.1, 0.1])
      >>> num_unresolved_neighbours(np.array([1.0, 1.1, 5.0]), errors)
      1
    """
    values, stderr = np.asarray(values, float), np.asarray(stderr, float)
    same_length(values=values, stderr=stderr)
    check(num_errors >= 0, f"num_errors must not be negative; got {num_errors}.")
    order = np.argsort(values)
    gaps = np.diff(values[order])
    errors = np.hypot(stderr[order][1:], stderr[order][:-1])
    return int(np.sum((gaps <= num_errors * errors) | (gaps == 0)))


def prob_greater(draws: Float[np.ndarray, "m n"]) -> Float[np.ndarray, "n n"]:
    r"""One-sided confidence that the player of the row is above that of the column.

    Paired t: with $\bar d$ the mean difference of $m$ replicates and $s$ its standard
    error, $T_{m-1}(\bar d / s)$. What moves both players alike, as a common
    initialisation does, counts against neither. One half where nothing differs or there
    is one replicate only.

    Args:
      draws: Independent replicates (seeds, draws) of all players' values, one per row.

    Example:
      >>> draws = np.array([[1.0, 2.0], [1.1, 2.2], [1.2, 2.3]])
      >>> prob_greater(draws).round(3).tolist()
      [[0.5, 0.0], [1.0, 0.5]]

    References:
      Student, *The probable error of a mean*, Biometrika, 1908.
    """
    m, n = draws.shape
    if m < 2:
        return np.full((n, n), 0.5)
    # (m, n, n) -> (n, n): one column per ordered pair of players.
    gaps = (draws[:, :, None] - draws[:, None, :]).reshape(m, n * n)
    gap, stderr = mean_and_stderr(gaps)
    with np.errstate(divide="ignore", invalid="ignore"):
        score = gap / stderr
    chance = np.where(np.isnan(score), 0.5, stats.t.cdf(score, m - 1))
    return chance.reshape(n, n)


def rank_ranges(
    prob_greater: Float[np.ndarray, "n n"], confidence: float = 0.95
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """The best and the worst rank that each player may have.

    A player is behind all those who are worth more with that confidence (each
    comparison by itself), and ahead of those who are worth less.

    Args:
      prob_greater: Confidence that the player of the row is above that of the column.
      confidence: Confidence above which a comparison counts as resolved.

    Returns:
      The best and the worst rank of each player, from 1.

    Raises:
      ValueError: if `confidence` is not between 0.5 and 1.

    Example:
      >>> best, worst = rank_ranges(np.array([[0.5, 0.99], [0.01, 0.5]]))
      >>> best.tolist(), worst.tolist()
      ([1, 2], [1, 2])
    """
    check(
        0.5 <= confidence < 1,
        f"confidence must be at least 0.5 and below 1; got {confidence}.",
    )
    best = 1 + (prob_greater > confidence).sum(0)
    worst = len(prob_greater) - (prob_greater > confidence).sum(1)
    return best, worst


def beats_next(
    draws: Float[np.ndarray, "m n"], confidence: float = 0.95
) -> Bool[np.ndarray, " n"]:
    """Whether each player's mean is significantly above that of the next in rank.

    A paired t test on the rows, one-sided, as in `prob_greater`. The next in rank is
    the player with the next lower mean, or all of them where several share it; the last
    has none and beats none.

    Args:
      draws: Independent replicates of all players' values, one per row.
      confidence: Confidence of each comparison by itself.

    Example:
      >>> beats_next(np.array([[1.0, 2.0, 0.9], [1.1, 2.2, 1.2]])).tolist()
      [False, True, False]
    """
    beats = np.zeros(draws.shape[1], bool)
    if len(draws) < 2:
        return beats
    means = draws.mean(0)
    quantile = stats.t.ppf(confidence, len(draws) - 1)
    for i in np.flatnonzero(means > means.min()):
        after = means == means[means < means[i]].max()
        ahead, stderr = mean_and_stderr(draws[:, i : i + 1] - draws[:, after])
        beats[i] = (ahead > quantile * stderr).all()
    return beats


def _both(values, tie_break):
    values = numbers("values", values, ndim=1)
    second = np.zeros(len(values)) if tie_break is None else np.asarray(tie_break)
    same_length(values=values, tie_break=second)
    finite("tie_break", second)
    return values, second
