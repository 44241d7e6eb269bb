r"""What an estimator is, and the running mean that most of them share.

An estimator draws *units*: independent, identically distributed vectors whose mean is
the value of every player. The unit is what was really drawn independently: a
permutation, an antithetic pair, a coalition. Standard errors come from the spread of
units and of nothing smaller.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxval.coalitions.game import Game
from jaxval.execution.precision import float64, in_double, packed, unpacked
from jaxval.types import AnyArray, Ends, PRNGKey, ValueEstimate

__all__ = [
    "MAX_COVARIANCE",
    "Estimator",
    "RunningMoments",
    "as_endpoints",
    "covariance",
    "estimate",
    "init_moments",
    "merge_moments",
    "to_numpy",
    "update_moments",
]

MAX_COVARIANCE = 256
"""Players up to which the covariance of the units is kept."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimator:
    """A streaming estimator: pure functions and no state of its own.

    What is drawn (`sample`) never depends on what was drawn before (`state`), so
    samples are drawn on any number of devices and folded in one fixed order. Functions
    are module-level functions, frozen dataclasses with `__call__`, or
    `jax.tree_util.Partial`s of them that carry arrays: estimators of equal settings
    then share their compiled programs, and can be pickled.

    Attributes:
      settings: Settings in words; part of a checkpoint's identity.
      unit: Name of one independent unit.
      init: `init(ends) -> state`, a NamedTuple of arrays; `init(None)` without
        endpoints.
      sample: `sample(key, game, ends) -> sample`; draws coalitions and scores them.
      fold: `fold(state, sample) -> state`.
      estimate: `estimate(state) -> ValueEstimate`, at any time. It holds no NaN, which
        `jax_debug_nans` would trip over: 0 degrees of freedom say that standard errors
        are unknown, -1 that values are too; `to_numpy` puts the NaN there.
      covariance: `covariance(state)` of the values, `None` where it is not kept.
      merge: `merge(state, state) -> state` of two independent runs.
      num_evaluations: `num_evaluations(state)`, utility evaluations so far, endpoints
        not counted.
      has_endpoints: Whether the scores of the empty and the grand coalition are used;
        without them `ends` is `None` everywhere above.
      max_evaluations: Most evaluations that one step takes, where that is known: a run
        with a budget is sized by it.
      shorten: `shorten(count) -> sample` function of a step that takes at most `count`
        evaluations, or as few as it can; it shortens the last step before a budget.
      log_weights: Logarithms of the weights of the semi-value that is estimated, where
        it is one; with them, a run that can learn nothing more ends exact.
    """

    settings: str
    unit: str
    init: Callable[[Any], Any]
    sample: Callable[[PRNGKey, Game, Any], Any]
    fold: Callable[[Any, Any], Any]
    estimate: Callable[[Any], ValueEstimate]
    covariance: Callable[[Any], Float[Array, "n n"] | None]
    merge: Callable[[Any, Any], Any]
    num_evaluations: Callable[[Any], Int[Array, ""]]
    has_endpoints: bool = True
    max_evaluations: int | None = None
    shorten: Callable[[int], Callable[..., Any]] | None = None
    log_weights: Float[np.ndarray, " n"] | None = None

    def step(self, key: PRNGKey, state: Any, game: Game, ends: Ends | None) -> Any:
        """Draw one sample and fold it in: the loop of a caller that needs no driver."""
        return self.fold(state, self.sample(key, game, ends))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled with its arrays in the precision that they have."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return _restore, (packed(fields),)


def _restore(fields: dict[str, Any]) -> Estimator:
    return Estimator(**unpacked(fields))


class RunningMoments(NamedTuple):
    """Running moments of independent units (Welford).

    Attributes:
      count: RunningMoments so far.
      mean: Mean of the units, one entry per player.
      scatter: Sum of the outer products of their deviations from the mean; its
        diagonal alone above `MAX_COVARIANCE` players.
      num_evaluations: Utility evaluations so far.
      low: Smallest entry of any unit.
      high: Largest entry of any unit.
    """

    count: Int[Array, ""]
    mean: Float[Array, " n"]
    scatter: Float[Array, "n n"] | Float[Array, " n"]
    num_evaluations: Int[Array, ""]
    low: Float[Array, ""]
    high: Float[Array, ""]


@in_double
def init_moments(num_players: int) -> RunningMoments:
    """Moments of no units.

    Args:
      num_players: Entries of a unit.

    Example:
      >>> init_moments(2).scatter.shape, int(init_moments(2).count)
      ((2, 2), 0)
    """
    shape = (num_players,) * (2 if num_players <= MAX_COVARIANCE else 1)
    return RunningMoments(
        count=jnp.zeros((), jnp.int64),
        mean=jnp.zeros(num_players),
        scatter=jnp.zeros(shape),
        num_evaluations=jnp.zeros((), jnp.int64),
        low=jnp.zeros(()),
        high=jnp.zeros(()),
    )


@in_double
def update_moments(
    state: RunningMoments,
    units: Float[Array, "m n"],
    num_evaluations: Int[Array, ""] | int,
) -> RunningMoments:
    """Fold a block of units into the moments.

    Args:
      state: Moments so far.
      units: New units, one per row.
      num_evaluations: Utility evaluations that they took.

    Example:
      >>> state = update_moments(init_moments(1), jnp.array([[1.0], [3.0]]), 4)
      >>> state.mean.tolist(), state.scatter.tolist()
      ([2.0], [[2.0]])

    References:
      Welford, *Note on a method for calculating corrected sums of squares and
      products*, 1962.
    """
    mean = units.mean(0)
    away = units - mean[None, :]
    scatter = away.T @ away if state.scatter.ndim == 2 else (away**2).sum(0)
    block = RunningMoments(
        count=jnp.asarray(len(units), jnp.int64),
        mean=mean,
        scatter=scatter,
        num_evaluations=jnp.asarray(num_evaluations),
        low=units.min(),
        high=units.max(),
    )
    return merge_moments(state, block)


@in_double
def merge_moments(a: RunningMoments, b: RunningMoments) -> RunningMoments:
    """The moments of both (Chan, Golub and LeVeque, 1979).

    Args:
      a: Moments of some units.
      b: Moments of others.

    Example:
      >>> one = update_moments(init_moments(1), jnp.array([[1.0]]), 1)
      >>> two = update_moments(init_moments(1), jnp.array([[3.0]]), 1)
      >>> merge_moments(one, two).scatter.tolist()
      [[2.0]]
    """
    count = a.count + b.count
    share = b.count / jnp.maximum(count, 1)
    gap = b.mean - a.mean
    square = jnp.outer(gap, gap) if a.scatter.ndim == 2 else gap**2

    # The moments of no units hold zeros, which are no unit's.
    def pick(of: Callable[..., Any], x: Any, y: Any) -> Any:
        return jnp.where(a.count == 0, y, jnp.where(b.count == 0, x, of(x, y)))

    return RunningMoments(
        count=count,
        mean=a.mean + share * gap,
        scatter=a.scatter + b.scatter + square * (a.count * share),
        num_evaluations=a.num_evaluations + b.num_evaluations,
        low=pick(jnp.minimum, a.low, b.low),
        high=pick(jnp.maximum, a.high, b.high),
    )


@in_double
def estimate(state: RunningMoments) -> ValueEstimate:
    """The mean, its standard error, and the number of units.

    Args:
      state: Moments; with fewer than two units nothing is known of the error (0
        degrees of freedom), with none nothing of the values (-1).

    Example:
      >>> state = update_moments(init_moments(1), jnp.array([[1.0], [3.0]]), 4)
      >>> estimate(state).stderr.tolist()
      [1.0]
    """
    scatter = jnp.diag(state.scatter) if state.scatter.ndim == 2 else state.scatter
    counts = jnp.full(state.mean.shape, state.count)
    return ValueEstimate(
        values=state.mean,
        stderr=jnp.sqrt(scatter * _shrink(state.count)),
        counts=counts,
        degrees=counts - 1,
        unit_range=state.high - state.low,
    )


@in_double
def covariance(state: RunningMoments) -> Float[Array, "n n"] | None:
    """Covariance of the mean's entries, `None` where only variances were kept.

    Args:
      state: Moments; zeros below two units, where nothing is known.

    Example:
      >>> state = update_moments(init_moments(1), jnp.array([[1.0], [3.0]]), 4)
      >>> covariance(state).tolist()
      [[1.0]]
    """
    if state.scatter.ndim != 2:
        return None
    return state.scatter * _shrink(state.count)


def to_numpy(estimate: ValueEstimate) -> ValueEstimate:
    """An estimator's estimate as NumPy, with NaN where its degrees say "unknown".

    Args:
      estimate: Estimate as `Estimator.estimate` returns it.

    Example:
      >>> one = update_moments(init_moments(1), jnp.array([[1.0]]), 1)
      >>> to_numpy(globals()["estimate"](one)).stderr.tolist()
      [nan]
    """
    values, stderr = np.asarray(estimate.values), np.asarray(estimate.stderr)
    counts = np.asarray(estimate.counts)
    degrees = counts - 1 if estimate.degrees is None else np.asarray(estimate.degrees)
    spread = estimate.unit_range
    return ValueEstimate(
        values=np.where(degrees < 0, np.nan, values),
        stderr=np.where(degrees < 1, np.nan, stderr),
        counts=counts,
        degrees=degrees,
        unit_range=None if spread is None else float(np.asarray(spread)),
    )


def as_endpoints(ends: Ends) -> Ends:
    """Endpoints as float64 arrays, as states keep them."""
    return Ends(float64(ends.empty), float64(ends.full))


def _shrink(count: AnyArray) -> Array:
    return jnp.where(count > 1, 1.0 / jnp.maximum(count * (count - 1), 1), 0.0)
