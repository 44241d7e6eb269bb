r"""Truncated Monte Carlo: stop an order once it can hardly gain any more.

The rule saves most of the scores and costs a bias: whoever comes late is paid nothing.
The bias is measured, not assumed away: see `bias`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxval._checks import check, positive
from jaxval.precision import in_double
from jaxval.semivalues import estimator as _estimator
from jaxval.semivalues import orders as _orders
from jaxval.semivalues import permutation
from jaxval.semivalues.estimator import Ends, Estimator, Units
from jaxval.types import Game, PRNGKey

__all__ = ["Bias", "State", "absolute", "bias", "estimator", "relative_to_full"]

Band = Callable[[Ends], float | Float[Array, ""]]
"""How near to $v(N)$ counts as there."""


class Drawn(NamedTuple):
    """Contributions of a block of orders, and which of them were really scored."""

    units: Float[Array, "m n"]
    reached: Float[Array, "m n"]
    calls: Int[Array, ""]


class State(NamedTuple):
    r"""Running moments, with what truncation left out.

    Attributes:
      moments: of the truncated contributions.
      reached: orders in which each player was reached before the walk stopped.
      worth: $v(N) - v(\emptyset)$, what the values would sum to without truncation.
    """

    moments: Units
    reached: Float[Array, " n"]
    worth: Float[Array, ""]


class Bias(NamedTuple):
    r"""What truncation did.

    Attributes:
      missing: $v(N) - v(\emptyset)$ less the sum of the values: the bias of the sum,
        exactly.
      skipped: of each player, the share of orders that stopped before it.
    """

    missing: float
    skipped: Float[np.ndarray, " n"]


def relative_to_full(tolerance: float) -> Band:
    r"""Within `tolerance` times $|v(N)|$: Data Shapley's band.

    The size of $v(N)$ is taken, so that negative scores have a band too.
    """
    positive("tolerance", tolerance, zero=True)
    return lambda ends: tolerance * jnp.abs(ends.full)


def absolute(width: float) -> Band:
    """Within `width`, in the units of the score: for scores without a natural zero."""
    positive("width", width, zero=True)
    return lambda ends: width


def estimator(
    num_players: int,
    *,
    band: Band | None = None,
    patience: int = 6,
    permutations: int = 16,
    lanes: int = 8,
    name: str = "relative_to_full(0.01)",
) -> Estimator:
    r"""Truncated Monte Carlo estimates of the Shapley value.

    An order is abandoned at the `patience`-th score in a row that lies within the band
    around $v(N)$; the players that were not reached get 0. Several orders are walked
    in lockstep, one score each at a time, and a lane whose order ends takes up the
    next, so that no score is spent on an abandoned order.

    Args:
      num_players: $n$.
      band: from `relative_to_full` or `absolute`; Data Shapley's, 1% of the full score,
        when left out.
      patience: hits in a row that stop an order; Data Shapley's sixth by default.
      permutations: orders a step.
      lanes: of them, walked at the same time.
      name: of `band`, for the checkpoint's identity.

    Returns:
      An estimator for `run`; the unit is the permutation. Biased: report `bias` with
      it.

    Example:
      >>> from jaxval.semivalues import run_detailed, stopping
      >>> game = Game(40, lambda mask: 1.0 - 0.5 ** mask.sum())
      >>> out = run_detailed(
      ...     estimator(40), game, jax.random.key(0), until=stopping.units(16), every=1
      ... )
      >>> out.utility_calls < 16 * 39 / 2, round(bias(out.state).missing, 3)
      (True, 0.0)

    References:
      Ghorbani and Zou, *Data Shapley*, ICML 2019, algorithm 1 and its released code.
    """
    check(patience >= 1, f"patience must be at least 1; got {patience}.")
    check(permutations >= 1, f"permutations must be at least 1; got {permutations}.")
    check(lanes >= 1, f"lanes must be at least 1; got {lanes}.")
    check(num_players >= 2, f"num_players must be at least 2; got {num_players}.")
    band = relative_to_full(0.01) if band is None else band
    lanes = min(lanes, permutations)

    @in_double
    def sample(key: PRNGKey, game: Game, ends: Ends) -> Drawn:
        orders = _orders.shuffles(key, permutations, num_players)
        width = band(ends)
        if game.fast_prefixes is not None:
            scores = permutation.prefix_scores(orders, game, ends)
            return _cut(orders, scores, ends, width, patience)
        if game.on_host:
            return _one_by_one(orders, game, ends, width, patience)
        return _in_lanes(orders, game, ends, width, patience, lanes)

    return Estimator(
        settings=f"truncated({num_players}, band={name}, patience={patience}, "
        f"permutations={permutations})",
        unit="permutation",
        init=_init(num_players),
        sample=sample,
        fold=_fold,
        estimate=lambda state: _estimator.estimate(state.moments),
        covariance=lambda state: _estimator.covariance(state.moments),
        merge=_merge,
        calls=lambda state: state.moments.calls,
    )


def bias(state: State) -> Bias:
    """What truncation left out: of the sum exactly, of each player as a share."""
    with jax.enable_x64(True):
        values, count = np.asarray(state.moments.mean), int(state.moments.count)
        check(count > 0, "state holds no orders yet: there is no bias to report.")
        missing = float(state.worth) - float(values.sum())
        return Bias(missing, 1.0 - np.asarray(state.reached) / count)


def _init(num_players):
    @in_double
    def init(ends: Ends) -> State:
        worth = jnp.asarray(ends.full - ends.empty, jnp.float64)
        return State(_estimator.no_units(num_players), jnp.zeros(num_players), worth)

    return init


@in_double
def _fold(state: State, drawn: Drawn) -> State:
    moments = _estimator.fold_units(state.moments, drawn.units, drawn.calls)
    return State(moments, state.reached + drawn.reached.sum(0), state.worth)


@in_double
def _merge(a: State, b: State) -> State:
    moments = _estimator.merge_units(a.moments, b.moments)
    return State(moments, a.reached + b.reached, a.worth)


def _cut(orders, scores, ends, width, patience):
    # All prefixes are known at the price of one: apply the rule after the fact.
    n = orders.shape[1]
    near = jnp.abs(scores[:, 1:] - ends.full) <= width
    step = lambda run, hit: (jnp.where(hit, run + 1, 0),) * 2
    _, runs = jax.lax.scan(step, jnp.zeros(len(orders), jnp.int32), near.T)
    stops = jnp.cumsum((runs >= patience).T, axis=1)
    kept = jnp.concatenate([jnp.ones((len(orders), 1), bool), stops[:, :-1] == 0], 1)
    place = jnp.argsort(orders, axis=1)
    added = jnp.where(kept, jnp.diff(scores, axis=1), 0.0)
    units = jnp.take_along_axis(added, place, 1)
    reached = jnp.take_along_axis(kept, place, 1).astype(jnp.float64)
    return Drawn(units, reached, jnp.asarray(len(orders) * (n + 1), jnp.int64))


def _one_by_one(orders, game, ends, width, patience):
    orders, n = np.asarray(orders), orders.shape[1]
    full, width = float(ends.full), float(width)
    units, reached, calls = np.zeros(orders.shape), np.zeros(orders.shape), 0
    for row, order in enumerate(orders):
        mask, before, run = np.zeros(n, bool), float(ends.empty), 0
        for place, player in enumerate(order):
            mask[player] = True
            last = place == n - 1
            after = full if last else float(game.scores(jnp.asarray(mask[None]))[0])
            calls += not last
            units[row, player], reached[row, player] = after - before, 1.0
            before = after
            run = run + 1 if abs(after - full) <= width else 0
            if run >= patience:
                break
    return Drawn(jnp.asarray(units), jnp.asarray(reached), jnp.asarray(calls))


class _Lanes(NamedTuple):
    order: Int[Array, " lanes"]  # the order each lane walks; too large when done
    place: Int[Array, " lanes"]
    run: Int[Array, " lanes"]
    before: Float[Array, " lanes"]
    mask: Array
    taken: Int[Array, ""]
    units: Float[Array, "m n"]
    reached: Float[Array, "m n"]
    calls: Int[Array, ""]


def _in_lanes(orders, game, ends, width, patience, lanes):
    m, n = orders.shape
    empty, full = (jnp.asarray(end, jnp.float64) for end in ends)

    def advance(at: _Lanes) -> _Lanes:
        active = at.order < m
        row = jnp.minimum(at.order, m - 1)
        player = orders[row, at.place]
        mask = at.mask | (jnp.arange(n)[None, :] == player[:, None])
        after = game.scores(mask).astype(jnp.float64)
        add = lambda to, who, x: to.at[row, who].add(jnp.where(active, x, 0.0))
        units = add(at.units, player, after - at.before)
        reached = add(at.reached, player, 1.0)
        run = jnp.where(jnp.abs(after - full) <= width, at.run + 1, 0)
        stopped = run >= patience
        # The last prefix is everybody, whose score is known: no call for it.
        complete = (at.place == n - 2) & ~stopped
        final = orders[row, n - 1]
        units = add(units, final, jnp.where(complete, full - after, 0.0))
        reached = add(reached, final, complete * 1.0)
        over = active & (stopped | complete)
        fresh = at.taken + jnp.cumsum(over) - 1
        return _Lanes(
            jnp.where(over, fresh, at.order),
            jnp.where(over, 0, at.place + active),
            jnp.where(over, 0, run),
            jnp.where(over, empty, after),
            mask & ~over[:, None],
            at.taken + over.sum(),
            units,
            reached,
            at.calls + active.sum(),
        )

    zeros = jnp.zeros(lanes, jnp.int64)
    start = _Lanes(
        jnp.arange(lanes, dtype=jnp.int64),
        zeros,
        zeros,
        jnp.full(lanes, empty),
        jnp.zeros((lanes, n), bool),
        jnp.asarray(lanes, jnp.int64),
        jnp.zeros((m, n)),
        jnp.zeros((m, n)),
        jnp.zeros((), jnp.int64),
    )
    end = jax.lax.while_loop(lambda at: (at.order < m).any(), advance, start)
    return Drawn(end.units, end.reached, end.calls)
