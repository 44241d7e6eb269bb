"""Values of a person's contributors: every coalition, or samples until it is enough."""

import functools
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxval.coalitions.game import Game
from jaxval.datasets.tabular.table import Table
from jaxval.games import at_initialisation as untrained
from jaxval.games import davinz
from jaxval.runner.cache import kept
from jaxval.runner.contract import Context
from jaxval.semivalues import (
    Outcome,
    exact,
    permutation,
    run,
    stopping,
    weights,
)
from jaxval.types import PRNGKey, ValueEstimate
from jaxval.valuation.games import Maker
from jaxval.valuation.result import Found, name_of, places_of, semivalue, without_errors
from jaxval.valuation.sampling import UNITS, Seed, folder_of, foretell, sampled

__all__ = ["estimate"]


def estimate(
    key: PRNGKey, config: Any, table: Table, maker: Maker, context: Context
) -> Found:
    """Values under the game of each seed, and their mean.

    Args:
      key: of the coalitions.
      config: of `value`.
      table: a person's data.
      maker: of the games.
      context: for progress and checkpoints.
    """
    players = len(table.owner_names)
    weigh = semivalue(config)
    method = _method(config, maker, players, context)
    play = _enumerated if method == "exact" else sampled
    for name in ("stderr", "budget", "seconds"):
        if method == "exact" and getattr(config, name) is not None:
            context.note(
                f"note: --{name} has nothing to stop: nothing is sampled here."
            )
    outcomes = []
    for seed in range(maker.seeds):
        title = f"{config.game}, seed {seed + 1} of {maker.seeds}"
        with context.progress(title) as update:
            outcomes.append(
                play(key, config, table, maker, seed, method, weigh, context, update)
            )
    once = maker.random if maker.seeds == 1 and method == "exact" else ""
    values, sure, sampling = _together(outcomes, method)
    if once:
        values, sure = without_errors(values)
    return Found(
        values,
        sure,
        sampling,
        how=f"{maker.what}; {_words(config, method, players)}",
        unit=maker.unit,
        sampled=_sampled_over(config, maker.seeds, method, players, outcomes),
        rivals=_rivals(key, config, table, method, weigh, outcomes),
        worth=_worth(outcomes),
        num_evaluations=sum(each.outcome.num_evaluations for each in outcomes),
        draws=np.stack([each.outcome.estimate.values for each in outcomes]),
        extras={},
        drawn_once=once,
    )


def _method(config, maker, players, context) -> str:
    """The estimator that `--estimator` names, or the one that suits."""
    if config.semivalue == "leave-one-out":
        if config.estimator not in ("auto", "exact"):
            raise ValueError(
                "--semivalue leave-one-out needs no estimator: it scores the absence "
                "of every player. Leave --estimator out."
            )
        return "exact"
    if config.estimator == "exact" and players > exact.MAX_PLAYERS:
        raise ValueError(
            f"--estimator exact scores all 2**n coalitions and takes at most "
            f"{exact.MAX_PLAYERS} players; {config.data} has {players}. Leave "
            "--estimator out to sample them, or group rows with --owner."
        )
    if config.estimator != "auto":
        return config.estimator
    asked = 2**players if config.budget is None else min(2**players, config.budget)
    if players <= maker.max_exact and asked == 2**players:
        return "exact"
    context.note(
        f"note: {players} players are too many to score all their coalitions"
        f"{' here' if config.budget is None else ' within the budget'}; "
        "sampling antithetic pairs of orders (--estimator, --stderr, --budget)."
    )
    return "antithetic"


def _enumerated(key, config, table, maker, seed, method, weigh, context, update):
    del key, method
    # Each seed may have trained for minutes: a killed run keeps those it had finished.
    score = functools.partial(_scored, config, table, maker, seed, weigh, context)
    folder = folder_of(context.scratch, table)
    return kept(folder, f"seed-{seed}", lambda: score(update))[0]


def _scored(config, table, maker, seed, weigh, context, update) -> Seed:
    played = maker.make(seed, update)
    if seed == 0:
        few = weigh is weights.leave_one_out
        players = played.game.num_players
        foretell(
            config, table, played.game, players + 1 if few else 2**players, maker.seeds,
            context, ordered=False,
        )  # fmt: skip
    progress = None if played.game.on_host else update
    values, worth, calls = _exact_values(played.game, weigh, progress)
    far = None if played.far is None else _exact_values(played.far, weigh, None)[0]
    known = ValueEstimate(
        values,
        np.zeros_like(values),
        np.full(values.shape, calls),
        np.full(values.shape, np.inf),
    )
    return Seed(_exact_outcome(known, calls), far, worth)


def _exact_outcome(known: ValueEstimate, count: int) -> Outcome:
    return Outcome(
        estimate=known,
        covariance=None,
        num_evaluations=count,
        steps=count,
        seconds=0.0,
        state=None,
    )


def _exact_values(game: Game, weigh, progress):
    if weigh is weights.leave_one_out:
        found = exact.leave_one_out(game)
        return np.asarray(found.values), None, game.num_players + 1
    scores = exact.table(game, progress=progress)
    ends = (float(scores[0]), float(scores[-1]))
    return exact.from_table(scores, weigh), ends, len(scores)


def _together(outcomes: list[Seed], method: str):
    """The mean over seeds, its error, the surety of the ranks, the sampling's part."""
    estimates = [each.outcome.estimate for each in outcomes]
    draws = np.stack([np.asarray(e.values, float) for e in estimates])
    errors = np.stack([np.asarray(e.stderr, float) for e in estimates])
    count = len(draws)
    sampling = np.sqrt((errors**2).sum(0)) / count
    if count == 1:
        only = outcomes[0].outcome
        covariance = only.covariance
        if method == "exact":
            covariance = np.zeros((draws.shape[1],) * 2)
        return only.estimate, places_of(only.estimate, covariance), sampling
    covariance = np.atleast_2d(np.cov(draws.T)) / count
    mean = ValueEstimate(
        draws.mean(0),
        np.sqrt(np.diag(covariance)),
        np.full(draws.shape[1], count),
    )
    return mean, places_of(mean, covariance), sampling


def _words(config, method: str, players: int) -> str:
    name = name_of(config)
    if config.semivalue == "leave-one-out":
        return f"{name} values"
    if method == "exact":
        return f"exact {name} values over {2**players} coalitions"
    return f"{name} values by {method} sampling"


def _sampled_over(config, seeds, method, players, outcomes) -> str:
    parts = []
    if seeds > 1:
        what = "trainings" if config.game == "retraining" else "initialisations"
        parts.append(f"{seeds} {what}")
    if method != "exact":
        counts = [int(np.min(each.outcome.estimate.counts)) for each in outcomes]
        unit = UNITS.get(method, "units")
        parts.append(f"{min(counts)} {unit}{' each' if seeds > 1 else ''}")
    return ", ".join(parts)


def _rivals(key, config, table, method, weigh, outcomes):
    """Values of what needs no network, and of the rest of DAVINZ where it is valued."""
    sizes = table.dataset.sizes
    rivals = {"size only": sizes / sizes.sum()}
    values = np.mean([each.outcome.estimate.values for each in outcomes], axis=0)
    if outcomes[0].far is not None:
        far = np.mean([each.far for each in outcomes], axis=0)
        rivals["discrepancy only"], rivals["complexity only"] = far, values - far
    elif config.game != "discrepancy":
        rivals["discrepancy only"] = _nearness(key, config, table, method, weigh)
    seed = np.random.default_rng(config.seed)
    rivals["random"] = seed.normal(size=len(sizes))
    if config.game == "size":
        del rivals["size only"]
    return rivals


def _nearness(key, config, table, method, weigh) -> Float[np.ndarray, " n"]:
    game = -davinz.discrepancy(untrained.similarity(table.dataset, table.x_valid))
    if method == "exact" and (game.num_players <= 16 or weigh is weights.leave_one_out):
        return _exact_values(game, weigh, None)[0]
    estimator = permutation.antithetic(game.num_players, weigh)
    outcome = run(key, estimator, game, until=stopping.units(64))
    return np.asarray(outcome.estimate.values)


def _worth(outcomes) -> tuple[float, float] | None:
    if outcomes[0].worth is None:
        return None
    nobody, everybody = np.mean([each.worth for each in outcomes], axis=0)
    return float(nobody), float(everybody)
