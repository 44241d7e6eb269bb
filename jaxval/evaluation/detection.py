"""Finding bad players (wrong labels, noise) by their low values."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Num

from jaxval._checks import check, finite, same_length
from jaxval.evaluation.ranking import descending, mean_ranks

__all__ = ["Detection", "detect", "two_means"]


class Detection(NamedTuple):
    """How well low values give the bad players away.

    Attributes:
      inspected: 1 to n: players looked at, the least valuable first.
      precision: of those, the share that is bad.
      recall: of the bad, the share found among them.
      auc: chance that a bad player has a lower value than a good one (ties count half);
        0.5 is guessing.
      average_precision: mean precision at each bad player found.
      f1: F1 score of calling the least valuable fraction bad, as many as there are bad.
      f1_two_means: F1 score of calling the lower of two groups bad (`two_means`), which
        needs no knowledge of how many there are.
    """

    inspected: Num[np.ndarray, " n"]
    precision: Float[np.ndarray, " n"]
    recall: Float[np.ndarray, " n"]
    auc: float
    average_precision: float
    f1: float
    f1_two_means: float


def detect(
    values: Num[np.ndarray, " n"],
    bad: Bool[np.ndarray, " n"],
    tie_break: Num[np.ndarray, " n"] | None = None,
) -> Detection:
    """Judge values by the bad players they give away.

    Args:
      values: one a player; low should mean bad.
      bad: which ones are.
      tie_break: as of `descending`.

    Raises:
      ValueError: unless there are both good and bad players.

    Example:
      >>> found = detect(np.array([0.1, -0.2, 0.3]), np.array([False, True, False]))
      >>> found.auc, found.recall.tolist()
      (1.0, [1.0, 1.0, 1.0])

    References:
      Jiang et al., *OpenDataVal*, NeurIPS 2023 (noisy label detection and its F1 score
      by 2-means).
    """
    values, bad = np.asarray(values, float), np.asarray(bad, bool)
    same_length(values=values, bad=bad)
    n, count = len(bad), int(bad.sum())
    check(
        0 < count < n,
        f"bad must hold both kinds of players; {count} of {n} are bad.",
    )
    found = np.cumsum(bad[descending(values, tie_break)[::-1]])
    inspected = np.arange(1, n + 1)
    precision, recall = found / inspected, found / count
    hits = np.diff(found, prepend=0) > 0
    below = mean_ranks(-values)[bad].sum() - count * (count + 1) / 2
    return Detection(
        inspected,
        precision,
        recall,
        auc=float(below / (count * (n - count))),
        average_precision=float(precision[hits].mean()),
        f1=float(precision[count - 1]),
        f1_two_means=_f1(two_means(values), bad),
    )


def two_means(values: Num[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Which values belong to the lower of two groups; nobody if all are equal.

    The exact optimum of 2-means on a line: of all cuts of the sorted values the one
    with the largest variance between the groups.

    Args:
      values: one a player.

    Raises:
      ValueError: if one is not finite.

    Example:
      >>> two_means(np.array([0.1, 5.0, 0.2, 5.1])).tolist()
      [True, False, True, False]

    References:
      Jiang et al., *OpenDataVal*, NeurIPS 2023.
    """
    values = np.asarray(values, float)
    finite("values", values)
    if len(values) < 2 or np.ptp(values) == 0:
        return np.zeros(len(values), bool)
    ordered = np.sort(values - values.mean())
    size = np.arange(1, len(values))
    low = np.cumsum(ordered)[:-1]
    # With centred values both groups' sums are equal but for the sign.
    between = low**2 / size + low**2 / (len(values) - size)
    between = np.where(np.diff(ordered) > 0, between, -np.inf)
    return values <= np.sort(values)[int(np.argmax(between))]


def _f1(called, bad) -> float:
    both = int(np.sum(called & bad))
    total = int(called.sum() + bad.sum())
    return 2 * both / total
