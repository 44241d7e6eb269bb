"""Values of a person's contributors: every coalition, or samples until it is enough."""

import hashlib
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jaxval.datasets.tables import CLASSIFICATION, Table
from jaxval.experiments import untrained, value_forecast
from jaxval.experiments.contract import Context
from jaxval.experiments.value_games import Maker
from jaxval.games import davinz
from jaxval.semivalues import (
    Estimator,
    Outcome,
    Status,
    adjusted,
    exact,
    intervals,
    least_squares,
    msr,
    permutation,
    run_detailed,
    stopping,
    truncated,
    weights,
)
from jaxval.types import Game, PRNGKey, ValueEstimate

__all__ = ["Found", "estimate", "name_of", "places", "semivalue", "without_errors"]

_DEFAULT_UNITS = 200
"""Units after which sampling stops when nothing else was said."""

_LEAST_UNITS = 30
"""Units below which no standard error is believed."""


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
      utility_calls: coalitions scored, over all seeds.
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
    utility_calls: int
    draws: Float[np.ndarray, "seeds n"]
    extras: dict[str, Any]
    drawn_once: str = ""


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
    play = _enumerated if method == "exact" else _sampled
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
        utility_calls=sum(each.outcome.utility_calls for each in outcomes),
        draws=np.stack([each.outcome.estimate.values for each in outcomes]),
        extras={},
        drawn_once=once,
    )


def without_errors(
    found: ValueEstimate,
) -> tuple[ValueEstimate, Float[np.ndarray, "n n"]]:
    """The same values with nothing known about their errors or their ranks."""
    unknown = np.full_like(np.asarray(found.values, float), np.nan)
    return found._replace(stderr=unknown), np.full((len(unknown),) * 2, np.nan)


def semivalue(config: Any) -> weights.Weights:
    """The weights that `--semivalue` names."""
    return {
        "shapley": weights.shapley,
        "banzhaf": weights.banzhaf,
        "weighted-banzhaf": weights.weighted_banzhaf(config.probability),
        "beta": weights.beta(config.alpha, config.beta),
        "leave-one-out": weights.leave_one_out,
    }[config.semivalue]


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


class _Seed(NamedTuple):
    """One seed's outcome, and the values of the discrepancy within its game."""

    outcome: Outcome
    far: Float[np.ndarray, " n"] | None
    worth: tuple[float, float] | None


def _enumerated(key, config, table, maker, seed, method, weigh, context, update):
    del key, method
    played = maker.make(seed, update)
    if seed == 0:
        few = weigh is weights.leave_one_out
        players = played.game.num_players
        _foretell(
            config, table, played.game, players + 1 if few else 2**players, maker.seeds,
            context, ordered=False,
        )  # fmt: skip
    progress = None if played.game.on_host else update
    values, worth, calls = _exact_values(played.game, weigh, progress)
    far = None if played.far is None else _exact_values(played.far, weigh, None)[0]
    known = ValueEstimate(values, np.zeros_like(values), np.full(values.shape, calls))
    return _Seed(Outcome(known, None, calls, calls, 0.0, None), far, worth)


def _exact_values(game: Game, weigh, progress):
    if weigh is weights.leave_one_out:
        found = exact.leave_one_out(game)
        return np.asarray(found.values), None, game.num_players + 1
    scores = exact.table(game, progress=progress)
    ends = (float(scores[0]), float(scores[-1]))
    return exact.from_table(scores, weigh), ends, len(scores)


def _sampled(key, config, table, maker, seed, method, weigh, context, update):
    played = maker.make(seed, None)
    estimator = _ESTIMATORS[method](played.game.num_players, weigh)
    rule, cap = _rule(config)
    options = {"until": rule, "every": maker.every}
    if seed == 0 and config.seconds is None:
        _foretell(
            config, table, played.game, _calls(config, estimator, played.game),
            maker.seeds, context, ordered=method in _ORDERED,
        )  # fmt: skip
    outcome = run_detailed(
        estimator,
        played.game,
        jax.random.fold_in(key, seed),
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
        again = run_detailed(
            estimator, played.far, jax.random.fold_in(key, seed), **options
        )
        far = np.asarray(again.estimate.values)
    return _Seed(outcome, far, None)


_ESTIMATORS: dict[str, Callable[..., Estimator]] = {
    "permutation": permutation.estimator,
    "antithetic": permutation.antithetic,
    "quasi-random": permutation.quasi_random,
    "stratified": permutation.stratified,
    "truncated": lambda n, weigh: truncated.estimator(n),
    "msr": msr.estimator,
    "adjusted": adjusted.estimator,
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


def _foretell(config, table: Table, game: Game, scores, seeds, context, *, ordered):
    classes = table.task == CLASSIFICATION
    value_forecast.forecast(
        config, game, scores, seeds, ordered=ordered, classes=classes,
        advise=context.note,
    )  # fmt: skip


_ORDERED = ("permutation", "antithetic", "quasi-random", "stratified", "truncated")
"""Estimators that score the prefixes of orders."""

_UNITS = {
    "permutation": "orders",
    "antithetic": "pairs of orders",
    "quasi-random": "blocks of orders",
    "stratified": "blocks of orders",
    "truncated": "orders",
    "msr": "coalitions",
    "adjusted": "coalitions",
}


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
        return min(status.utility_calls, budget), budget, text
    return units, max(units, _DEFAULT_UNITS), text


def _checkpoint(
    scratch: pathlib.Path | None, table: Table, seed: int
) -> pathlib.Path | None:
    """A file for this seed *and* these data: edited data start afresh."""
    if scratch is None:
        return None
    scratch.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    for array in (*table.dataset, table.x_valid, table.y_valid):
        digest.update(np.ascontiguousarray(array).tobytes())
    return scratch / f"{digest.hexdigest()[:10]}-seed-{seed}.npz"


def _together(outcomes: list[_Seed], method: str):
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


def _words(config, method: str, players: int) -> str:
    name = name_of(config)
    if config.semivalue == "leave-one-out":
        return f"{name} values"
    if method == "exact":
        return f"exact {name} values over {2**players} coalitions"
    return f"{name} values by {method} sampling"


def name_of(config: Any) -> str:
    """The semi-value in words."""
    return {
        "shapley": "Shapley",
        "banzhaf": "Banzhaf",
        "weighted-banzhaf": f"Banzhaf({config.probability:g})",
        "beta": f"Beta({config.alpha:g}, {config.beta:g})",
        "leave-one-out": "Leave-one-out",
    }[config.semivalue]


def _sampled_over(config, seeds, method, players, outcomes) -> str:
    parts = []
    if seeds > 1:
        what = "trainings" if config.game == "retraining" else "initialisations"
        parts.append(f"{seeds} {what}")
    if method != "exact":
        counts = [int(np.min(each.outcome.estimate.counts)) for each in outcomes]
        unit = _UNITS.get(method, "units")
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
    outcome = run_detailed(estimator, game, key, until=stopping.units(64))
    return np.asarray(outcome.estimate.values)


def _worth(outcomes) -> tuple[float, float] | None:
    if outcomes[0].worth is None:
        return None
    nobody, everybody = np.mean([each.worth for each in outcomes], axis=0)
    return float(nobody), float(everybody)
