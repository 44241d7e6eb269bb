"""Asking a game: compiled once, in double precision, every score checked.

All numbers out of a game are asked here. Batches of every size run in one compiled
program per kind of game (a loop over blocks whose length is an argument), so exact
enumeration, leave-one-out, endpoints and curves of one game share it; a game that is a
pytree of arrays shares it with all games of its kind and shapes. Games `on_host` are
scored in Python. Inside a trace (`jit`, `grad`, `vmap`) the game is asked directly.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Bool, Float, Int

from jaxval._checks import check
from jaxval.coalitions import masks as _masks
from jaxval.coalitions.game import Game, LeaveOneOut
from jaxval.execution.options import Progress
from jaxval.execution.parallel import require_one_process
from jaxval.execution.precision import double, in_double
from jaxval.types import AnyArray, Ends, Order

__all__ = [
    "ends",
    "leave_one_out_scores",
    "not_finite",
    "powerset_scores",
    "prefix_scores",
    "row_scores",
    "scores",
]

_BLOCK = 16
"""Coalitions scored at once on a CPU: a call may score up to one block less one more
than it was asked for, so that calls of all sizes share one program."""

_BLOCK_DEVICE = 256
"""The same on other devices."""

_BUFFER = 2**22
"""Entries of the buffer of masks that one call of the program gets."""

_ASKING = "asking a game for its scores (semivalues.run, exact values)"

Masks = Bool[AnyArray, "m n"]


def scores(
    game: Game, masks: Masks, *, progress: Progress | None = None
) -> Float[AnyArray, " m"]:
    """The score of each coalition.

    Args:
      game: Game to ask.
      masks: Coalitions, one per row.
      progress: Called with (coalitions done, coalitions in all).

    Returns:
      Scores in float64; a traced array inside a trace.

    Raises:
      ValueError: If the masks are not of the game's players, or a score is not finite;
        the message names the coalition.

    Example:
      >>> majority = Game(3, lambda mask: (mask.sum() >= 2) * 1.0)
      >>> masks = np.array([[True, True, False], [False, False, True]])
      >>> scores(majority, masks).tolist()
      [1.0, 0.0]
    """
    require_one_process(_ASKING)
    check(
        np.ndim(masks) == 2 and np.shape(masks)[1] == game.num_players,
        f"masks must have one row per coalition and a column for each of the "
        f"{game.num_players} players; got shape {np.shape(masks)}.",
    )
    if _is_traced(game, masks):
        return in_double(game.scores)(masks)
    rows = np.asarray(masks, bool)
    with double():
        ask = _on_host if game.on_host else _in_blocks
        answer = ask(game, rows, progress)
    if not isinstance(answer, jax.core.Tracer):
        _check_finite(np.asarray(answer), rows)
    return answer


def prefix_scores(
    game: Game, order: Order | Int[np.ndarray, " players"]
) -> Float[AnyArray, " prefixes"]:
    r"""$v$ of the first 0, 1, ..., n players of an order.

    Args:
      game: Game to ask.
      order: Players in the order of their arrival.

    Example:
      >>> squares = Game(2, lambda mask: mask.sum() ** 2.0)
      >>> prefix_scores(squares, np.array([1, 0])).tolist()
      [0.0, 1.0, 4.0]
    """
    require_one_process(_ASKING)
    if _is_traced(game, order):
        return in_double(game.prefix_scores)(order)
    if game.fast_prefixes is None:
        return scores(game, np.asarray(_masks.prefixes(jnp.asarray(order))))
    with double():
        ask = game.prefix_scores if game.on_host else functools.partial(_prefixes, game)
        values = np.asarray(ask(jnp.asarray(order)), np.float64)
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise not_finite(values[bad[0]], np.asarray(order)[: bad[0]].tolist(), bad.size)
    return values


def leave_one_out_scores(game: Game) -> LeaveOneOut:
    r"""$v(N)$ and $v(N \setminus i)$ for each player, the fastest way the game knows.

    Args:
      game: Game to ask.

    Example:
      >>> squares = Game(3, lambda mask: mask.sum() ** 2.0)
      >>> leave_one_out_scores(squares).without.tolist()
      [4.0, 4.0, 4.0]
    """
    require_one_process(_ASKING)
    if _is_traced(game):
        return in_double(game.leave_one_out_scores)()
    if game.fast_leave_one_out is None:
        answers = scores(game, _all_but_one(game.num_players))
        return LeaveOneOut(answers[0], answers[1:])
    with double():
        ask = game.leave_one_out_scores if game.on_host else _leave_one_out(game)
        full, without = (np.asarray(part, np.float64) for part in ask())
    _check_finite(np.concatenate([full[None], without]), _all_but_one(len(without)))
    return LeaveOneOut(full, without)


def powerset_scores(
    game: Game, *, progress: Progress | None = None
) -> Float[AnyArray, " coalitions"]:
    """The scores of all coalitions, in the order of `masks.powerset`.

    Args:
      game: Game of at most 30 players.
      progress: Called with (coalitions done, coalitions in all).

    Example:
      >>> powerset_scores(Game(2, lambda mask: mask.sum() * 1.0)).tolist()
      [0.0, 1.0, 1.0, 2.0]
    """
    require_one_process(_ASKING)
    n = game.num_players
    if _is_traced(game):
        return in_double(game.powerset_scores)()
    if game.fast_powerset is None:
        values = np.empty(2**n)
        chunk = max(_BUFFER // max(n, 1), 1)
        if 2**n <= chunk:
            return scores(game, _numbered(n, 0, 2**n), progress=progress)
        for start in range(0, 2**n, chunk):
            stop = min(start + chunk, 2**n)
            values[start:stop] = scores(game, _numbered(n, start, stop))
            if progress is not None:
                progress(stop, 2**n)
        return values
    with double():
        ask = (
            game.powerset_scores if game.on_host else functools.partial(_powerset, game)
        )
        values = np.asarray(ask(), np.float64)
    if progress is not None:
        progress(2**n, 2**n)
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        members = np.flatnonzero(bad[0] >> np.arange(n) & 1).tolist()
        raise not_finite(values[bad[0]], members, bad.size)
    return values


def ends(game: Game) -> Ends:
    r"""$v(\emptyset)$ and $v(N)$.

    Args:
      game: Game to ask.

    Example:
      >>> [float(end) for end in ends(Game(3, lambda mask: mask.sum() ** 2.0))]
      [0.0, 9.0]
    """
    both = np.stack([np.zeros(game.num_players, bool), np.ones(game.num_players, bool)])
    empty, full = scores(game, both)
    with double():
        return Ends(jnp.asarray(empty), jnp.asarray(full))


def row_scores(
    game: Game,
    masks: Masks,
    *,
    block: int = 256,
    reduce: Callable[[Float[np.ndarray, "block rows"]], Any] | None = None,
) -> Any:
    """The score of each validation row under each coalition.

    Args:
      game: Game whose `rows` says how its score is made of those of validation rows.
      masks: Coalitions, one per row.
      block: Coalitions asked at once, which bounds the memory.
      reduce: Applied to each block before the next is asked; all blocks are kept, one
        below the other, when `None`.

    Returns:
      Scores `(coalitions, rows)` in float64, or the list of what `reduce` returned.

    Raises:
      ValueError: If the game does not answer by row, or a score is not finite.

    Example:
      >>> from jaxval.coalitions.game import Rows
      >>> by_row = Rows(2, lambda masks: masks @ jnp.diag(jnp.array([2.0, 4.0])))
      >>> game = Game(2, lambda mask: mask @ jnp.array([1.0, 2.0]), rows=by_row)
      >>> row_scores(game, np.array([[True, False], [True, True]])).tolist()
      [[2.0, 0.0], [2.0, 4.0]]
    """
    require_one_process(_ASKING)
    check(
        game.rows is not None,
        "game does not answer by validation row (`Game.rows` is None): its score is no "
        "function of scores of single rows.",
    )
    members = np.asarray(masks, bool)
    parts = []
    with double():
        for start in range(0, len(members), block):
            some = members[start : start + block]
            # The last block is padded, so that all are compiled once.
            padded = np.concatenate([some, np.repeat(some[:1], block - len(some), 0)])
            batch = padded if len(members) > block else some
            ask = game.row_scores if game.on_host else functools.partial(_rows, game)
            answers = np.asarray(ask(batch), np.float64)[: len(some)]
            bad = np.flatnonzero(~np.isfinite(answers).all(axis=1))
            if bad.size:
                players = np.flatnonzero(some[bad[0]]).tolist()
                raise not_finite("not finite in some row", players, bad.size)
            parts.append(answers if reduce is None else reduce(answers))
    return parts if reduce is not None else np.concatenate(parts)


def _is_traced(*trees: Any) -> bool:
    leaves = jax.tree.leaves(trees)
    return any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)


def _on_host(
    game: Game, masks: Bool[np.ndarray, "m n"], progress: Progress | None
) -> Float[np.ndarray, " m"]:
    # In blocks only where progress is wanted; what answers many at once gets many.
    if progress is None:
        return np.asarray(game.scores(masks), np.float64)
    total, few = len(masks), 1 if game.fast_scores is None else _BLOCK
    scores = np.empty(total)
    for start in range(0, total, few):
        some = masks[start : start + few]
        scores[start : start + few] = np.asarray(game.scores(some))
        progress(start + len(some), total)
    return scores


def _in_blocks(
    game: Game, masks: Bool[np.ndarray, "m n"], progress: Progress | None
) -> Float[AnyArray, " m"]:
    total, n = masks.shape
    room = min(max(_BUFFER // max(4 * n, 1), _BLOCK_DEVICE), 4096)
    room -= room % _BLOCK_DEVICE
    values = np.empty(total)
    buffer = np.zeros((room, n), bool)
    for start in range(0, total, room):
        some = masks[start : start + room]
        buffer[: len(some)] = some
        part = _evaluate(game, jnp.asarray(buffer), jnp.int32(len(some)))
        if isinstance(part, jax.core.Tracer):
            # The game's function closes over what is being traced.
            return game.scores(jnp.asarray(masks))
        values[start : start + room] = np.asarray(part)[: len(some)]
        if progress is not None:
            progress(start + len(some), total)
    return values


@jax.jit
def _evaluate(game: Game, masks: Any, count: Any) -> Any:
    """Scores of the first `count` rows, in whole blocks; the rest costs nothing."""
    room, n = masks.shape
    few = _BLOCK if jax.default_backend() == "cpu" else _BLOCK_DEVICE
    block = math.gcd(min(game.batch_size or few, few), room)

    def at(i: Any, out: Any) -> Any:
        start = i * block
        members = lax.dynamic_slice(masks, (start, jnp.int32(0)), (block, n))
        part = jnp.asarray(game.scores(members), jnp.float64)
        return lax.dynamic_update_slice(out, part, (start,))

    out = jnp.zeros(room, jnp.float64)
    return lax.fori_loop(0, (count + block - 1) // block, at, out)


def _leave_one_out(game: Game) -> Callable[[], LeaveOneOut]:
    return lambda: _left_out(game)


_prefixes = jax.jit(lambda game, order: game.prefix_scores(order))
_left_out = jax.jit(lambda game: game.leave_one_out_scores())
_powerset = jax.jit(lambda game: game.powerset_scores())
_rows = jax.jit(lambda game, masks: game.row_scores(masks))


def _all_but_one(num_players: int) -> Bool[np.ndarray, "leftouts n"]:
    return np.concatenate(
        [np.ones((1, num_players), bool), ~np.eye(num_players, dtype=bool)]
    )


def _numbered(num_players: int, start: int, stop: int) -> Bool[np.ndarray, "m n"]:
    number = np.arange(start, stop, dtype=np.uint32)
    return (number[:, None] >> np.arange(num_players, dtype=np.uint32)) % 2 > 0


def _check_finite(
    values: Float[np.ndarray, " m"], masks: Bool[np.ndarray, "m n"]
) -> None:
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        members = np.flatnonzero(masks[bad[0]]).tolist()
        raise not_finite(values[bad[0]], members, bad.size)


def not_finite(value: Any, members: list[int], count: int) -> ValueError:
    """The error for a score that is no finite number.

    Args:
      value: Score that came.
      members: Players of its coalition.
      count: Coalitions with such a score.
    """
    more = "" if count == 1 else f" ({count} coalitions in all)"
    return ValueError(
        f"the game's score must be finite; got {value} for the coalition of players "
        f"{members}{more}. A game must be defined for every coalition, the empty one "
        "included, and a solver in it must converge."
    )
