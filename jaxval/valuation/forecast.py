"""How long a valuation will take, said before it is begun."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxval.coalitions import queries
from jaxval.coalitions.game import Game
from jaxval.execution.precision import double
from jaxval.semivalues import Estimator
from jaxval.types import Ends

__all__ = [
    "PATIENCE",
    "duration",
    "num_evaluations",
    "seconds_per_score",
    "warn_if_slow",
]

PATIENCE = 180.0
"""Seconds below which no forecast is needed."""

_MANY_PLAYERS = 40
"""Players of a traced game above which an order is timed: below, it is soon over."""

_MANY_SCORES = 4096
"""Coalitions of a traced game above which one of them is timed."""


def warn_if_slow(
    game: Game,
    count: int,
    *,
    ordered: bool,
    what: str,
    remedies: Sequence[str],
    note: Callable[[str], None],
    seeds: int = 1,
) -> None:
    """Time one utility evaluation, and say so if all will take more than minutes.

    Args:
      game: Game of the first seed.
      count: Utility evaluations for each seed.
      ordered: Whether they are prefixes of orders of the players.
      what: What an evaluation is, in the plural: scores, trainings.
      remedies: Settings that would shorten it.
      note: Takes the line.
      seeds: Number of seeds.
    """
    many = game.num_players > _MANY_PLAYERS if ordered else count > _MANY_SCORES
    if not (game.on_host or many):
        return
    total = count * seeds
    seconds = total * seconds_per_score(game, ordered=ordered)
    if seconds > PATIENCE:
        advice = " or ".join(w for w in (", ".join(remedies[:-1]), *remedies[-1:]) if w)
        note(
            f"note: about {float(f'{total:.2g}'):,.0f} {what}, some "
            f"{duration(seconds)}{': give ' if advice else ''}{advice}."
        )


def num_evaluations(estimator: Estimator, num_players: int, units: int) -> int:
    """Utility evaluations behind `units` units, from one step on a game without cost.

    Args:
      estimator: Estimator that will be run.
      num_players: Number of players.
      units: Units that are waited for.
    """
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


def seconds_per_score(game: Game, *, ordered: bool) -> float:
    """Seconds for one score after compilation, in the way that many will be asked for.

    Args:
      game: Game to time.
      ordered: Time the prefixes of an order, which many games score at a discount;
        otherwise, and on the host, a coalition of half of the players.
    """
    players = game.num_players
    if ordered and not game.on_host:
        count, ask = players, lambda: queries.prefix_scores(game, np.arange(players))
    else:
        half = np.arange(players)[None, :] % 2 == 0
        count, ask = 1, lambda: queries.scores(game, half)
    ask()
    start = time.monotonic()
    ask()
    return (time.monotonic() - start) / count


def duration(seconds: float) -> str:
    """Seconds in words, to two digits.

    Args:
      seconds: Duration.

    Example:
      >>> duration(250.0), duration(144_000.0), duration(1e6)
      ('4.2 minutes', '40 hours', '12 days')
    """
    unit, name = next((u for u in _UNITS if seconds >= 2 * u[0]), _UNITS[-1])
    return f"{float(f'{seconds / unit:.2g}'):g} {name}"


_UNITS = ((86_400, "days"), (3600, "hours"), (60, "minutes"))
