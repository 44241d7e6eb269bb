"""Values of owners: from every coalition, or from samples until a rule is met."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from jaxval.coalitions.game import Game
from jaxval.datasets.tabular.table import CLASSIFICATION, Table
from jaxval.games import at_initialisation as untrained
from jaxval.games import davinz
from jaxval.runner.cache import cached, data_folder, note_resumed
from jaxval.runner.contract import Context
from jaxval.semivalues import exact, intervals, permutation, run, stopping
from jaxval.types import PRNGKey, ValueEstimate
from jaxval.valuation import forecast
from jaxval.valuation.estimators import ESTIMATORS
from jaxval.valuation.factory import GameFactory
from jaxval.valuation.result import Valuation, without_errors
from jaxval.valuation.sampling import (
    Plan,
    SeedValues,
    default_budget,
    expected_evaluations,
    sample,
)
from jaxval.valuation.semivalues import Semivalue

__all__ = ["estimate"]


def estimate(
    key: PRNGKey,
    table: Table,
    factory: GameFactory,
    plan: Plan,
    *,
    seed: int,
    context: Context,
) -> Valuation:
    """Values under the game of each seed, and their mean.

    Args:
      key: PRNG key for the coalitions.
      table: Rows to be valued.
      factory: Makes the game of each seed.
      plan: Semi-value, estimator and stopping rules.
      seed: Seed of the random baseline.
      context: Progress, notes and checkpoints.
    """
    players = len(table.owner_names)
    method = _method(plan, factory, players, table.source, context.note)
    folder = data_folder(context.scratch, *table.dataset, *table.valid)
    ending = f"-{factory.name}" if method == "exact" else ""
    parts = [f"seed-{number}{ending}" for number in range(factory.seeds)]
    note_resumed(folder, parts, context.note)
    outcomes = []
    for number, part in enumerate(parts):
        title = f"{factory.name}, seed {number + 1} of {factory.seeds}"
        with context.progress(title) as update:
            warn = _Warning(table, factory, plan, method, number, context.note)
            if method == "exact":
                compute = _Enumeration(factory, number, plan.semivalue, warn, update)
                # A seed may take minutes: an interrupted run keeps the finished ones.
                arrays, _ = cached(folder, part, compute, note=context.note)
                outcomes.append(_from_arrays(arrays))
                continue
            played = factory.make(number, None)
            if plan.seconds is None:
                warn(played.game)
            fold = jax.random.fold_in(key, number)
            outcomes.append(
                sample(
                    fold, played, method, plan, factory=factory, seed=number,
                    folder=folder, progress=update,
                )
            )  # fmt: skip
    return _valuation(key, table, factory, plan, method, seed, outcomes)


def _valuation(key, table, factory, plan, method, seed, outcomes) -> Valuation:
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


def _method(
    plan: Plan,
    factory: GameFactory,
    players: int,
    source: str,
    note: Callable[[str], None],
) -> str:
    """The estimator that was named, or the one that suits."""
    method = _named_or_suited(plan, factory, players, source, note)
    if method == "exact":
        for name in ("stderr", "budget", "seconds"):
            if getattr(plan, name) is not None:
                note(f"note: --{name} has nothing to stop: nothing is sampled here.")
    return method


def _named_or_suited(plan, factory, players, source, note) -> str:
    if plan.semivalue.is_leave_one_out:
        return "exact"
    if plan.estimator == "exact" and players > exact.MAX_PLAYERS:
        raise ValueError(
            f"--estimator exact scores all 2**n coalitions and takes at most "
            f"{exact.MAX_PLAYERS} players; {source} has {players}. Leave "
            "--estimator out to sample them, or group rows with --owner."
        )
    row = ESTIMATORS.get(plan.estimator)
    capped = row is not None and not row.has_growing_counts and not plan.has_rule
    if capped and 2**players <= default_budget(players):
        note(
            f"note: {plan.estimator} would sample more than the {2**players} "
            f"coalitions that {players} players have: scoring all of them."
        )
        return "exact"
    if plan.estimator != "auto":
        return plan.estimator
    asked = 2**players if plan.budget is None else min(2**players, plan.budget)
    if players <= factory.max_exact and asked == 2**players:
        return "exact"
    note(
        f"note: {players} players are too many to score all their coalitions"
        f"{' here' if plan.budget is None else ' within the budget'}; "
        "sampling antithetic pairs of orders (--estimator, --stderr, --budget)."
    )
    return "antithetic"


@dataclasses.dataclass(frozen=True)
class _Warning:
    """Warns of a first seed that will take long."""

    table: Table
    factory: GameFactory
    plan: Plan
    method: str
    seed: int
    note: Callable[[str], None]

    def __call__(self, game: Game) -> None:
        if self.seed > 0:
            return
        players = game.num_players
        if self.method != "exact":
            count = expected_evaluations(self.method, self.plan, players)
        else:
            few = self.plan.semivalue.is_leave_one_out
            count = players + 1 if few else 2**players
        row = ESTIMATORS.get(self.method)
        forecast.warn_if_slow(
            game,
            count,
            ordered=row is not None and row.is_ordered,
            what="trainings" if self.factory.is_trained else "scores",
            remedies=remedies(self.table, self.factory, self.plan),
            note=self.note,
            seeds=self.factory.seeds,
        )


def remedies(table: Table, factory: GameFactory, plan: Plan) -> tuple[str, ...]:
    """Settings that would shorten a valuation."""
    grouped = len(table.owner_names) < len(table.dataset.x)
    ways = [] if grouped else ["--owner to value groups"]
    if not plan.semivalue.is_leave_one_out and plan.estimator != "exact":
        ways.append("a smaller --budget" if plan.budget else "--budget N")
    if plan.estimator == "exact":
        ways.append("another --estimator")
    if factory.is_trained:
        is_classes = table.task == CLASSIFICATION
        ways.append(f"--game {'logistic' if is_classes else 'ridge'}")
    return tuple(ways)


@dataclasses.dataclass(frozen=True)
class _Enumeration:
    """Scores all coalitions (or all but one player) of one seed's game."""

    factory: GameFactory
    seed: int
    semivalue: Semivalue
    warn: Callable[[Game], None]
    update: Callable[..., None]

    def __call__(self) -> dict[str, Any]:
        played = self.factory.make(self.seed, self.update)
        self.warn(played.game)
        progress = None if played.game.on_host else self.update
        values, endpoints, count = _exact_values(played.game, self.semivalue, progress)
        discrepancy = None
        if played.discrepancy is not None:
            discrepancy = _exact_values(played.discrepancy, self.semivalue, None)[0]
        return {
            "values": values,
            "endpoints": endpoints,
            "num_evaluations": count,
            "discrepancy": discrepancy,
        }


def _exact_values(game: Game, semivalue: Semivalue, progress):
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


def _from_arrays(arrays: dict[str, Any]) -> SeedValues:
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
        return _exact_values(game, semivalue, None)[0]
    estimator = permutation.antithetic(game.num_players, semivalue.weights)
    outcome = run(key, estimator, game, until=stopping.units(64))
    return np.asarray(outcome.estimate.values)


def _mean_endpoints(outcomes: Sequence[SeedValues]) -> tuple[float, float] | None:
    endpoints = [each.endpoints for each in outcomes if each.endpoints is not None]
    if not endpoints:
        return None
    empty, full = np.mean(endpoints, axis=0)
    return float(empty), float(full)
