"""Values of one seed's game by scoring every coalition."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxval.coalitions.game import Game
from jaxval.execution.options import Progress
from jaxval.semivalues import exact
from jaxval.types import ValueEstimate
from jaxval.valuation.factory import GameFactory
from jaxval.valuation.sampling import SeedValues
from jaxval.valuation.semivalues import Semivalue

__all__ = ["Enumeration", "exact_values", "from_arrays"]


@dataclasses.dataclass(frozen=True)
class Enumeration:
    """Scores all coalitions (or all but one player) of one seed's game.

    Attributes:
      factory: Factory of the games.
      seed: Number of the seed.
      semivalue: Semi-value to compute.
      warn: Called with the game before it is scored.
      update: Told of coalitions done and in all.
    """

    factory: GameFactory
    seed: int
    semivalue: Semivalue
    warn: Callable[[Game], None]
    update: Callable[..., None]

    def __call__(self) -> dict[str, Any]:
        """Arrays that `from_arrays` takes, to be kept on disk."""
        played = self.factory.make(self.seed, self.update)
        self.warn(played.game)
        progress = None if played.game.on_host else self.update
        values, endpoints, count = exact_values(played.game, self.semivalue, progress)
        discrepancy = None
        if played.discrepancy is not None:
            discrepancy = exact_values(played.discrepancy, self.semivalue, None)[0]
        return {
            "values": values,
            "endpoints": endpoints,
            "num_evaluations": count,
            "discrepancy": discrepancy,
        }


def exact_values(
    game: Game, semivalue: Semivalue, progress: Progress | None
) -> tuple[Float[np.ndarray, " n"], tuple[float, float] | None, int]:
    """Exact values of a game, its endpoints where they are scored, and evaluations.

    Args:
      game: Game to score.
      semivalue: Semi-value to compute.
      progress: Called with (coalitions done, coalitions in all).
    """
    if semivalue.is_leave_one_out:
        values = np.asarray(exact.leave_one_out(game).values)
        return values, None, game.num_players + 1
    scores = exact.table(game, progress=progress)
    endpoints = (float(scores[0]), float(scores[-1]))
    return (
        np.asarray(exact.from_table(scores, semivalue.weights)),
        endpoints,
        len(scores),
    )


def from_arrays(arrays: dict[str, Any]) -> SeedValues:
    """The values of one seed from what `Enumeration` returned.

    Args:
      arrays: Arrays and numbers by name.
    """
    values, count = arrays["values"], arrays["num_evaluations"]
    exactly = ValueEstimate(
        values,
        np.zeros_like(values),
        np.full(values.shape, count),
        np.full(values.shape, np.inf),
    )
    return SeedValues(
        estimate=exactly,
        covariance=None,
        num_evaluations=count,
        discrepancy=arrays["discrepancy"],
        endpoints=arrays["endpoints"],
    )
