r"""Finding bad players (wrong labels, noise) by their low values."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from jaxval._checks import check, same_length
from jaxval._targets import numbers
from jaxval.evaluation.ranking import mean_ranks, num_tied, tie_groups

__all__ = ["Detection", "detect", "kmeans_threshold"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Detection:
    """How well low values give the bad players away.

    Attributes:
      inspected: Players looked at, 1 to n, the least valuable first.
      precision: Share of those that is bad.
      recall: Share of the bad that is among those.
      auc: Chance that a bad player has a lower value than a good one (a tie counts
        half); 0.5 is guessing.
      average_precision: Mean precision at each bad player found.
      f1: F1 score of calling the least valuable bad, as many as there are bad players.
      f1_kmeans: F1 score of calling the lower of two groups bad (`kmeans_threshold`),
        which needs no knowledge of how many there are.
      num_tied: Players that share their value with another one. All numbers are
        expectations over the orders of tied players.
    """

    inspected: Int[np.ndarray, " n"]
    precision: Float[np.ndarray, " n"]
    recall: Float[np.ndarray, " n"]
    auc: float
    average_precision: float
    f1: float
    f1_kmeans: float
    num_tied: int


def detect(
    values: Num[np.ndarray, " n"],
    bad: Bool[np.ndarray, " n"],
    tie_break: Num[np.ndarray, " n"] | None = None,
) -> Detection:
    r"""Judge values by the bad players they give away.

    Players of equal value are looked at in random order, and every number is the exact
    expectation over it. In a group of $m$ tied players, $b$ of them bad, after $N$
    others of which $B$ are bad, the $j$-th is bad with probability $b/m$, so that
    $B + jb/m$ bad ones are expected among the first $N + j$; and where it is bad,
    $(j - 1)(b - 1)/(m - 1)$ of the tied ones before it are, which gives the expected
    contribution to the average precision,

    $$\frac bm \cdot \frac{B + 1 + (j - 1)(b - 1)/(m - 1)}{N + j}.$$

    Args:
      values: Values, one per player; low should mean bad.
      bad: Which players are bad.
      tie_break: Second criterion among equal values, the least looked at first.

    Returns:
      Curves of precision and recall, and scores of the whole order.

    Raises:
      ValueError: unless there are both good and bad players and all values are finite.

    Example:
      >>> found = detect(np.array([0.1, -0.2, 0.3]), np.array([False, True, False]))
      >>> found.auc, found.recall.tolist()
      (1.0, [1.0, 1.0, 1.0])
      >>> found = detect(np.zeros(4), np.array([True, False, False, False]))
      >>> found.auc, found.f1, found.num_tied
      (0.5, 0.25, 4)

    References:
      Jiang et al., *OpenDataVal*, NeurIPS 2023 (noisy label detection and its F1 score
      by 2-means).
    """
    values, bad = numbers("values", values, ndim=1), np.asarray(bad, bool)
    same_length(values=values, bad=bad)
    n, count = len(bad), int(bad.sum())
    check(
        0 < count < n,
        f"bad must hold both kinds of players; {count} of {n} are bad.",
    )
    groups = tie_groups(values, tie_break)
    bad_inspected, hits = _expected(groups, bad)
    inspected = np.arange(1, n + 1)
    below = mean_ranks(-groups)[bad].sum() - count * (count + 1) / 2
    return Detection(
        inspected=inspected,
        precision=bad_inspected / inspected,
        recall=bad_inspected / count,
        auc=float(below / (count * (n - count))),
        average_precision=float(hits.sum() / count),
        # Of `count` players called bad, precision, recall and F1 are one number.
        f1=float(bad_inspected[count - 1] / count),
        f1_kmeans=_f1(kmeans_threshold(values), bad),
        num_tied=num_tied(values, tie_break),
    )


def kmeans_threshold(values: Num[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Which values belong to the lower of two groups; none if all are equal.

    The exact optimum of 2-means on a line: of all cuts of the sorted values the one
    with the largest variance between the groups. Equal values are never parted.

    Args:
      values: Values, one per player.

    Raises:
      ValueError: if one is not finite.

    Example:
      >>> kmeans_threshold(np.array([0.1, 5.0, 0.2, 5.1])).tolist()
      [True, False, True, False]

    References:
      Jiang et al., *OpenDataVal*, NeurIPS 2023.
    """
    values = numbers("values", values, ndim=1)
    check(len(values) > 0, "values is empty: there is nothing to part.")
    if len(values) < 2 or np.ptp(values) == 0:
        return np.zeros(len(values), bool)
    ordered = np.sort(values - values.mean())
    size = np.arange(1, len(values))
    low = np.cumsum(ordered)[:-1]
    # With centred values both groups' sums are equal but for the sign.
    between = low**2 / size + low**2 / (len(values) - size)
    between = np.where(np.diff(ordered) > 0, between, -np.inf)
    return values <= np.sort(values)[int(np.argmax(between))]


def _expected(groups, bad):
    """Expected bad players among the first 1 to n, and precision times being bad."""
    order = np.argsort(groups, kind="stable")
    group = groups[order]
    size, bads = np.bincount(groups), np.bincount(groups, bad)
    # (n,), per place in the order: the group's size m and bad players b, those before
    # it, N and B, and the place inside the group, j = 1 to m.
    m, b = size[group], bads[group]
    before = (np.cumsum(size) - size)[group]
    bad_before = (np.cumsum(bads) - bads)[group]
    j = np.arange(1, len(bad) + 1) - before
    expected_bad = bad_before + j * b / m
    earlier = (j - 1) * (b - 1) / np.maximum(m - 1, 1)
    return expected_bad, b / m * (bad_before + 1 + earlier) / (before + j)


def _f1(called, bad) -> float:
    both = int(np.sum(called & bad))
    total = int(called.sum() + bad.sum())
    return 2 * both / total
