r"""Truncated Monte Carlo: stop an order once it can hardly gain any more.

The rule saves most of the scores and costs a bias: late players are paid nothing.
The bias is measured, not assumed away: see `bias`.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxval._checks import check
from jaxval.coalitions.game import Game
from jaxval.execution.precision import in_double
from jaxval.semivalues import estimator as _estimator
from jaxval.semivalues import orders as _orders
from jaxval.semivalues import permutation
from jaxval.semivalues import truncated_walks as walks
from jaxval.semivalues.bands import Band, absolute, relative_to_full
from jaxval.semivalues.estimator import Estimator, RunningMoments
from jaxval.semivalues.truncated_walks import Sample
from jaxval.types import Ends, PRNGKey, ValueEstimate

__all__ = [
    "Bias",
    "State",
    "absolute",
    "bias",
    "data_shapley",
    "tmc",
    "relative_to_full",
]


class State(NamedTuple):
    r"""Running moments, with what truncation left out.

    Attributes:
      moments: Moments of the truncated contributions.
      reached: Orders in which each player was reached before the walk stopped.
      worth: Difference $v(N) - v(\emptyset)$, what the values would sum to without
        truncation.
    """

    moments: RunningMoments
    reached: Float[Array, " n"]
    worth: Float[Array, ""]


class Bias(NamedTuple):
    r"""Effect of truncation.

    Attributes:
      missing: Difference $v(N) - v(\emptyset)$ less the sum of the values: the bias of
        the sum, exactly.
      skipped: Share of the orders that stopped before each player.
    """

    missing: float
    skipped: Float[np.ndarray, " n"]


def tmc(
    num_players: int,
    *,
    band: Band | None = None,
    patience: int = 6,
    permutations: int = 16,
    num_parallel: int | None = None,
    name: str | None = None,
) -> Estimator:
    r"""Truncated Monte Carlo estimates of the Shapley value.

    An order is abandoned at the `patience`-th score in a row that lies within the band
    around $v(N)$; the players that were not reached get 0. Several orders are walked
    in lockstep, one score each at a time (a game `on_host` is asked for all of them in
    one call), and a lane whose order ends takes up the next, so that no score is spent
    on an abandoned order. A game with a `fast_step` starts each fit where the one
    before it ended. A game that only answers all prefixes of an order at once is
    asked for those, and nothing is saved.

    Args:
      num_players: Number of players $n$, 2 at least.
      band: Band around $v(N)$, from `relative_to_full` or `absolute`; Data Shapley's,
        1% of the full score, when left out.
      patience: Hits in a row that stop an order; Data Shapley's sixth by default.
      permutations: Orders per step.
      num_parallel: Orders walked at the same time, which changes nothing but the speed.
        When left out, all of them `on_host`, one for a game with a `fast_step` on a
        CPU, where fits would only wait for each other, and 8 otherwise.
      name: Name of `band`, for the checkpoint's identity; its own when left out.

    Returns:
      An estimator for `run`; the unit is the permutation. Biased: report `bias` with
      it.

    Example:
      >>> from jaxval.semivalues import run, stopping
      >>> game = Game(40, lambda mask: 1.0 - 0.5 ** mask.sum())
      >>> out = run(
      ...     jax.random.key(0), tmc(40), game, until=stopping.units(16), every=1
      ... )
      >>> out.num_evaluations < 16 * 39 / 2, round(bias(out.state).missing, 3)
      (True, 0.0)

    References:
      Ghorbani and Zou, *Data Shapley*, ICML 2019, algorithm 1 and its released code.
    """
    check(patience >= 1, f"patience must be at least 1; got {patience}.")
    check(permutations >= 1, f"permutations must be at least 1; got {permutations}.")
    check(
        num_parallel is None or num_parallel >= 1,
        f"num_parallel must be at least 1; got {num_parallel}.",
    )
    check(num_players >= 2, f"num_players must be at least 2; got {num_players}.")
    band = relative_to_full(0.01) if band is None else band
    name = name or getattr(band, "__qualname__", None) or str(band)
    sampler = _Sampler(num_players, band, patience, permutations, num_parallel)
    return Estimator(
        settings=f"truncated({num_players}, band={name}, patience={patience}, "
        f"permutations={permutations})",
        unit="permutation",
        init=_Init(num_players),
        sample=sampler,
        fold=_fold,
        estimate=_estimate,
        covariance=_covariance,
        merge=_merge,
        num_evaluations=_num_evaluations,
        max_evaluations=permutations * (num_players + 1),
        shorten=sampler.shortened,
    )


def data_shapley(
    num_players: int,
    *,
    tolerance: float = 0.01,
    permutations: int = 16,
    num_parallel: int | None = None,
) -> Estimator:
    r"""Data Shapley's own truncation: within 1% of $v(N)$, six scores in a row.

    Together with the game of the same name, `games.linear_models.data_shapley`, whose
    scores follow its rules for missing classes and for the empty coalition, this is its
    released code, except that the band lies around $v(N)$ itself and not around the
    mean of 100 bootstrapped test scores, whose expectation that is.

    Args:
      num_players: Number of players $n$, 2 at least.
      tolerance: Half-width of the band, as a share of $|v(N)|$.
      permutations: Orders per step.
      num_parallel: Orders walked at the same time, as of `tmc`.

    Example:
      >>> data_shapley(40).settings
      'truncated(40, band=relative_to_full(0.01), patience=6, permutations=16)'

    References:
      Ghorbani and Zou, *Data Shapley*, ICML 2019, algorithm 1 and its released code.
    """
    return tmc(
        num_players,
        band=relative_to_full(tolerance),
        patience=6,
        permutations=permutations,
        num_parallel=num_parallel,
    )


def bias(state: State) -> Bias:
    """What truncation left out: of the sum exactly, of each player as a share.

    Example:
      >>> from jaxval.semivalues import run, stopping
      >>> game = Game(20, lambda mask: 1.0 - 0.5 ** mask.sum())
      >>> out = run(
      ...     jax.random.key(0), tmc(20), game, until=stopping.units(16), every=1
      ... )
      >>> effect = bias(out.state)
      >>> round(effect.missing, 3), round(float(effect.skipped.mean()), 3)
      (0.0, 0.4)
    """
    with jax.enable_x64(True):
        values, count = np.asarray(state.moments.mean), int(state.moments.count)
        check(count > 0, "state holds no orders yet: there is no bias to report.")
        missing = float(state.worth) - float(values.sum())
        return Bias(missing, 1.0 - np.asarray(state.reached) / count)


@dataclasses.dataclass(frozen=True)
class _Sampler:
    num_players: int
    band: Band
    patience: int
    permutations: int
    num_parallel: int | None
    keep: int | None = None

    @in_double
    def __call__(self, key: PRNGKey, game: Game, ends: Ends) -> Sample:
        orders = _orders.shuffles(key, self.permutations, self.num_players)
        orders = orders if self.keep is None else orders[: self.keep]
        width, count = self.band(ends), len(orders)
        if game.fast_prefixes is not None and game.fast_step is None:
            scores = permutation.prefix_scores(orders, game, ends)
            return walks.cut(orders, scores, ends, width, self.patience)
        wanted = self.num_parallel or walks.default_num_parallel(game, count)
        walk = walks.on_host if game.on_host else walks.in_lanes
        return walk(orders, game, ends, width, self.patience, min(wanted, count))

    def shortened(self, num_evaluations: int) -> _Sampler:
        # How many scores an order takes is not known before: one order at a time.
        return dataclasses.replace(self, keep=1)


@dataclasses.dataclass(frozen=True)
class _Init:
    num_players: int

    @in_double
    def __call__(self, ends: Ends) -> State:
        worth = jnp.asarray(ends.full - ends.empty, jnp.float64)
        moments = _estimator.init_moments(self.num_players)
        return State(moments, jnp.zeros(self.num_players), worth)


@in_double
def _fold(state: State, sample: Sample) -> State:
    moments = _estimator.update_moments(
        state.moments, sample.units, sample.num_evaluations
    )
    return State(moments, state.reached + sample.reached.sum(0), state.worth)


def _estimate(state: State) -> ValueEstimate:
    return _estimator.estimate(state.moments)


def _covariance(state: State) -> Float[Array, "n n"] | None:
    return _estimator.covariance(state.moments)


def _num_evaluations(state: State) -> Int[Array, ""]:
    return state.moments.num_evaluations


@in_double
def _merge(a: State, b: State) -> State:
    moments = _estimator.merge_moments(a.moments, b.moments)
    return State(moments, a.reached + b.reached, a.worth)
