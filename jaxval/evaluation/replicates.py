"""Means and standard errors over replicates: training seeds, draws, resamples.

The one place where they are computed. A retraining game pays the mean over seeds; here
are the same means, of scores and of values, with what the seeds leave uncertain.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

from jaxval._checks import check
from jaxval.types import AnyArray, ValueEstimate

__all__ = [
    "ScoreEstimate",
    "ScoresBySeed",
    "bootstrap_stderr",
    "leave_one_out",
    "mean_and_error",
    "mean_and_stderr",
    "over_seeds",
    "seed_values",
]

Masks = Bool[AnyArray, "m n"]


@runtime_checkable
class ScoresBySeed(Protocol):
    """Coalitions to scores, one per training seed, as of `retraining.seed_scores`."""

    @property
    def num_players(self) -> int:
        """Number of players, the length of a mask."""
        ...

    def __call__(self, masks: Masks) -> Float[np.ndarray, "m seeds"]:
        """Scores of each coalition, one per seed."""
        ...


class ScoreEstimate(NamedTuple):
    """Mean scores of coalitions over training seeds.

    Attributes:
      scores: Mean scores, one per coalition.
      stderr: Standard error of each mean; NaN with one seed.
      seeds: Number of training seeds behind each mean.
    """

    scores: Float[np.ndarray, " m"]
    stderr: Float[np.ndarray, " m"]
    seeds: int


def mean_and_stderr(
    draws: Float[np.ndarray, "m n"],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    r"""Mean over the rows and its standard error $s / \sqrt m$.

    Args:
      draws: Independent replicates, one per row.

    Returns:
      Means and standard errors, one per column; the errors are NaN with one row.

    Raises:
      ValueError: without a row.

    Example:
      >>> mean, stderr = mean_and_stderr(np.array([[1.0, 2.0], [3.0, 2.0]]))
      >>> mean.tolist(), stderr.tolist()
      ([2.0, 2.0], [1.0, 0.0])
    """
    check(len(draws) > 0, "draws is empty: there is nothing to average.")
    if len(draws) < 2:
        return draws[0], np.full(draws.shape[1], np.nan)
    return draws.mean(0), draws.std(0, ddof=1) / np.sqrt(len(draws))


def mean_and_error(
    numbers: Iterable[float] | Float[np.ndarray, " m"],
) -> tuple[float, float]:
    """Mean of single numbers and its standard error; NaN with one number.

    Args:
      numbers: Independent replicates of one number.

    Raises:
      ValueError: without a number.

    Example:
      >>> mean_and_error([1.0, 3.0])
      (2.0, 1.0)
    """
    column = np.array(list(numbers), float)[:, None]
    mean, error = mean_and_stderr(column)
    return float(mean[0]), float(error[0])


def bootstrap_stderr(
    resamples: Float[np.ndarray, "m n"],
) -> Float[np.ndarray, " n"]:
    """Standard errors by the bootstrap: the standard deviation over the resamples.

    Args:
      resamples: Estimates from resampled data, one resample per row.

    Raises:
      ValueError: with fewer than 2 rows.

    Example:
      >>> bootstrap_stderr(np.array([[1.0, 0.0], [3.0, 0.0]])).round(3).tolist()
      [1.414, 0.0]

    References:
      Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 6.
    """
    check(len(resamples) >= 2, f"resamples must be at least 2; got {len(resamples)}.")
    return np.std(resamples, axis=0, ddof=1)


def over_seeds(scores: Float[np.ndarray, "m seeds"]) -> ScoreEstimate:
    r"""The mean of each row, and $s / \sqrt R$ with $s$ its standard deviation.

    Args:
      scores: Scores, one row per coalition, one column per seed.

    Example:
      >>> found = over_seeds(np.array([[1.0, 3.0], [2.0, 2.0]]))
      >>> found.scores.tolist(), found.stderr.tolist(), found.seeds
      ([2.0, 2.0], [1.0, 0.0], 2)
    """
    scores = np.asarray(scores, np.float64)
    return ScoreEstimate(*mean_and_stderr(scores.T), scores.shape[1])


def seed_values(
    scores: ScoresBySeed,
    masks: Masks,
    values: Callable[[Float[np.ndarray, " m"]], Float[np.ndarray, " n"]],
) -> ValueEstimate:
    r"""Values under each seed, their mean, and its standard error over training seeds.

    What a seed does to all coalitions alike cancels in a value, so that the error of
    the values is found from values, $s(\phi^{(1)}, \dots, \phi^{(R)}) / \sqrt R$, and
    not from the errors of the scores.

    Args:
      scores: Scores by seed, as of `retraining.seed_scores`.
      masks: Coalitions to train.
      values: Function from the scores with one seed, in the order of `masks`, to the
        values of the players.

    Returns:
      Mean values, standard errors (NaN with one seed), and the number of seeds.

    Example:
      >>> from jaxval.coalitions import masks
      >>> from jaxval.semivalues import exact, weights
      >>> class Coins:  # In place of three trainings of each coalition.
      ...     num_players = 2
      ...     def __call__(self, masks):
      ...         return np.asarray(masks).sum(1)[:, None] * np.array([[1.0, 2.0, 3.0]])
      >>> shapley = lambda table: exact.from_table(table, weights.shapley)
      >>> found = seed_values(Coins(), masks.powerset(2), shapley)
      >>> found.values.tolist(), found.stderr.round(3).tolist()
      ([2.0, 2.0], [0.577, 0.577])
    """
    table = np.asarray(scores(masks), np.float64)
    draws = np.array([values(column) for column in table.T])
    mean, stderr, seeds = over_seeds(draws.T)
    return ValueEstimate(mean, stderr, np.full(len(mean), seeds))


def leave_one_out(scores: ScoresBySeed) -> ValueEstimate:
    r"""$v(N) - v(N \setminus i)$ of every player, with errors over training seeds.

    Args:
      scores: Scores by seed, as of `retraining.seed_scores`.

    Returns:
      Mean values, standard errors (NaN with one seed), and the number of seeds.

    Example:
      >>> class Coins:  # In place of two trainings of each coalition.
      ...     num_players = 2
      ...     def __call__(self, masks):
      ...         return masks @ np.array([[1.0, 3.0], [2.0, 2.0]])
      >>> found = leave_one_out(Coins())
      >>> found.values.tolist(), found.stderr.tolist()
      ([2.0, 2.0], [1.0, 0.0])
    """
    count = scores.num_players
    masks = np.concatenate([np.ones((1, count), bool), ~np.eye(count, dtype=bool)])
    return seed_values(scores, masks, lambda table: table[0] - table[1:])
