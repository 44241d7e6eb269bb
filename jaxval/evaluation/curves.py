r"""Adding and removing the most and the least valuable players, with retraining.

The score at each step is that of *any* game: pass the one whose scores are taken on
held-out data, not the one the values were computed from, or the curves flatter the
method that fitted the validation set best. Points or contributors: players are whatever
the game's players are.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, Num

from jaxval._checks import check
from jaxval.coalitions import queries
from jaxval.coalitions.game import Game
from jaxval.evaluation.ranking import order_descending, tie_groups
from jaxval.evaluation.replicates import mean_and_stderr
from jaxval.types import PRNGKey

__all__ = [
    "Band",
    "Curve",
    "addition_curve",
    "area",
    "area_between",
    "band",
    "removal_curve",
    "even_steps",
]


class Curve(NamedTuple):
    """Scores while players are added or removed one after another.

    Attributes:
      moved: Number of players added or removed at each step, from 0.
      scores: Score of the coalition at each step; the mean over `num_orders` orders.
      num_tied: Players of equal value that a step parts: which of them go first is not
        decided by the values.
      num_orders: Random orders of the tied players that the scores are averaged over.
    """

    moved: Int[np.ndarray, " steps"]
    scores: Float[np.ndarray, " steps"]
    num_tied: int = 0
    num_orders: int = 1


class Band(NamedTuple):
    """Curves of several draws.

    Attributes:
      moved: Number of players added or removed at each step.
      mean: Mean score over the draws at each step.
      stderr: Standard error of the mean, over the draws; NaN with one draw.
      draws: Number of draws.
    """

    moved: Int[np.ndarray, " steps"]
    mean: Float[np.ndarray, " steps"]
    stderr: Float[np.ndarray, " steps"]
    draws: int


def even_steps(
    num_players: int, num_steps: int = 20, stop: float = 1.0
) -> Int[np.ndarray, " steps"]:
    """About `num_steps` even steps from 0 to the fraction `stop` of the players.

    Args:
      num_players: Number of players.
      num_steps: Number of steps after the first; fewer if there are fewer players.
      stop: Fraction of the players at the last step, above 0 and at most 1.

    Raises:
      ValueError: if one is out of range.

    Example:
      >>> even_steps(10, 5).tolist()
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
    key: PRNGKey | None = None,
    num_orders: int = 16,
    steps: Int[np.ndarray, " steps"] | None = None,
) -> Curve:
    """Scores while the most (or least) valuable players are taken away.

    Good values make the curve fall fast when the highest go first, and slowly, or rise,
    when the lowest do. Where a step parts players of equal value, the values don't say
    which of them go first: `tie_break` decides, or the scores are the mean over random
    orders from `key`; the row number never does.

    Args:
      game: Game whose scores are of data that the values have not seen.
      values: Values, one per player.
      highest_first: Whether the most valuable are taken away first.
      tie_break: Second criterion among equal values, in the same direction.
      key: PRNG key of the orders of players that are tied nevertheless.
      num_orders: Number of those orders.
      steps: Players gone at each step; `even_steps(num_players)` when left out.

    Raises:
      ValueError: unless there is one finite value per player and the steps are in
        range; or if a step parts tied players and there is no key.

    Example:
      >>> size = Game(4, lambda mask: mask.sum() * 1.0)
      >>> removal_curve(size, np.arange(4.0), steps=np.array([0, 3])).scores.tolist()
      [4.0, 1.0]

    References:
      Ghorbani and Zou, *Data Shapley*, ICML 2019, section 4.
    """
    values = values if highest_first else _reversed(values)
    plan = _plan(game, values, _turned(tie_break, highest_first), steps)
    return _curve(game, plan, key, num_orders, lambda place, moved: place >= moved)


def addition_curve(
    game: Game,
    values: Num[np.ndarray, " n"],
    *,
    highest_first: bool = True,
    tie_break: Num[np.ndarray, " n"] | None = None,
    key: PRNGKey | None = None,
    num_orders: int = 16,
    steps: Int[np.ndarray, " steps"] | None = None,
) -> Curve:
    """Scores while the most (or least) valuable players join the empty coalition.

    Ties are treated as in `removal_curve`.

    Args:
      game: Game whose scores are of data that the values have not seen.
      values: Values, one per player.
      highest_first: Whether the most valuable join first.
      tie_break: Second criterion among equal values, in the same direction.
      key: PRNG key of the orders of players that are tied nevertheless.
      num_orders: Number of those orders.
      steps: Players present at each step; `even_steps(num_players)` when left out.

    Raises:
      ValueError: unless there is one finite value per player and the steps are in
        range; or if a step parts tied players and there is no key.

    Example:
      >>> size = Game(4, lambda mask: mask.sum() * 1.0)
      >>> addition_curve(size, np.arange(4.0), steps=np.array([0, 3])).scores.tolist()
      [0.0, 3.0]
      >>> first = Game(2, lambda mask: mask[0] * 1.0)
      >>> tied = np.zeros(2)
      >>> curve = addition_curve(first, tied, key=jax.random.key(0), num_orders=400)
      >>> curve.scores.round(1).tolist(), curve.num_tied, curve.num_orders
      ([0.0, 0.5, 1.0], 2, 400)

    References:
      Ghorbani and Zou, *Data Shapley*, ICML 2019, section 4.
    """
    values = values if highest_first else _reversed(values)
    plan = _plan(game, values, _turned(tie_break, highest_first), steps)
    return _curve(game, plan, key, num_orders, lambda place, moved: place < moved)


def area(curve: Curve | Band) -> float:
    """Mean height: the area under the curve divided by its width.

    Args:
      curve: Curve of one draw, or the band of several.

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
      upper: Curve of the one method.
      lower: Curve of the other.

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
      curves: Curves of the draws, with the same steps.

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
    return Band(curves[0].moved, *mean_and_stderr(scores), len(curves))


class _Plan(NamedTuple):
    """Steps, and the order of the players with what it leaves open.

    Attributes:
      moved: Number of players moved at each step.
      groups: Group of tied players that each player is in; the highest moves first.
      num_tied: Players in groups that a step parts.
    """

    moved: Int[np.ndarray, " steps"]
    groups: Int[np.ndarray, " n"]
    num_tied: int


def _plan(game, values, tie_break, steps) -> _Plan:
    values = np.asarray(values)
    check(
        values.shape == (game.num_players,),
        f"values must hold one number for each of the game's {game.num_players} "
        f"players; got shape {values.shape}.",
    )
    count = len(values)
    moved = even_steps(count) if steps is None else np.asarray(steps)
    check(
        bool(len(moved) and moved.min() >= 0 and moved.max() <= count),
        f"steps must lie between 0 and {count} players.",
    )
    groups = tie_groups(values, tie_break)
    size = np.bincount(groups)[::-1]
    # (groups,): players moved once a group, highest first, is through; a step anywhere
    # else parts the group that it falls into.
    through = np.cumsum(size)
    inside = moved[~np.isin(moved, [0, *through])]
    parted = np.unique(np.searchsorted(through, inside))
    return _Plan(moved, groups, int(size[parted].sum()))


def _curve(game, plan: _Plan, key, num_orders: int, present) -> Curve:
    if not plan.num_tied:
        masks = present(_places(plan.groups, None)[None, :], plan.moved[:, None])
        return Curve(plan.moved, np.asarray(queries.scores(game, masks)))
    check(
        key is not None,
        f"{plan.num_tied} players of equal value are parted by the curve's steps, and "
        "the values don't say which of them go first: give `key=` for the mean over "
        "random orders, or a `tie_break=` without ties.",
    )
    check(num_orders >= 1, f"num_orders must be at least 1; got {num_orders}.")
    shape = (num_orders, len(plan.groups))
    chance = np.asarray(jax.random.uniform(key, shape))
    # (orders, n) -> (orders, steps, n): the coalition of every order at every step.
    places = np.stack([_places(plan.groups, row) for row in chance])
    masks = present(places[:, None, :], plan.moved[None, :, None])
    # Orders differ inside parted groups alone: most coalitions are the same in all.
    unique, which = np.unique(
        masks.reshape(-1, masks.shape[-1]), axis=0, return_inverse=True
    )
    scores = np.asarray(queries.scores(game, unique))[which.reshape(masks.shape[:2])]
    return Curve(plan.moved, scores.mean(0), plan.num_tied, num_orders)


def _places(groups, chance):
    """Place of each player in the order, from 0, the highest group first."""
    place = np.empty(len(groups), int)
    place[order_descending(groups, chance)] = np.arange(len(groups))
    return place


def _reversed(values):
    return -np.asarray(values)


def _turned(tie_break, highest_first: bool):
    if tie_break is None or highest_first:
        return tie_break
    return _reversed(tie_break)
