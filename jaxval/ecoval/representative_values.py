"""Representatives of the clusters: which points, and their Shapley values."""

import dataclasses
import math
from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Int

from jaxval._checks import check, positive
from jaxval.coalitions import queries
from jaxval.coalitions.game import Game
from jaxval.semivalues import Estimator, permutation, run, stopping, truncated
from jaxval.types import PRNGKey, ValueEstimate

__all__ = ["Semivalue", "permutations", "representatives", "truncated_permutations"]

Semivalue = Callable[[PRNGKey, Game], tuple[ValueEstimate, int]]
"""Values of a game's players, and the utility evaluations they took."""


def truncated_permutations(
    per_point: float = 3.0,
    *,
    tolerance: float = 0.01,
    patience: int = 6,
    progress: Callable[[stopping.Status], None] | None = None,
) -> Semivalue:
    r"""TMC Shapley as the paper uses it: $3p$ permutations, Data Shapley's truncation.

    A game that answers all prefixes of an order at once (`Game.fast_prefixes`, without
    a `fast_step`) saves none of them: its evaluations are then counted in full, and
    `permutations` costs the same without the bias of truncation.

    Args:
      per_point: Permutations per player.
      tolerance: Share of the full score within which an order is abandoned.
      patience: Scores in a row that must lie within the tolerance.
      progress: Function of the current status, called after each step.

    Returns:
      A function for `fit(semivalue=...)`.

    Example:
      >>> from jaxval import Game
      >>> import jax
      >>> one = Game(3, lambda mask: float(mask[0]), on_host=True)
      >>> estimate, scores = truncated_permutations()(jax.random.key(0), one)
      >>> estimate.values.tolist(), scores < 9 * 4
      ([1.0, 0.0, 0.0], True)

    References:
      Ghorbani and Zou, *Data Shapley*, ICML 2019; Tarun et al., *EcoVal*, KDD 2024,
      section 5.1.
    """
    positive("per_point", per_point)
    check(patience >= 1, f"patience must be at least 1; got {patience}.")
    positive("tolerance", tolerance, zero=True)
    return _Permutations(
        per_point=per_point, tolerance=tolerance, patience=patience, progress=progress
    )


def permutations(
    per_point: float = 3.0,
    *,
    progress: Callable[[stopping.Status], None] | None = None,
) -> Semivalue:
    """Shapley values from whole orders, unbiased: for games whose prefixes are cheap.

    Args:
      per_point: Permutations per player.
      progress: Function of the current status, called after each step.

    Returns:
      A function for `fit(semivalue=...)`.

    Example:
      >>> from jaxval import Game
      >>> import jax
      >>> sizes = Game(3, lambda mask: float(mask.sum()), on_host=True)
      >>> permutations()(jax.random.key(0), sizes)[0].values.tolist()
      [1.0, 1.0, 1.0]
    """
    positive("per_point", per_point)
    return _Permutations(per_point=per_point, progress=progress)


def representatives(
    key: PRNGKey, cluster: Int[np.ndarray, " n"], per_cluster: int
) -> Int[np.ndarray, " p"]:
    """The same number of points of each cluster, drawn without replacement.

    A cluster with fewer points gives all it has (lines 12 to 15 of Algorithm 1).

    Args:
      key: PRNG key of the draw.
      cluster: Cluster of each point.
      per_cluster: Number of points to draw from each cluster.

    Returns:
      Row numbers, in ascending order.

    Example:
      >>> representatives(jax.random.key(0), np.array([0, 0, 0, 2]), 1).shape
      (2,)
    """
    cluster = np.asarray(cluster)
    check(per_cluster >= 1, f"per_cluster must be at least 1; got {per_cluster}.")
    shuffled = np.asarray(jax.random.permutation(key, len(cluster)))
    in_order = shuffled[np.argsort(cluster[shuffled], kind="stable")]
    # (n,): place of each point, in shuffled order, among those of its cluster.
    place = np.arange(len(cluster)) - np.searchsorted(
        cluster[in_order], cluster[in_order]
    )
    return np.sort(in_order[place < per_cluster])


_BLOCK = 8
"""Orders that are walked in lockstep."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Permutations:
    """Shapley values from random orders.

    Attributes:
      per_point: Permutations per player.
      tolerance: Share of the full score within which an order is abandoned; `None`
        walks every order to its end.
      patience: Scores in a row that must lie within the tolerance.
      progress: Function of the current status, called after each step.
    """

    per_point: float
    tolerance: float | None = None
    patience: int = 1
    progress: Callable[[stopping.Status], None] | None = None

    def __call__(self, key: PRNGKey, game: Game) -> tuple[ValueEstimate, int]:
        """Values of the game's players, and the utility evaluations they took."""
        n = game.num_players
        check(n >= 1, "there are no representatives to value.")
        if n == 1:
            ends = queries.ends(game)
            lone = np.asarray([float(ends.full) - float(ends.empty)])
            difference = ValueEstimate(
                lone, np.zeros(1), np.ones(1, int), np.full(1, np.inf)
            )
            return difference, 2
        until = stopping.units(max(2, math.ceil(self.per_point * n)))
        out = run(
            key, self._estimator(n), game, until=until, every=1, progress=self.progress
        )
        return out.estimate, int(out.num_evaluations)

    def _estimator(self, num_players: int) -> Estimator:
        if self.tolerance is None:
            return permutation.permutation_sampling(num_players)
        return truncated.tmc(
            num_players,
            band=truncated.relative_to_full(self.tolerance),
            patience=self.patience,
            permutations=_BLOCK,
            name=f"relative_to_full({self.tolerance})",
        )
