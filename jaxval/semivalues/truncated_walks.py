"""Walks along orders that end early: one after the other, in lanes, on the host."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxval.coalitions.game import Game
from jaxval.types import Ends

__all__ = ["Sample", "cut", "default_num_parallel", "in_lanes", "on_host"]


class Sample(NamedTuple):
    """Contributions of a block of orders, and which of them were really scored."""

    units: Float[Array, "m n"]
    reached: Float[Array, "m n"]
    num_evaluations: Int[Array, ""]


def cut(
    orders: Int[Array, "m n"],
    scores: Float[Array, "m prefixes"],
    ends: Ends,
    width: float | Float[Array, ""],
    patience: int,
) -> Sample:
    """Apply the rule after the fact, where all prefixes came at the price of one."""
    n = orders.shape[1]
    near = jnp.abs(scores[:, 1:] - ends.full) <= width

    def step(run: Any, hit: Any) -> tuple[Any, Any]:
        return (jnp.where(hit, run + 1, 0),) * 2

    _, runs = jax.lax.scan(step, jnp.zeros(len(orders), jnp.int32), near.T)
    stops = jnp.cumsum((runs >= patience).T, axis=1)
    kept = jnp.concatenate([jnp.ones((len(orders), 1), bool), stops[:, :-1] == 0], 1)
    place = jnp.argsort(orders, axis=1)
    added = jnp.where(kept, jnp.diff(scores, axis=1), 0.0)
    units = jnp.take_along_axis(added, place, 1)
    reached = jnp.take_along_axis(kept, place, 1).astype(jnp.float64)
    return Sample(units, reached, jnp.asarray(len(orders) * (n + 1), jnp.int64))


def default_num_parallel(game: Game, permutations: int) -> int:
    """All orders on the host; one where fits would wait for each other on a CPU."""
    if game.on_host:
        return permutations
    waits = game.fast_step is not None and jax.default_backend() == "cpu"
    return 1 if waits else 8


def on_host(
    orders: Int[Array, "m n"],
    game: Game,
    ends: Ends,
    width: float | Float[Array, ""],
    patience: int,
    num_parallel: int,
) -> Sample:
    """`in_lanes` in NumPy, where a lane that has nothing left to walk drops out."""
    walked, (m, n) = np.asarray(orders), orders.shape
    lanes = num_parallel
    empty, full, width = float(ends.empty), float(ends.full), float(width)
    units, reached, calls, taken = np.zeros((m, n)), np.zeros((m, n)), 0, lanes
    row, mask = np.arange(lanes), np.zeros((lanes, n), bool)
    place, run = np.zeros(lanes, int), np.zeros(lanes, int)
    before = np.full(lanes, empty)
    while len(row):
        player, last = walked[row, place], walked[row, -1]
        mask = mask | (np.arange(n)[None, :] == player[:, None])
        after = np.asarray(game.scores(jnp.asarray(mask)), np.float64)
        units[row, player], reached[row, player] = after - before, 1.0
        run = np.where(np.abs(after - full) <= width, run + 1, 0)
        stopped = run >= patience
        complete = (place == n - 2) & ~stopped
        units[row[complete], last[complete]] = full - after[complete]
        reached[row[complete], last[complete]] = 1.0
        over = stopped | complete
        calls += len(row)
        row = np.where(over, taken + np.cumsum(over) - 1, row)
        taken += over.sum()
        place, run = np.where(over, 0, place + 1), np.where(over, 0, run)
        before, mask = np.where(over, empty, after), mask & ~over[:, None]
        live = row < m
        row, place, run, before, mask = (
            x[live] for x in (row, place, run, before, mask)
        )
    return Sample(jnp.asarray(units), jnp.asarray(reached), jnp.asarray(calls))


class _Lanes(NamedTuple):
    order: Int[Array, " lanes"]  # the order each lane walks; too large when done
    place: Int[Array, " lanes"]
    run: Int[Array, " lanes"]
    before: Float[Array, " lanes"]
    mask: Bool[Array, "lanes n"]
    carry: Any  # of the game, one per lane
    taken: Int[Array, ""]
    units: Float[Array, "m n"]
    reached: Float[Array, "m n"]
    num_evaluations: Int[Array, ""]


def in_lanes(
    orders: Int[Array, "m n"],
    game: Game,
    ends: Ends,
    width: float | Float[Array, ""],
    patience: int,
    num_parallel: int,
) -> Sample:
    """Walk orders in lockstep; a lane whose order ends takes up the next."""
    (m, n), lanes = orders.shape, num_parallel
    empty, full = (jnp.asarray(end, jnp.float64) for end in ends)
    fresh_carry = _fresh_carry(game)

    def advance(at: _Lanes) -> _Lanes:
        active = at.order < m
        row = jnp.minimum(at.order, m - 1)
        player = orders[row, at.place]
        mask = at.mask | (jnp.arange(n)[None, :] == player[:, None])
        carry, after = _score_lanes(game, at.carry, mask)

        def add(to: Any, who: Any, x: Any) -> Any:
            return to.at[row, who].add(jnp.where(active, x, 0.0))

        units = add(at.units, player, after - at.before)
        reached = add(at.reached, player, 1.0)
        run = jnp.where(jnp.abs(after - full) <= width, at.run + 1, 0)
        stopped = run >= patience
        # The last prefix is the grand coalition, whose score is known.
        complete = (at.place == n - 2) & ~stopped
        final = orders[row, n - 1]
        units = add(units, final, jnp.where(complete, full - after, 0.0))
        reached = add(reached, final, complete * 1.0)
        over = active & (stopped | complete)
        fresh = at.taken + jnp.cumsum(over) - 1

        def begin(x: Any, to: Any) -> Any:
            return jnp.where(over.reshape(-1, *(1,) * to.ndim), to[None], x)

        return _Lanes(
            order=jnp.where(over, fresh, at.order),
            place=jnp.where(over, 0, at.place + active),
            run=jnp.where(over, 0, run),
            before=jnp.where(over, empty, after),
            mask=mask & ~over[:, None],
            carry=jax.tree.map(begin, carry, fresh_carry),
            taken=at.taken + over.sum(),
            units=units,
            reached=reached,
            num_evaluations=at.num_evaluations + active.sum(),
        )

    zeros = jnp.zeros(lanes, jnp.int64)
    start = _Lanes(
        order=jnp.arange(lanes, dtype=jnp.int64),
        place=zeros,
        run=zeros,
        before=jnp.full(lanes, empty),
        mask=jnp.zeros((lanes, n), bool),
        carry=jax.tree.map(lambda x: jnp.repeat(x[None], lanes, axis=0), fresh_carry),
        taken=jnp.asarray(lanes, jnp.int64),
        units=jnp.zeros((m, n)),
        reached=jnp.zeros((m, n)),
        num_evaluations=jnp.zeros((), jnp.int64),
    )
    end = jax.lax.while_loop(lambda at: (at.order < m).any(), advance, start)
    return Sample(end.units, end.reached, end.num_evaluations)


def _fresh_carry(game: Game) -> Any:
    if game.fast_step is None:
        return ()
    return game.fast_step(None, jnp.zeros(game.num_players, bool))[0]


def _score_lanes(
    game: Game, carry: Any, mask: Bool[Array, "lanes n"]
) -> tuple[Any, Any]:
    if game.fast_step is None:
        return carry, game.scores(mask).astype(jnp.float64)
    if len(mask) > 1:
        return jax.vmap(game.fast_step)(carry, mask)
    # A lane by itself need not wait for the others' solvers to settle.
    carry, score = game.fast_step(jax.tree.map(lambda x: x[0], carry), mask[0])
    return jax.tree.map(lambda x: x[None], carry), score[None]
