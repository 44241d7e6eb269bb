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
from jaxtyping import Array, Float

from jaxval._checks import check, positive
from jaxval.coalitions.game import Game
from jaxval.execution.precision import in_double
from jaxval.semivalues import estimator as _estimator
from jaxval.semivalues import orders as _orders
from jaxval.semivalues import permutation
from jaxval.semivalues import truncated_walks as walks
from jaxval.semivalues.estimator import Estimator, Units
from jaxval.semivalues.truncated_walks import Drawn
from jaxval.types import Ends, PRNGKey

__all__ = [
    "Bias",
    "State",
    "absolute",
    "bias",
    "data_shapley",
    "tmc",
    "relative_to_full",
]

Band = Callable[[Ends], float | Float[Array, ""]]
"""How near to $v(N)$ counts as there."""


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

    Example:
      >>> round(float(relative_to_full(0.01)(Ends(0.0, -2.0))), 3)
      0.02

    References:
      Ghorbani and Zou, *Data Shapley*, ICML 2019, released code.
    """
    positive("tolerance", tolerance, zero=True)
    return lambda ends: tolerance * jnp.abs(ends.full)


def absolute(width: float) -> Band:
    """Within `width`, in the units of the score: for scores without a natural zero.

    Example:
      >>> absolute(0.5)(Ends(0.0, -2.0))
      0.5
    """
    positive("width", width, zero=True)
    return lambda ends: width


def tmc(
    num_players: int,
    *,
    band: Band | None = None,
    patience: int = 6,
    permutations: int = 16,
    lanes: int | None = None,
    name: str = "relative_to_full(0.01)",
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
      num_players: $n$.
      band: from `relative_to_full` or `absolute`; Data Shapley's, 1% of the full score,
        when left out.
      patience: hits in a row that stop an order; Data Shapley's sixth by default.
      permutations: orders a step.
      lanes: of them, walked at the same time; they change nothing but the speed. When
        left out: all of them `on_host`; one for a game with a `fast_step` on a CPU,
        where fits would only wait for each other; otherwise 8.
      name: of `band`, for the checkpoint's identity.

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
    check(lanes is None or lanes >= 1, f"lanes must be at least 1; got {lanes}.")
    check(num_players >= 2, f"num_players must be at least 2; got {num_players}.")
    band = relative_to_full(0.01) if band is None else band

    @in_double
    def sample(key: PRNGKey, game: Game, ends: Ends) -> Drawn:
        orders = _orders.shuffles(key, permutations, num_players)
        width = band(ends)
        if game.fast_prefixes is not None and game.fast_step is None:
            scores = permutation.prefix_scores(orders, game, ends)
            return walks.cut(orders, scores, ends, width, patience)
        wide = min(lanes or walks.default_lanes(game, permutations), permutations)
        walk = walks.on_host if game.on_host else walks.in_lanes
        return walk(orders, game, ends, width, patience, wide)

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
        num_evaluations=lambda state: state.moments.calls,
    )


def data_shapley(
    num_players: int,
    *,
    tolerance: float = 0.01,
    permutations: int = 16,
    lanes: int | None = None,
) -> Estimator:
    r"""Data Shapley's own truncation: within 1% of $v(N)$, six scores in a row.

    Together with the game of the same name, `games.linear_models.data_shapley`, whose
    scores follow its rules for missing classes and for nobody, this is its released
    code, except that the band lies around $v(N)$ itself and not around the mean of 100
    bootstrapped test scores, whose expectation that is. When to stop is `run`'s
    business.

    Args:
      num_players: $n$.
      tolerance: of the band, as a share of $|v(N)|$.
      permutations: as of `tmc`.
      lanes: as of `tmc`.

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
        lanes=lanes,
        name=f"relative_to_full({tolerance})",
    )


def bias(state: State) -> Bias:
    """What truncation left out: of the sum exactly, of each player as a share.

    Example:
      >>> from jaxval.semivalues import run, stopping
      >>> game = Game(20, lambda mask: 1.0 - 0.5 ** mask.sum())
      >>> out = run(
      ...     jax.random.key(0), tmc(20), game, until=stopping.units(16), every=1
      ... )
      >>> told = bias(out.state)
      >>> round(told.missing, 3), round(float(told.skipped.mean()), 3)
      (0.0, 0.4)
    """
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
