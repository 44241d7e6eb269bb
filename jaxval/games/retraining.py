r"""Retraining: the worth of a coalition's data is what a network learns from it.

$v(S)$ is the metric, on validation data, of the network trained on the rows of $S$
alone: the ground truth that DAVINZ is measured against, Data Shapley's utility, and
the game whose every score costs a training run. Many coalitions are trained at once,
by one compiled program (`games.seed_scores`).

A game of this kind runs on the host (`on_host`): it takes masks as NumPy, sends them
to the devices in chunks, and reports progress as it goes.
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Num

from jaxval._checks import check
from jaxval.coalitions.game import Game, Rows
from jaxval.games.seed_scores import SeedScores, seed_scores
from jaxval.training import Network, Recipe
from jaxval.types import AnyArray, Dataset, Points, PRNGKey

__all__ = ["SeedScores", "majority_share", "retraining", "seed_scores"]


def retraining(
    key: PRNGKey,
    data: Dataset,
    valid: Points,
    network: Network,
    recipe: Recipe | None = None,
    **options: Any,
) -> Game:
    r"""The game that pays a coalition what a network learns from its data.

    The score is the mean over training seeds. `seed_scores`, with the same arguments,
    gives them one by one or with their standard error, and `evaluation.replicates`
    gives values with theirs.

    Args:
      key: PRNG key for the initial parameters and the order of the minibatches.
      data: Training inputs, targets and owners; the players are the owners.
      valid: Validation inputs and targets.
      network: Network to train (`training.from_module`, `training.stateless`).
      recipe: Optimiser, loss, minibatches and epochs; `Recipe()` when left out.
      **options: Options of `seed_scores`: metric, seeds, rules, execution.

    Returns:
      A game that takes masks as NumPy (`on_host`) and answers by validation row
      (`Game.rows`), the mean over seeds of each row's score.

    Raises:
      ValueError: If lengths differ, or numbers aren't finite. Scoring raises it too,
        naming the coalition, when a training run diverged.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from jaxval.training import Recipe, negative, squared_error, stateless
      >>> linear = stateless(lambda key: jnp.zeros((1, 1)), lambda p, x: x @ p)
      >>> x, y = np.array([[1.0], [2.0], [1.0]]), np.array([1.0, 2.0, 3.0])
      >>> recipe = Recipe(loss=squared_error, batch_size=None, epochs=50)
      >>> game = retraining(
      ...     jax.random.key(0), Dataset(x, y, np.array([0, 0, 1])),
      ...     Points(x[:2], y[:2]), linear, recipe, metric=negative(squared_error),
      ... )
      >>> out = game.leave_one_out_scores()
      >>> bool(out.full > out.without[0])
      True

    References:
      Ghorbani and Zou, *Data Shapley*, ICML 2019; Wu, Shu and Low, *DAVINZ*, ICML
      2022, appendix D.
    """
    scores = seed_scores(key, data, valid, network, recipe, **options)
    mean = _MeanScores(scores)
    return Game(
        scores.num_players,
        score=_MeanScore(scores),
        fast_scores=mean,
        on_host=True,
        rows=Rows(scores.num_rows, _MeanRows(scores)),
        fingerprint=scores.fingerprint,
    )


@dataclasses.dataclass(frozen=True)
class _MeanScores:
    scores: SeedScores

    def __call__(self, masks: Bool[AnyArray, "m n"]) -> Any:
        return self.scores(masks).mean(axis=1)


@dataclasses.dataclass(frozen=True)
class _MeanScore:
    scores: SeedScores

    def __call__(self, mask: Bool[AnyArray, " n"]) -> Any:
        return self.scores(np.asarray(mask)[None]).mean(axis=1)[0]


@dataclasses.dataclass(frozen=True)
class _MeanRows:
    scores: SeedScores

    def __call__(self, masks: Bool[AnyArray, "m n"]) -> Any:
        return self.scores.rows(masks).mean(axis=1, dtype=np.float64)


def majority_share(y_valid: Num[AnyArray, " v"]) -> float:
    r"""The accuracy of always naming the commonest class: Data Shapley's empty score.

    Args:
      y_valid: Class numbers.

    Raises:
      ValueError: If there are none.

    Example:
      >>> majority_share(np.array([0, 1, 1, 1]))
      0.75

    References:
      Ghorbani and Zou, *Data Shapley*, ICML 2019, and the code that came with it.
    """
    check(len(y_valid) > 0, "y_valid is empty: no class is the commonest.")
    counts = np.unique(np.asarray(y_valid), return_counts=True)[1]
    return float(counts.max()) / len(y_valid)
