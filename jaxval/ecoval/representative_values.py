"""Shapley values of the representatives, and what they cost."""

import functools
import math
from collections.abc import Callable

import numpy as np

from jaxval._checks import check, positive
from jaxval.semivalues import permutation, run_detailed, runs, stopping, truncated
from jaxval.types import Game, PRNGKey, ValueEstimate

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

    A game that scores all prefixes of an order at once is not spared any of them: the
    runs are then counted in full.

    Args:
      per_point: permutations for each player.
      tolerance: an order is abandoned within this share of the full score,
      patience: so many scores in a row.
      progress: of `semivalues.run_detailed`.
    """
    positive("per_point", per_point)
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
      progress: of `semivalues.run_detailed`.
    """
    positive("per_point", per_point)
    return _sampled(_untruncated, per_point, progress)


_BLOCK = 8


@functools.lru_cache(maxsize=64)
def _truncated(num_players: int, tolerance: float, patience: int):
    # The same functions for the same settings: compiled once for all of them.
    return truncated.estimator(
        num_players,
        band=truncated.relative_to_full(tolerance),
        patience=patience,
        permutations=_BLOCK,
        lanes=_BLOCK,
        name=f"relative_to_full({tolerance})",
    )


@functools.lru_cache(maxsize=64)
def _untruncated(num_players: int):
    return permutation.estimator(num_players)


def _sampled(make, per_point, progress) -> Semivalue:
    def value(key: PRNGKey, game: Game) -> tuple[ValueEstimate, int]:
        n = game.num_players
        check(n >= 1, "there are no representatives to value.")
        if n == 1:
            ends = runs.ends(game)
            worth = np.asarray([float(ends.full) - float(ends.empty)])
            return ValueEstimate(worth, np.zeros(1), np.ones(1, int)), 2
        until = stopping.units(max(2, math.ceil(per_point * n)))
        out = run_detailed(make(n), game, key, until=until, every=1, progress=progress)
        return out.estimate, int(out.utility_calls)

    return value
