"""Shapley values of the representatives, and what they cost."""

import functools
import math
from collections.abc import Callable

import numpy as np

from jaxval._checks import check, positive
from jaxval.coalitions import queries
from jaxval.coalitions.game import Game
from jaxval.semivalues import permutation, run, stopping, truncated
from jaxval.types import PRNGKey, ValueEstimate

__all__ = ["Semivalue", "permutations", "truncated_permutations"]

Semivalue = Callable[[PRNGKey, Game], tuple[ValueEstimate, int]]
"""Values of a game's players, and the scores that were asked for."""


def truncated_permutations(
    per_point: float = 3.0,
    *,
    tolerance: float = 0.01,
    patience: int = 6,
    progress: Callable[[stopping.Status], None] | None = None,
) -> Semivalue:
    r"""TMC Shapley as the paper uses it: $3p$ permutations, Data Shapley's truncation.

    A game that answers all prefixes of an order at once (`Game.fast_prefixes`, without
    a `fast_step`) is not spared any of them: its scores are then counted in full, and
    `permutations` costs the same without the bias of truncation.

    Args:
      per_point: permutations for each player.
      tolerance: an order is abandoned within this share of the full score,
      patience: so many scores in a row.
      progress: of `semivalues.run`.

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
    make = functools.partial(_truncated, tolerance=tolerance, patience=patience)
    return _sampled(make, per_point, progress)


def permutations(
    per_point: float = 3.0,
    *,
    progress: Callable[[stopping.Status], None] | None = None,
) -> Semivalue:
    """The same without truncation, unbiased: for games whose prefixes are cheap.

    Args:
      per_point: permutations for each player.
      progress: of `semivalues.run`.

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
    return _sampled(_untruncated, per_point, progress)


_BLOCK = 8


@functools.lru_cache(maxsize=64)
def _truncated(num_players: int, tolerance: float, patience: int):
    # The same functions for the same settings: compiled once for all of them.
    return truncated.tmc(
        num_players,
        band=truncated.relative_to_full(tolerance),
        patience=patience,
        permutations=_BLOCK,
        name=f"relative_to_full({tolerance})",
    )


@functools.lru_cache(maxsize=64)
def _untruncated(num_players: int):
    return permutation.permutation_sampling(num_players)


def _sampled(make, per_point, progress) -> Semivalue:
    def value(key: PRNGKey, game: Game) -> tuple[ValueEstimate, int]:
        n = game.num_players
        check(n >= 1, "there are no representatives to value.")
        if n == 1:
            ends = queries.ends(game)
            worth = np.asarray([float(ends.full) - float(ends.empty)])
            return ValueEstimate(
                worth, np.zeros(1), np.ones(1, int), np.full(1, np.inf)
            ), 2
        until = stopping.units(max(2, math.ceil(per_point * n)))
        out = run(key, make(n), game, until=until, every=1, progress=progress)
        return out.estimate, int(out.num_evaluations)

    return value
