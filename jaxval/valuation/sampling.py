"""Values of owners by sampling, until a stopping rule is met."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from jaxval.semivalues import Status, intervals, run, stopping
from jaxval.types import PRNGKey, ValueEstimate
from jaxval.valuation import forecast
from jaxval.valuation.estimators import ESTIMATORS
from jaxval.valuation.factory import GameFactory, SeededGame
from jaxval.valuation.semivalues import Semivalue

__all__ = [
    "DEFAULT_UNITS",
    "Plan",
    "SeedValues",
    "default_budget",
    "expected_evaluations",
    "sample",
]

DEFAULT_UNITS = 200
"""Units after which sampling stops unless told otherwise."""

_LEAST_UNITS = 30
"""Units below which no standard error is believed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """How the values of a game are found.

    Attributes:
      semivalue: Semi-value to estimate.
      estimator: `"auto"`, `"exact"`, or a key of `ESTIMATORS`.
      stderr: Standard error below which sampling stops.
      budget: Utility evaluations after which sampling stops, for each seed.
      seconds: Seconds after which sampling stops, for each seed.
    """

    semivalue: Semivalue
    estimator: str = "auto"
    stderr: float | None = None
    budget: int | None = None
    seconds: float | None = None

    @property
    def has_rule(self) -> bool:
        """Whether the user said when to stop."""
        return not (self.stderr is self.budget is self.seconds is None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeedValues:
    """What one seed gave.

    Attributes:
      estimate: Values with standard errors.
      covariance: Covariance of the values; `None` where it is not known.
      num_evaluations: Utility evaluations.
      discrepancy: Values of the discrepancy within the game; `None` without one.
      endpoints: Scores of the empty and of the grand coalition; `None` if not asked.
    """

    estimate: ValueEstimate
    covariance: Float[np.ndarray, "n n"] | None
    num_evaluations: int
    discrepancy: Float[np.ndarray, " n"] | None
    endpoints: tuple[float, float] | None


def sample(
    key: PRNGKey,
    played: SeededGame,
    method: str,
    plan: Plan,
    *,
    factory: GameFactory,
    seed: int,
    folder: pathlib.Path | None,
    progress: Callable[..., None],
) -> SeedValues:
    """Values by the estimator of that name, checkpointed as they come.

    Args:
      key: PRNG key for the coalitions of this seed.
      played: Game of the seed.
      method: Key of `ESTIMATORS`.
      plan: Semi-value and stopping rules.
      factory: Factory that made the game.
      seed: Number of the seed.
      folder: Folder of the checkpoints; nothing is saved when `None`.
      progress: Told of the current status.
    """
    players = played.game.num_players
    estimator = ESTIMATORS[method].make(players, plan.semivalue.weights)
    rule = _rule(plan, method, players)
    cap = plan.budget or 0
    outcome = run(
        key,
        estimator,
        played.game,
        checkpoint=None if folder is None else _made(folder) / f"seed-{seed}.npz",
        tag=f"{factory.name}, seed {seed}",
        progress=lambda status: progress(*_standing(status, cap)),
        until=rule,
        every=factory.check_every,
    )
    discrepancy = None
    if played.discrepancy is not None:
        # The same orders: what is left of the values is then the complexity's part.
        steps = outcome.steps
        again = run(
            key,
            estimator,
            played.discrepancy,
            until=lambda status: status.steps >= steps,
            every=factory.check_every,
        )
        discrepancy = np.asarray(again.estimate.values)
    return SeedValues(
        estimate=outcome.estimate,
        covariance=outcome.covariance,
        num_evaluations=outcome.num_evaluations,
        discrepancy=discrepancy,
        endpoints=None,
    )


def expected_evaluations(method: str, plan: Plan, num_players: int) -> int:
    """Utility evaluations of one seed, as far as that is known beforehand."""
    if plan.budget is not None:
        return plan.budget
    if not ESTIMATORS[method].has_growing_counts and plan.stderr is None:
        return default_budget(num_players)
    units = _LEAST_UNITS if plan.stderr is not None else DEFAULT_UNITS
    estimator = ESTIMATORS[method].make(num_players, plan.semivalue.weights)
    return forecast.num_evaluations(estimator, num_players, units)


def default_budget(num_players: int) -> int:
    """Utility evaluations after which an estimator without growing counts stops."""
    return DEFAULT_UNITS * num_players


def _rule(plan: Plan, method: str, num_players: int) -> stopping.Rule:
    rules = []
    if plan.stderr is not None:
        rules.append(stopping.stderr_below(plan.stderr))
    if plan.budget is not None:
        rules.append(stopping.budget(plan.budget))
    if plan.seconds is not None:
        rules.append(stopping.time_limit(plan.seconds))
    if not rules:
        growing = ESTIMATORS[method].has_growing_counts
        enough = stopping.units(DEFAULT_UNITS)
        if not growing:
            enough = stopping.budget(default_budget(num_players))
        rules = [stopping.ranks_stable(), enough]
    return stopping.any_of(*rules)


def _standing(status: Status, budget: int) -> tuple[int, int, str]:
    """Units done, units in all, and the current error in words."""
    units = int(np.min(status.estimate.counts))
    values, errors = status.estimate.values, np.asarray(status.estimate.stderr)
    worst = float(np.max(np.nan_to_num(errors, nan=np.inf)))
    order = np.argsort(-np.asarray(values))
    prob_greater = intervals.rank_confidence(status.estimate, status.covariance)
    settled = int((prob_greater[order[:-1], order[1:]] > 0.95).sum())
    text = f"error {worst:.2g}, {settled}/{len(order) - 1} places settled"
    if budget:
        return min(status.num_evaluations, budget), budget, text
    return units, max(units, DEFAULT_UNITS), text


def _made(folder: pathlib.Path) -> pathlib.Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
