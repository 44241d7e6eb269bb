"""Standard errors over training seeds, of scores and of values.

A retraining game pays the mean over seeds. Here are the same means with what the seeds
leave uncertain.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Bool, Float

from jaxval.types import ValueEstimate

__all__ = [
    "ScoreEstimate",
    "ScoresBySeed",
    "leave_one_out",
    "mean_and_stderr",
    "over_seeds",
    "seed_values",
]

Masks = Bool[Array, "m n"] | Bool[np.ndarray, "m n"]


@runtime_checkable
class ScoresBySeed(Protocol):
    """Coalitions to scores, one a training seed, as `retraining.seed_scores` makes."""

    @property
    def num_players(self) -> int:
        """Players a mask is of."""
        ...

    def __call__(self, masks: Masks) -> Float[np.ndarray, "m seeds"]:
        """Scores of each coalition, one a seed."""
        ...


class ScoreEstimate(NamedTuple):
    """Mean scores of coalitions over training seeds.

    Attributes:
      scores: one a coalition.
      stderr: of each; NaN with one seed.
      seeds: behind each.
    """

    scores: Float[np.ndarray, " m"]
    stderr: Float[np.ndarray, " m"]
    seeds: int


def mean_and_stderr(
    draws: Float[np.ndarray, "m n"],
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Mean over the rows and its standard error; NaN where there is one row only."""
    if len(draws) < 2:
        return draws[0], np.full(draws.shape[1], np.nan)
    return draws.mean(0), draws.std(0, ddof=1) / np.sqrt(len(draws))


def over_seeds(scores: Float[np.ndarray, "m seeds"]) -> ScoreEstimate:
    r"""The mean of each row, and $s / \sqrt R$ with $s$ its standard deviation.

    Args:
      scores: one row a coalition, one column a seed.

    Example:
      >>> found = over_seeds(np.array([[1.0, 3.0], [2.0, 2.0]]))
      >>> found.scores.tolist(), found.stderr.tolist(), found.seeds
      ([2.0, 2.0], [1.0, 0.0], 2)
    """
    scores = np.asarray(scores, np.float64)
    seeds = scores.shape[1]
    if seeds < 2:
        return ScoreEstimate(scores[:, 0], np.full(len(scores), np.nan), seeds)
    return ScoreEstimate(
        scores.mean(axis=1), scores.std(axis=1, ddof=1) / np.sqrt(seeds), seeds
    )


def seed_values(
    scores: ScoresBySeed,
    masks: Masks,
    values: Callable[[Float[np.ndarray, " m"]], Float[np.ndarray, " n"]],
) -> ValueEstimate:
    r"""Values seed by seed, their mean, and its standard error over training seeds.

    What a seed does to all coalitions alike cancels in a value, so that the error of
    the values is found from values, $s(\phi^{(1)}, \dots, \phi^{(R)}) / \sqrt R$, and
    not from the errors of the scores.

    Args:
      scores: of `retraining.seed_scores`.
      masks: coalitions to train.
      values: their scores with one seed, in that order, to values of the players.

    Returns:
      Mean values, standard errors (NaN with one seed), and the number of seeds.

    Example:
      >>> from jaxval import masks
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
      scores: of `retraining.seed_scores`.

    Returns:
      As of `seed_values`.

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
