"""Values of owners: from every coalition, or from samples until a rule is met."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax

from jaxval.coalitions.game import Game
from jaxval.datasets.tabular.table import CLASSIFICATION, Table
from jaxval.runner.cache import cached, data_folder, note_resumed
from jaxval.runner.contract import Context
from jaxval.semivalues import exact
from jaxval.types import PRNGKey
from jaxval.valuation import forecast
from jaxval.valuation.enumeration import Enumeration, from_arrays
from jaxval.valuation.estimators import ESTIMATORS
from jaxval.valuation.factory import GameFactory
from jaxval.valuation.over_seeds import mean_valuation
from jaxval.valuation.result import Valuation
from jaxval.valuation.sampling import (
    Plan,
    default_budget,
    expected_evaluations,
    sample,
)

__all__ = ["estimate", "remedies"]


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
    sample_key, baseline_key = jax.random.split(key)
    outcomes = []
    for number, part in enumerate(parts):
        title = f"{factory.name}, seed {number + 1} of {factory.seeds}"
        with context.progress(title) as update:
            warn = _Warning(table, factory, plan, method, number, context.note)
            if method == "exact":
                compute = Enumeration(factory, number, plan.semivalue, warn, update)
                # A seed may take minutes: an interrupted run keeps the finished ones.
                arrays, _ = cached(folder, part, compute, note=context.note)
                outcomes.append(from_arrays(arrays))
                continue
            played = factory.make(number, None)
            if plan.seconds is None:
                warn(played.game)
            fold = jax.random.fold_in(sample_key, number)
            outcomes.append(
                sample(
                    fold, played, method, plan, factory=factory, seed=number,
                    folder=folder, progress=update,
                )
            )  # fmt: skip
    return mean_valuation(baseline_key, table, factory, plan, method, seed, outcomes)


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
    count = 2**players if plan.budget is None else min(2**players, plan.budget)
    if players <= factory.max_exact and count == 2**players:
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
