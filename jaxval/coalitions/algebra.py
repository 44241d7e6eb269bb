"""Games made of games: weighted sums, and games of groups of players."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Int

from jaxval.coalitions.game import Game, LeaveOneOut, Rows, as_scalar
from jaxval.execution.precision import float64, in_double
from jaxval.types import Scalar

__all__ = ["combine", "grouped"]

_Parts = tuple[tuple[Any, ...], tuple[Game, ...]]
"""Factors, and the games that they multiply."""


def combine(
    coefficients: Sequence[float | int | Scalar], games: Sequence[Game]
) -> Game:
    r"""The game $\sum_j c_j v_j$; every part answers in its own fastest way.

    Args:
      coefficients: Factor $c_j$ of each game.
      games: Games over the same players.

    Raises:
      ValueError: If the games differ in their number of players.

    Example:
      >>> size = Game(2, lambda mask: mask.sum() * 1.0)
      >>> float(combine((2.0, -1.0), (size, size)).score(jnp.array([True, True])))
      2.0
    """
    numbers = [game.num_players for game in games]
    if len(set(numbers)) != 1:
        raise ValueError(
            f"games can only be combined over the same players; got games of {numbers} "
            "players."
        )
    sizes = [game.batch_size for game in games if game.batch_size is not None]
    parts = (tuple(float64(c) for c in coefficients), tuple(games))
    fast = {
        name: Partial(fn, parts)
        for name, fn in _COMBINED.items()
        if any(getattr(game, name) is not None for game in games)
    }
    return Game(
        numbers[0],
        Partial(_combined_score, parts),
        fast.get("fast_scores"),
        fast.get("fast_prefixes"),
        fast.get("fast_leave_one_out"),
        fast.get("fast_powerset"),
        Partial(_combined_step, parts) if _can_step(games) else None,
        batch_size=min(sizes, default=None),
        on_host=any(game.on_host for game in games),
        rows=_combined_rows(parts),
        fingerprint=_joined_fingerprint(games),
    )


def _joined_fingerprint(games: Sequence[Game]) -> str | None:
    """The fingerprints of all parts; the factors are arrays of the combination."""
    if all(game.fingerprint is None for game in games):
        return None
    return "+".join(game.fingerprint or "" for game in games)


def _combined_rows(parts: _Parts) -> Rows | None:
    """Rows of a combination: where all parts have them and are linear in them."""
    rows = [game.rows for game in parts[1] if game.rows is not None]
    if len(rows) < len(parts[1]) or not all(r.is_linear for r in rows):
        return None
    if len({r.num_rows for r in rows}) > 1:
        return None
    return Rows(
        rows[0].num_rows,
        Partial(_combined_row_scores, parts),
        Partial(_combined_row_prefixes, parts),
        Partial(_combined_row_leave_one_out, parts),
    )


@in_double
def _weighted(parts: _Parts, ask: Callable[[Game], Any]) -> Any:
    return sum(c * ask(game) for c, game in zip(*parts, strict=True))


def _combined_score(parts: _Parts, mask: Any) -> Any:
    return _weighted(parts, lambda game: as_scalar(game.score(mask)))


def _combined_scores(parts: _Parts, masks: Any) -> Any:
    return _weighted(parts, lambda game: game.scores(masks))


def _combined_prefixes(parts: _Parts, order: Any) -> Any:
    return _weighted(parts, lambda game: game.prefix_scores(order))


def _combined_powerset(parts: _Parts) -> Any:
    return _weighted(parts, lambda game: game.powerset_scores())


def _combined_row_scores(parts: _Parts, masks: Any) -> Any:
    return _weighted(parts, lambda game: game.row_scores(masks))


def _combined_row_prefixes(parts: _Parts, order: Any) -> Any:
    return _weighted(parts, lambda game: game.row_prefix_scores(order))


def _combined_row_leave_one_out(parts: _Parts) -> Any:
    return _weigh_left_out(parts, Game.row_leave_one_out_scores)


def _combined_leave_one_out(parts: _Parts) -> Any:
    return _weigh_left_out(parts, Game.leave_one_out_scores)


@in_double
def _weigh_left_out(parts: _Parts, ask: Callable[[Game], Any]) -> LeaveOneOut:
    coefficients, games = parts
    answers = [ask(game) for game in games]

    def weigh(xs: Sequence[Any]) -> Any:
        return jnp.asarray(sum(c * x for c, x in zip(coefficients, xs, strict=True)))

    return LeaveOneOut(
        weigh([a.full for a in answers]), weigh([a.without for a in answers])
    )


def _can_step(games: Sequence[Game]) -> bool:
    # Games that answer all prefixes at once would be asked for one score at a time.
    steps = [game.fast_step is not None for game in games]
    whole = [game.fast_prefixes is not None for game in games]
    return any(steps) and all(s or not w for s, w in zip(steps, whole, strict=True))


@in_double
def _combined_step(parts: _Parts, carries: Any, mask: Any) -> tuple[Any, Any]:
    coefficients, games = parts
    carries = (None,) * len(games) if carries is None else carries
    answers = [
        (None, as_scalar(game.score(mask)))
        if game.fast_step is None
        else game.fast_step(c, mask)
        for game, c in zip(games, carries, strict=True)
    ]
    score = sum(c * a[1] for c, a in zip(coefficients, answers, strict=True))
    return tuple(carry for carry, _ in answers), score


_COMBINED = {
    "fast_scores": _combined_scores,
    "fast_prefixes": _combined_prefixes,
    "fast_leave_one_out": _combined_leave_one_out,
    "fast_powerset": _combined_powerset,
}


def grouped(game: Game, owner: Int[np.ndarray, " n"], num_owners: int) -> Game:
    """The game of groups of players: a coalition of groups brings all their players.

    Args:
      game: Game of single players.
      owner: Group, 0 to `num_owners` - 1, of each player.
      num_owners: Groups; those without players change nothing.

    Raises:
      ValueError: If `owner` does not name a group for each player.

    Example:
      >>> size = Game(3, lambda mask: mask.sum() * 1.0)
      >>> pairs = grouped(size, np.array([0, 1, 1]), 2)
      >>> float(pairs.score(jnp.array([False, True])))
      2.0
    """
    owner = np.asarray(owner)
    good = owner.shape == (game.num_players,) and owner.min(initial=0) >= 0
    if not (good and owner.max(initial=-1) < num_owners):
        raise ValueError(
            f"owner must name the group, 0 to {num_owners - 1}, of each of the game's "
            f"{game.num_players} players; got shape {owner.shape}."
        )
    parts = (game, owner if game.on_host else jnp.asarray(owner))
    rows = game.rows
    if rows is not None:
        by_row = Partial(_grouped_row_scores, parts)
        rows = Rows(rows.num_rows, by_row, reduce=rows.reduce)
    return Game(
        num_owners,
        Partial(_grouped_score, parts),
        Partial(_grouped_scores, parts),
        batch_size=game.batch_size,
        on_host=game.on_host,
        rows=rows,
        fingerprint=game.fingerprint,
    )


def _grouped_score(parts: tuple[Game, Any], mask: Any) -> Any:
    game, owner = parts
    return game.score(mask[owner])


def _grouped_scores(parts: tuple[Game, Any], masks: Any) -> Any:
    game, owner = parts
    return game.scores(masks[:, owner])


def _grouped_row_scores(parts: tuple[Game, Any], masks: Any) -> Any:
    game, owner = parts
    return game.row_scores(masks[:, owner])
