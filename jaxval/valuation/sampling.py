"""Values of contributors by sampling, until a rule of the person's is met."""

import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jaxval.coalitions.game import Game
from jaxval.datasets.tabular.table import CLASSIFICATION, Table
from jaxval.runner.cache import kept_for
from jaxval.semivalues import (
    Estimator,
    Outcome,
    Status,
    intervals,
    least_squares,
    permutation,
    regression_adjustment,
    run,
    sample_reuse,
    stopping,
    truncated,
    weights,
)
from jaxval.valuation import forecast as value_forecast

__all__ = ["UNITS", "Seed", "folder_of", "foretell", "sampled"]

_DEFAULT_UNITS = 200
"""Units after which sampling stops when nothing else was said."""

_LEAST_UNITS = 30
"""Units below which no standard error is believed."""


class Seed(NamedTuple):
    """One seed's outcome, and the values of the discrepancy within its game."""

    outcome: Outcome
    far: Float[np.ndarray, " n"] | None
    worth: tuple[float, float] | None


def sampled(key, config, table, maker, seed, method, weigh, context, update) -> Seed:
    """Values by the estimator of that name, checkpointed as they come."""
    played = maker.make(seed, None)
    estimator = _ESTIMATORS[method](played.game.num_players, weigh)
    rule, cap = _rule(config)
    options = {"until": rule, "every": maker.every}
    if seed == 0 and config.seconds is None:
        foretell(
            config, table, played.game, _calls(config, estimator, played.game),
            maker.seeds, context, ordered=method in _ORDERED,
        )  # fmt: skip
    outcome = run(
        jax.random.fold_in(key, seed),
        estimator,
        played.game,
        checkpoint=_checkpoint(context.scratch, table, seed),
        tag=f"{config.game}, seed {seed}",
        progress=lambda status: update(*_standing(status, cap)),
        **options,
    )
    far = None
    if played.far is not None:
        # The same orders: what is left of the values is then the complexity's part.
        steps = outcome.steps
        options["until"] = lambda status: status.steps >= steps
        again = run(jax.random.fold_in(key, seed), estimator, played.far, **options)
        far = np.asarray(again.estimate.values)
    return Seed(outcome, far, None)


_ESTIMATORS: dict[str, Callable[..., Estimator]] = {
    "permutation": permutation.permutation_sampling,
    "antithetic": permutation.antithetic,
    "quasi-random": permutation.quasi_random,
    "stratified": permutation.stratified,
    "truncated": lambda n, weigh: truncated.tmc(n),
    "msr": sample_reuse.msr,
    "adjusted": regression_adjustment.regression_adjusted,
    "least-squares": lambda n, weigh: (
        least_squares.kernel_shap(n)
        if weigh is weights.shapley
        else least_squares.kernel_banzhaf(n)
    ),
}


def _calls(config, estimator: Estimator, game: Game) -> int:
    """Scores that will be asked for, with one seed, as far as that is known."""
    if config.budget is not None:
        return config.budget
    units = _LEAST_UNITS if config.stderr is not None else _DEFAULT_UNITS
    return value_forecast.calls_of(estimator, game.num_players, units)


def foretell(config, table: Table, game: Game, scores, seeds, context, *, ordered):
    """Say what so many scores will take, where that is long."""
    classes = table.task == CLASSIFICATION
    value_forecast.forecast(
        config, game, scores, seeds, ordered=ordered, classes=classes,
        advise=context.note,
    )  # fmt: skip


_ORDERED = ("permutation", "antithetic", "quasi-random", "stratified", "truncated")
"""Estimators that score the prefixes of orders."""

UNITS = {
    "permutation": "orders",
    "antithetic": "pairs of orders",
    "quasi-random": "blocks of orders",
    "stratified": "blocks of orders",
    "truncated": "orders",
    "msr": "coalitions",
    "adjusted": "coalitions",
}
"""What an estimator counts."""


def _rule(config) -> tuple[stopping.Rule, int]:
    """When to stop, and the number of scores or units that progress counts towards."""
    rules = []
    if config.stderr is not None:
        rules.append(stopping.stderr_below(config.stderr))
    if config.budget is not None:
        rules.append(stopping.budget(config.budget))
    if config.seconds is not None:
        rules.append(stopping.time_limit(config.seconds))
    if not rules:
        rules = [stopping.ranks_stable(), stopping.units(_DEFAULT_UNITS)]
    return stopping.any_of(*rules), config.budget or 0


def _standing(status: Status, budget: int) -> tuple[int, int, str]:
    """How far a run has come, and how its estimate is settling."""
    units = int(np.min(status.estimate.counts))
    values, errors = status.estimate.values, np.asarray(status.estimate.stderr)
    worst = float(np.max(np.nan_to_num(errors, nan=np.inf)))
    order = np.argsort(-np.asarray(values))
    sure = intervals.rank_confidence(status.estimate, status.covariance)
    settled = int((sure[order[:-1], order[1:]] > 0.95).sum())
    text = f"error {worst:.2g}, {settled}/{len(order) - 1} places settled"
    if budget:
        return min(status.num_evaluations, budget), budget, text
    return units, max(units, _DEFAULT_UNITS), text


def _checkpoint(scratch: pathlib.Path | None, table: Table, seed: int):
    """A file for this seed *and* these data: edited data start afresh."""
    folder = folder_of(scratch, table)
    if folder is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"seed-{seed}.npz"


def folder_of(scratch: pathlib.Path | None, table: Table) -> pathlib.Path | None:
    """A folder for what is computed from this table."""
    return kept_for(scratch, *table.dataset, table.x_valid, table.y_valid)
