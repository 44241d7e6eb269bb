"""The estimators of `value`: one row per estimator."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from jaxval.semivalues import (
    Estimator,
    least_squares,
    permutation,
    regression_adjustment,
    sample_reuse,
    truncated,
    weights,
)
from jaxval.semivalues.weights import Weights

__all__ = ["ESTIMATORS", "EstimatorRow"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EstimatorRow:
    """An estimator that samples.

    Attributes:
      make: Makes it from the number of players and the weights of the semi-value.
      unit: What its counts count, in the plural.
      is_ordered: Whether it scores the prefixes of orders of the players.
      has_growing_counts: Whether counts grow with the work; those of a jackknife stop
        at its number of groups, so that no number of them can be waited for.
      semivalues: Names of the semi-values that it estimates; all of them when `None`.
    """

    make: Callable[[int, Weights], Estimator]
    unit: str
    is_ordered: bool = False
    has_growing_counts: bool = True
    semivalues: tuple[str, ...] | None = None


def _least_squares(num_players: int, weigh: Weights) -> Estimator:
    if weigh is weights.shapley:
        return least_squares.kernel_shap(num_players)
    return least_squares.kernel_banzhaf(num_players)


ESTIMATORS: Mapping[str, EstimatorRow] = {
    "permutation": EstimatorRow(
        make=permutation.permutation_sampling, unit="orders", is_ordered=True
    ),
    "antithetic": EstimatorRow(
        make=permutation.antithetic, unit="pairs of orders", is_ordered=True
    ),
    "quasi-random": EstimatorRow(
        make=permutation.quasi_random, unit="blocks of orders", is_ordered=True
    ),
    "stratified": EstimatorRow(
        make=permutation.stratified, unit="blocks of orders", is_ordered=True
    ),
    "truncated": EstimatorRow(
        make=lambda num_players, weigh: truncated.tmc(num_players),
        unit="orders",
        is_ordered=True,
        semivalues=("shapley",),
    ),
    "msr": EstimatorRow(make=sample_reuse.msr, unit="coalitions"),
    "least-squares": EstimatorRow(
        make=_least_squares,
        unit="groups of coalitions",
        has_growing_counts=False,
        semivalues=("shapley", "banzhaf"),
    ),
    "adjusted": EstimatorRow(
        make=regression_adjustment.regression_adjusted, unit="coalitions"
    ),
}
"""Estimators by their names in the settings."""
