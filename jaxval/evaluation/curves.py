r"""Adding and removing the most and the least valuable players, with retraining.

The score at each step is that of *any* game: pass the one whose scores are taken on
held-out data, not the one the values were computed from, or the curves flatter whoever
fitted the validation set best. Points or contributors: players are whatever the game's
players are.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num

from jaxval._checks import check
from jaxval.coalitions import queries
from jaxval.coalitions.game import Game
from jaxval.evaluation.ranking import descending

__all__ = [
    "Band",
    "Curve",
    "addition_curve",
    "area",
    "area_between",
    "band",
    "removal_curve",
    "steps_of",
]


class Curve(NamedTuple):
    """Scores while players are added or removed one after another.

    Attributes:
      moved: players added or removed at each step, from 0.
      scores: of the coalition at each step.
    """

    moved: Int[np.ndarray, " steps"]
    scores: Float[np.ndarray, " steps"]


class Band(NamedTuple):
    """Curves of many draws.

    Attributes:
      moved: as of the curves.
      mean: over the draws.
      stderr: of the mean, from draw to draw; NaN with one draw.
      draws: how many.
    """

    moved: Int[np.ndarray, " steps"]
    mean: Float[np.ndarray, " steps"]
    stderr: Float[np.ndarray, " steps"]
    draws: int


def steps_of(
    num_players: int, num_steps: int = 20, stop: float = 1.0
) -> Int[np.ndarray, " steps"]:
    """About `num_steps` even steps from 0 to the fraction `stop` of the players.

    Args:
      num_players: of the game.
      num_steps: fewer if there are fewer players.
      stop: above 0 and at most 1.

    Raises:
      ValueError: if one is out of range.

    Example:
      >>> steps_of(10, 5).tolist()
      [0, 2, 4, 6, 8, 10]
    """
    check(num_steps >= 1, f"num_steps must be at least 1; got {num_steps}.")
    check(0 < stop <= 1, f"stop must be above 0 and at most 1; got {stop}.")
    return np.unique(np.rint(np.linspace(0, stop * num_players, num_steps + 1))).astype(
        int
    )


def removal_curve(
    game: Game,
    values: Num[np.ndarray, " n"],
    *,
    highest_first: bool = True,
    tie_break: Num[np.ndarray, " n"] | None = None,
    steps: Int[np.ndarray, " steps"] | None = None,
) -> Curve:
    """Scores while the most (or least) valuable players are taken away.

    Good values make the curve fall fast when the highest go first, and slowly, or rise,
    when the lowest do.

    Args:
      game: scores on data that the values have not seen.
      values: one a player.
      highest_first: take the most valuable away first.
      tie_break: as of `descending`.
      steps: players gone at each step; `steps_of(num_players)` when left out.

    Raises:
      ValueError: unless there is one finite value a player and steps are in range.

    Example:
      >>> size = Game(4, lambda mask: mask.sum() * 1.0)
      >>> removal_curve(size, np.arange(4.0), steps=np.array([0, 3])).scores.tolist()
      [4.0, 1.0]

    References:
      Ghorbani and Zou, *Data Shapley*, ICML 2019, section 4.
    """
    moved, place = _plan(game, values, highest_first, tie_break, steps)
    return Curve(moved, queries.scores(game, place[None, :] >= moved[:, None]))


def addition_curve(
    game: Game,
    values: Num[np.ndarray, " n"],
    *,
    highest_first: bool = True,
    tie_break: Num[np.ndarray, " n"] | None = None,
    steps: Int[np.ndarray, " steps"] | None = None,
) -> Curve:
    """Scores while the most (or least) valuable players join, from nobody.

    Args:
      game: scores on data that the values have not seen.
      values: one a player.
      highest_first: the most valuable join first.
      tie_break: as of `descending`.
      steps: players present at each step; `steps_of(num_players)` when left out.

    Raises:
      ValueError: as of `removal_curve`.

    Example:
      >>> size = Game(4, lambda mask: mask.sum() * 1.0)
      >>> addition_curve(size, np.arange(4.0), steps=np.array([0, 3])).scores.tolist()
      [0.0, 3.0]

    References:
      Ghorbani and Zou, *Data Shapley*, ICML 2019, section 4.
    """
    moved, place = _plan(game, values, highest_first, tie_break, steps)
    return Curve(moved, queries.scores(game, place[None, :] < moved[:, None]))


def area(curve: Curve | Band) -> float:
    """Mean height: the area under the curve divided by its width.

    Args:
      curve: of one draw, or the mean of many.

    Raises:
      ValueError: with a single step.

    Example:
      >>> area(Curve(np.array([0, 2]), np.array([1.0, 0.0])))
      0.5
    """
    heights = curve.scores if isinstance(curve, Curve) else curve.mean
    width = float(curve.moved[-1] - curve.moved[0])
    check(width > 0, "the area of a curve needs at least two steps.")
    return float(np.trapezoid(heights, curve.moved) / width)


def area_between(upper: Curve | Band, lower: Curve | Band) -> float:
    """Mean height of one curve above another with the same steps.

    Args:
      upper: of the better method.
      lower: of the other.

    Raises:
      ValueError: if the steps differ.

    Example:
      >>> high, low = (Curve(np.arange(2), np.array([1.0, y])) for y in (1.0, 0.0))
      >>> area_between(high, low)
      0.5
    """
    check(
        np.array_equal(upper.moved, lower.moved),
        "the curves must have the same steps; compute them with the same `steps`.",
    )
    return area(upper) - area(lower)


def band(curves: Sequence[Curve]) -> Band:
    """Mean and standard error of the curves of several draws, step by step.

    Args:
      curves: with the same steps.

    Raises:
      ValueError: if there is no curve, or the steps differ.

    Example:
      >>> draws = [Curve(np.arange(2), np.array([0.0, y])) for y in (1.0, 3.0)]
      >>> found = band(draws)
      >>> found.mean.tolist(), found.stderr.tolist()
      ([0.0, 2.0], [0.0, 1.0])
    """
    check(len(curves) > 0, "curves is empty: there is nothing to average.")
    for curve in curves:
        check(
            np.array_equal(curve.moved, curves[0].moved),
            "the curves must have the same steps; compute them with the same `steps`.",
        )
    scores = np.array([curve.scores for curve in curves])
    draws = len(curves)
    spread = scores.std(0, ddof=1) if draws > 1 else np.full(scores.shape[1], np.nan)
    return Band(curves[0].moved, scores.mean(0), spread / np.sqrt(draws), draws)


def _plan(game, values, highest_first, tie_break, steps):
    values = np.asarray(values)
    check(
        values.shape == (game.num_players,),
        f"values must hold one number for each of the game's {game.num_players} "
        f"players; got shape {values.shape}.",
    )
    order = descending(values if highest_first else -values, tie_break)
    place = np.empty(len(order), int)
    place[order] = np.arange(len(order))
    moved = steps_of(len(order)) if steps is None else np.asarray(steps)
    check(
        bool(len(moved) and moved.min() >= 0 and moved.max() <= len(order)),
        f"steps must lie between 0 and {len(order)} players.",
    )
    return moved, place
