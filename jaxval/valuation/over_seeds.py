"""The valuation of a table: the mean over seeds, its errors and its baselines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jaxval.datasets.tabular.table import Table
from jaxval.games import at_initialisation as untrained
from jaxval.games import davinz
from jaxval.semivalues import intervals, permutation, run, stopping
from jaxval.types import PRNGKey, ValueEstimate
from jaxval.valuation.enumeration import exact_values
from jaxval.valuation.estimators import ESTIMATORS
from jaxval.valuation.factory import GameFactory
from jaxval.valuation.result import Valuation, without_errors
from jaxval.valuation.sampling import Plan, SeedValues
from jaxval.valuation.semivalues import Semivalue

__all__ = ["mean_valuation"]


def mean_valuation(
    key: PRNGKey,
    table: Table,
    factory: GameFactory,
    plan: Plan,
    method: str,
    seed: int,
    outcomes: Sequence[SeedValues],
) -> Valuation:
    """The mean over seeds, with its errors, baselines and description.

    Args:
      key: PRNG key for the coalitions of the baselines that are sampled.
      table: Rows that were valued.
      factory: Factory of the games.
      plan: Semi-value, estimator and stopping rules.
      method: Estimator, or `exact`.
      seed: Seed of the random baseline.
      outcomes: Values, one per seed.
    """
    once = factory.random if factory.seeds == 1 and method == "exact" else ""
    values, prob_greater, sampling = _mean_over_seeds(outcomes, method)
    if once:
        values, prob_greater = without_errors(values)
    players = len(table.owner_names)
    return Valuation(
        owner_names=table.owner_names,
        num_rows=table.dataset.sizes,
        estimate=values,
        prob_greater=prob_greater,
        sampling_stderr=sampling,
        name=plan.semivalue.label,
        column=plan.semivalue.name.replace("-", "_"),
        method=f"{factory.description}; {_in_words(plan.semivalue, method, players)}",
        unit=factory.unit,
        error_source=_error_source(factory, method, outcomes),
        drawn_once=once,
        baselines=_baselines(
            key, table, factory, plan.semivalue, method, seed, outcomes
        ),
        endpoints=_mean_endpoints(outcomes),
        num_evaluations=sum(each.num_evaluations for each in outcomes),
        draws=np.stack([np.asarray(each.estimate.values) for each in outcomes]),
    )


def _mean_over_seeds(outcomes: Sequence[SeedValues], method: str):
    """The mean, its `prob_greater`, and the sampling's part of the error."""
    draws = np.stack([np.asarray(each.estimate.values, float) for each in outcomes])
    errors = np.stack([np.asarray(each.estimate.stderr, float) for each in outcomes])
    count = len(draws)
    sampling = np.sqrt((errors**2).sum(0)) / count
    if count == 1:
        (single,) = outcomes
        covariance = single.covariance
        if method == "exact":
            covariance = np.zeros((draws.shape[1],) * 2)
        confidence = intervals.rank_confidence(single.estimate, covariance)
        return single.estimate, confidence, sampling
    # Seeds are independent: the covariance of their mean, (n, n).
    covariance = np.atleast_2d(np.cov(draws.T)) / count
    mean = ValueEstimate(
        draws.mean(0),
        np.sqrt(np.diag(covariance)),
        np.full(draws.shape[1], count),
    )
    return mean, intervals.rank_confidence(mean, covariance), sampling


def _in_words(semivalue: Semivalue, method: str, players: int) -> str:
    if semivalue.is_leave_one_out:
        return f"{semivalue.label} values"
    if method == "exact":
        return f"exact {semivalue.label} values over {2**players} coalitions"
    return f"{semivalue.label} values by {method} sampling"


def _error_source(factory: GameFactory, method: str, outcomes) -> str:
    parts = []
    if factory.seeds > 1:
        parts.append(f"{factory.seeds} {factory.random}s")
    if method != "exact":
        counts = [int(np.min(each.estimate.counts)) for each in outcomes]
        each = " each" if factory.seeds > 1 else ""
        parts.append(f"{min(counts)} {ESTIMATORS[method].unit}{each}")
    return ", ".join(parts)


def _baselines(key, table, factory, semivalue, method, seed, outcomes):
    """Values of what needs no network, and of the rest of DAVINZ where it is valued."""
    sizes = table.dataset.sizes
    baselines = {"size only": sizes / sizes.sum()}
    values = np.mean([each.estimate.values for each in outcomes], axis=0)
    if outcomes[0].discrepancy is not None:
        discrepancy = np.mean([each.discrepancy for each in outcomes], axis=0)
        baselines["discrepancy only"] = discrepancy
        baselines["complexity only"] = values - discrepancy
    elif factory.name != "discrepancy":
        baselines["discrepancy only"] = _discrepancy(key, table, method, semivalue)
    baselines["random"] = np.random.default_rng(seed).normal(size=len(sizes))
    if factory.name == "size":
        del baselines["size only"]
    return baselines


def _discrepancy(key, table, method, semivalue) -> Float[np.ndarray, " n"]:
    game = -davinz.discrepancy(untrained.similarity(table.dataset, table.valid.x))
    if method == "exact" and (game.num_players <= 16 or semivalue.is_leave_one_out):
        return exact_values(game, semivalue, None)[0]
    estimator = permutation.antithetic(game.num_players, semivalue.weights)
    outcome = run(key, estimator, game, until=stopping.units(64))
    return np.asarray(outcome.estimate.values)


def _mean_endpoints(outcomes: Sequence[SeedValues]) -> tuple[float, float] | None:
    endpoints = [each.endpoints for each in outcomes if each.endpoints is not None]
    if not endpoints:
        return None
    empty, full = np.mean(endpoints, axis=0)
    return float(empty), float(full)
