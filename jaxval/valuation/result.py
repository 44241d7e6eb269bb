"""What was found out about a person's contributors, and the places that leaves them."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxval.semivalues import intervals, weights
from jaxval.types import ValueEstimate

__all__ = ["Found", "name_of", "places", "places_of", "semivalue", "without_errors"]


class Found(NamedTuple):
    """What was found out about the players.

    Attributes:
      values: with standard errors.
      sure: row by column, how surely one is worth more than the other.
      sampling: standard errors from the choice of coalitions alone (of EcoVal, from
        its own randomness); zeros if exact, NaN if unknown.
      how: in words, how the values were found.
      unit: of the scores.
      sampled: what the error bars are over.
      drawn_once: what is random but was not repeated, so that nothing is known of the
        errors; empty otherwise.
      rivals: values of simpler scores.
      worth: scores of nobody and of everybody, where they are known.
      num_evaluations: coalitions scored, over all seeds.
      draws: values under each seed, one a row.
      extras: further tables and metrics.
    """

    values: ValueEstimate
    sure: Float[np.ndarray, "n n"]
    sampling: Float[np.ndarray, " n"]
    how: str
    unit: str
    sampled: str
    rivals: dict[str, Float[np.ndarray, " n"]]
    worth: tuple[float, float] | None
    num_evaluations: int
    draws: Float[np.ndarray, "seeds n"]
    extras: dict[str, Any]
    drawn_once: str = ""


def without_errors(
    found: ValueEstimate,
) -> tuple[ValueEstimate, Float[np.ndarray, "n n"]]:
    """The same values with nothing known about their errors or their ranks."""
    unknown = np.full_like(np.asarray(found.values, float), np.nan)
    return found._replace(stderr=unknown), np.full((len(unknown),) * 2, np.nan)


def places_of(found: ValueEstimate, covariance) -> Float[np.ndarray, "n n"]:
    """How surely row is worth more than column."""
    return intervals.rank_confidence(found, covariance)


def places(
    sure: Float[np.ndarray, "n n"], confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """The best and the worst place in the ranking that each player may have.

    A player is surely behind all those who are worth more with that confidence (each
    comparison by itself), and surely ahead of those who are worth less.

    Example:
      >>> best, worst = places(np.array([[0.5, 0.99], [0.01, 0.5]]))
      >>> best.tolist(), worst.tolist()
      ([1, 2], [1, 2])
    """
    best = 1 + (sure > confidence).sum(0)
    worst = len(sure) - (sure > confidence).sum(1)
    return best, worst


def semivalue(config: Any) -> weights.Weights:
    """The weights that `--semivalue` names."""
    return {
        "shapley": weights.shapley,
        "banzhaf": weights.banzhaf,
        "weighted-banzhaf": weights.weighted_banzhaf(config.probability),
        "beta": weights.beta(config.alpha, config.beta),
        "leave-one-out": weights.leave_one_out,
    }[config.semivalue]


def name_of(config: Any) -> str:
    """The semi-value in words."""
    return {
        "shapley": "Shapley",
        "banzhaf": "Banzhaf",
        "weighted-banzhaf": f"Banzhaf({config.probability:g})",
        "beta": f"Beta({config.alpha:g}, {config.beta:g})",
        "leave-one-out": "Leave-one-out",
    }[config.semivalue]
