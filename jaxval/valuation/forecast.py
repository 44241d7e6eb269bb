"""How long a valuation will take, said before it is begun."""

import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxval.coalitions import queries
from jaxval.coalitions.game import Game
from jaxval.execution.precision import double
from jaxval.semivalues import Estimator
from jaxval.types import Ends

__all__ = ["PATIENCE", "calls_of", "duration", "forecast", "seconds_of_a_score"]

PATIENCE = 180.0
"""Seconds below which nobody needs a forecast."""

_MANY_PLAYERS = 40
"""Players of a traced game above which an order is timed: below, it is soon over."""

_MANY_SCORES = 4096
"""Coalitions of a traced game above which one of them is timed."""


def forecast(
    config: Any,
    game: Game,
    scores: int,
    seeds: int,
    *,
    ordered: bool,
    classes: bool,
    advise: Callable[[str], None],
) -> None:
    """Time one score, and say so if all of them will take more than a few minutes.

    Args:
      config: of `value`.
      game: of the first seed.
      scores: that will be asked for, with one seed.
      seeds: how often.
      ordered: whether they are asked for along orders of the players.
      classes: whether the target is a class.
      advise: takes the line.
    """
    many = game.num_players > _MANY_PLAYERS if ordered else scores > _MANY_SCORES
    if not (game.on_host or many):
        return
    total = scores * seeds
    seconds = total * seconds_of_a_score(game, ordered=ordered)
    if seconds > PATIENCE:
        advise(_line(config, total, seconds, classes))


def calls_of(estimator: Estimator, num_players: int, units: int) -> int:
    """Scores behind so many units, from one step on a game that costs nothing."""
    free = Game(
        num_players,
        lambda mask: mask.sum() * 1.0,
        fast_scores=lambda masks: np.asarray(masks, float).sum(axis=1),
        on_host=True,
    )
    with double():
        ends = Ends(jnp.float64(0.0), jnp.float64(num_players))
        state = estimator.step(jax.random.key(0), estimator.init(ends), free, ends)
        counts = np.asarray(estimator.estimate(state).counts)
        return int(estimator.num_evaluations(state)) * math.ceil(
            units / max(1, counts.max())
        )


def seconds_of_a_score(game: Game, *, ordered: bool) -> float:
    """Seconds for one score after compilation, as many will be asked for.

    Args:
      game: any.
      ordered: time the prefixes of an order, which many games score at a discount;
        otherwise, and on the host, a coalition of half of the players.
    """
    count = game.num_players
    if ordered and not game.on_host:
        asked, ask = count, lambda: queries.prefix_scores(game, np.arange(count))
    else:
        half = np.arange(count)[None, :] % 2 == 0
        asked, ask = 1, lambda: queries.scores(game, half)
    ask()
    start = time.monotonic()
    ask()
    return (time.monotonic() - start) / asked


def _line(config, total: int, seconds: float, classes: bool) -> str:
    what = "trainings" if config.game == "retraining" else "scores"
    ways = [] if config.owner else ["--owner to value groups"]
    if config.semivalue != "leave-one-out" and config.estimator != "exact":
        ways.append("a smaller --budget" if config.budget else "--budget N")
    if config.estimator == "exact":
        ways.append("another --estimator")
    if config.game == "retraining":
        ways.append(f"--game {'logistic' if classes else 'ridge'}")
    advice = f": give {' or '.join(filter(None, [', '.join(ways[:-1]), ways[-1]]))}"
    return (
        f"note: about {float(f'{total:.2g}'):,.0f} {what}, some {duration(seconds)}"
        f"{advice}."
    )


def duration(seconds: float) -> str:
    """Seconds in words, to two digits.

    Example:
      >>> duration(250.0), duration(144_000.0), duration(1e6)
      ('4.2 minutes', '40 hours', '12 days')
    """
    unit, name = next((u for u in _UNITS if seconds >= 2 * u[0]), _UNITS[-1])
    return f"{float(f'{seconds / unit:.2g}'):g} {name}"


_UNITS = ((86_400, "days"), (3600, "hours"), (60, "minutes"))
