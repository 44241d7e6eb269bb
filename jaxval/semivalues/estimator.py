r"""What an estimator is, and the running mean that most of them share.

An estimator draws *units*: independent, identically distributed vectors whose mean is
the value of every player. The unit is what was really drawn independently: a
permutation, an antithetic pair, a coalition. Standard errors come from the spread of
units and of nothing smaller.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxval.coalitions.game import Game
from jaxval.execution.precision import in_double
from jaxval.types import Ends, PRNGKey, ValueEstimate

__all__ = [
    "MAX_COVARIANCE",
    "Estimator",
    "Units",
    "covariance",
    "estimate",
    "fold_units",
    "merge_units",
    "no_units",
]

MAX_COVARIANCE = 256
"""Players up to which the covariance of the units is kept."""


class Estimator(NamedTuple):
    """A streaming estimator: pure functions and no state of its own.

    What is drawn (`sample`) never depends on what was drawn before (`state`), so
    samples are drawn on any number of devices and folded in one fixed order.

    Attributes:
      settings: what was asked for, in words; part of a checkpoint's identity.
      unit: what one independent unit is.
      init: `init(ends) -> state`; a NamedTuple of arrays.
      sample: `sample(key, game, ends) -> sample`; draws coalitions and scores them.
      fold: `fold(state, sample) -> state`.
      estimate: `estimate(state) -> ValueEstimate`; may be asked at any time.
      covariance: `covariance(state)` of the values, `None` where it is not kept.
      merge: `merge(state, state) -> state` of two independent runs.
      num_evaluations: `num_evaluations(state)`, utility evaluations so far.
      has_endpoints: Whether the scores of the empty and the grand coalition are used.
    """

    settings: str
    unit: str
    init: Callable[[Ends], Any]
    sample: Callable[[PRNGKey, Game, Ends], Any]
    fold: Callable[[Any, Any], Any]
    estimate: Callable[[Any], ValueEstimate]
    covariance: Callable[[Any], Float[Array, "n n"] | None]
    merge: Callable[[Any, Any], Any]
    num_evaluations: Callable[[Any], Int[Array, ""]]
    has_endpoints: bool = True

    def step(self, key: PRNGKey, state: Any, game: Game, ends: Ends) -> Any:
        """Draw one sample and fold it in: the loop of whoever needs no driver."""
        return self.fold(state, self.sample(key, game, ends))


class Units(NamedTuple):
    """Running moments of independent units (Welford).

    Attributes:
      count: units so far.
      mean: their mean, one entry a player.
      scatter: sum of the outer products of their deviations from the mean; its
        diagonal alone above `MAX_COVARIANCE` players.
      calls: utility calls so far.
    """

    count: Int[Array, ""]
    mean: Float[Array, " n"]
    scatter: Float[Array, "n n"] | Float[Array, " n"]
    calls: Int[Array, ""]


@in_double
def no_units(num_players: int) -> Units:
    """Moments of nothing.

    Example:
      >>> no_units(2).scatter.shape, int(no_units(2).count)
      ((2, 2), 0)
    """
    shape = (num_players,) * (2 if num_players <= MAX_COVARIANCE else 1)
    return Units(
        jnp.zeros((), jnp.int64),
        jnp.zeros(num_players),
        jnp.zeros(shape),
        jnp.zeros((), jnp.int64),
    )


@in_double
def fold_units(
    state: Units, units: Float[Array, "m n"], calls: Int[Array, ""] | int
) -> Units:
    """Fold a block of units into the moments.

    Example:
      >>> state = fold_units(no_units(1), jnp.array([[1.0], [3.0]]), 4)
      >>> state.mean.tolist(), state.scatter.tolist()
      ([2.0], [[2.0]])

    References:
      Welford, *Note on a method for calculating corrected sums of squares and
      products*, 1962.
    """
    mean = units.mean(0)
    away = units - mean[None, :]
    scatter = away.T @ away if state.scatter.ndim == 2 else (away**2).sum(0)
    block = Units(jnp.asarray(len(units), jnp.int64), mean, scatter, jnp.asarray(calls))
    return merge_units(state, block)


@in_double
def merge_units(a: Units, b: Units) -> Units:
    """The moments of both (Chan, Golub and LeVeque, 1979).

    Example:
      >>> one = fold_units(no_units(1), jnp.array([[1.0]]), 1)
      >>> two = fold_units(no_units(1), jnp.array([[3.0]]), 1)
      >>> merge_units(one, two).scatter.tolist()
      [[2.0]]
    """
    count = a.count + b.count
    share = b.count / jnp.maximum(count, 1)
    gap = b.mean - a.mean
    square = jnp.outer(gap, gap) if a.scatter.ndim == 2 else gap**2
    return Units(
        count,
        a.mean + share * gap,
        a.scatter + b.scatter + square * (a.count * share),
        a.calls + b.calls,
    )


@in_double
def estimate(state: Units) -> ValueEstimate:
    """The mean, its standard error (NaN below two units), and the number of units.

    Example:
      >>> state = fold_units(no_units(1), jnp.array([[1.0], [3.0]]), 4)
      >>> estimate(state).stderr.tolist()
      [1.0]
    """
    scatter = jnp.diag(state.scatter) if state.scatter.ndim == 2 else state.scatter
    counts = jnp.full(state.mean.shape, state.count)
    return ValueEstimate(
        jnp.where(state.count > 0, state.mean, jnp.nan),
        jnp.sqrt(scatter * _shrink(state.count)),
        counts,
    )


@in_double
def covariance(state: Units) -> Float[Array, "n n"] | None:
    """Covariance of the mean's entries, `None` where only variances were kept.

    Example:
      >>> covariance(fold_units(no_units(1), jnp.array([[1.0], [3.0]]), 4)).tolist()
      [[1.0]]
    """
    if state.scatter.ndim != 2:
        return None
    return state.scatter * _shrink(state.count)


def _shrink(count):
    return jnp.where(count > 1, 1.0 / jnp.maximum(count * (count - 1), 1), jnp.nan)


RunningMoments = Units
init_moments, update_moments, merge_moments = no_units, fold_units, merge_units
