r"""Permutation sampling: walk random orders, pay each player on arrival."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int

from jaxval._checks import check
from jaxval.coalitions import masks
from jaxval.coalitions.game import Game
from jaxval.execution.precision import float64, in_double
from jaxval.semivalues import estimator as _estimator
from jaxval.semivalues import orders as _orders
from jaxval.semivalues import weights as _weights
from jaxval.semivalues.estimator import Estimator, RunningMoments
from jaxval.types import Ends, PRNGKey

__all__ = [
    "Walk",
    "antithetic",
    "permutation_sampling",
    "quasi_random",
    "stratified",
    "walk",
]


class Walk(NamedTuple):
    """RunningMoments and the utility evaluations that they took."""

    units: Float[Array, "m n"]
    num_evaluations: Int[Array, ""]


def permutation_sampling(
    num_players: int,
    weights: _weights.Weights = _weights.shapley,
    *,
    draw: _orders.Draw = _orders.uniform,
    name: str | None = None,
) -> Estimator:
    r"""Permutation sampling of any semi-value.

    The player at place $k$ of a uniform order joins a uniform coalition of size $k$,
    and every place is equally likely, so

    $$\hat\phi_{\sigma(k)} = n\,p_k\,(v(\sigma_{0..k}) - v(\sigma_{0..k-1}))$$

    is unbiased; for the Shapley value $n p_k = 1$, and the values of each order sum to
    $v(N) - v(\emptyset)$. A game that answers all prefixes of an order at once is
    asked for those, any other for the $n - 1$ inner prefixes as masks.

    Args:
      num_players: Number of players, $n$.
      weights: Function from `weights`, or an array of $\log w(k)$.
      draw: How orders are drawn together, from `orders`: `uniform` (the unit is the
        permutation), `antithetic`, `orthogonal(m)`, `rotations(m)` (the unit is the
        block).
      name: Name of `draw`, for the checkpoint's identity; its own when left out.

    Returns:
      An estimator for `run`.

    Example:
      >>> from jaxval.semivalues import run, stopping
      >>> game = Game(3, lambda mask: mask.sum() ** 2.0)
      >>> rule = stopping.units(64)
      >>> out = run(jax.random.key(0), permutation_sampling(3), game, until=rule)
      >>> round(float(out.values.sum()), 6)
      9.0

    References:
      Castro, Gomez and Tejada, *Polynomial calculation of the Shapley value based on
      sampling*, 2009.
    """
    log_weights = _weights.resolve(weights, num_players)
    share = _weights.size_distribution(log_weights)
    sample = Partial(_DrawAndWalk(draw, num_players), float64(num_players * share))
    name = name or getattr(draw, "__qualname__", repr(draw))
    single = draw is _orders.uniform
    return from_units(
        f"permutation({num_players}, draw={name}, shares={_weights.digest(share)})",
        "permutation" if single else "block of permutations",
        num_players,
        sample,
        max_evaluations=_num_orders(draw, num_players) * (num_players + 1),
        log_weights=log_weights,
    )


def antithetic(
    num_players: int, weights: _weights.Weights = _weights.shapley
) -> Estimator:
    """Permutation sampling in pairs of an order and its reverse.

    Example:
      >>> from jaxval.semivalues import run, stopping
      >>> pairs = Game(4, lambda mask: 1.0 * mask[0] * mask[1] + 3.0 * mask[2])
      >>> rule = stopping.units(2)
      >>> out = run(jax.random.key(0), antithetic(4), pairs, until=rule, every=2)
      >>> abs(out.values).round(9).tolist()
      [0.5, 0.5, 3.0, 0.0]

    References:
      Lomeli, Rowland, Gretton and Ghahramani, *Antithetic and Monte Carlo kernel
      estimators for partial rankings*, 2019.
    """
    return permutation_sampling(num_players, weights, draw=_orders.antithetic)


def quasi_random(
    num_players: int,
    weights: _weights.Weights = _weights.shapley,
    *,
    num_directions: int = 5,
) -> Estimator:
    """Permutation sampling along orthogonal directions, each with its reverse.

    Example:
      >>> quasi_random(8, num_directions=3).unit
      'block of permutations'

    References:
      Mitchell, Cooper, Frank and Holmes, *Sampling permutations for Shapley value
      estimation*, JMLR 2022, section 4.2.
    """
    name = f"orthogonal({num_directions})"
    draw = _orders.orthogonal(num_directions)
    return permutation_sampling(num_players, weights, draw=draw, name=name)


def stratified(
    num_players: int,
    weights: _weights.Weights = _weights.shapley,
    *,
    num_rotations: int = 10,
) -> Estimator:
    """Permutation sampling balanced over the sizes of the coalitions joined.

    Example:
      >>> stratified(8, num_rotations=4).unit
      'block of permutations'

    References:
      Maleki, Tran-Thanh, Hines, Rahwan and Rogers, *Bounding the estimation error of
      sampling-based Shapley value approximation*, 2013.
    """
    name = f"rotations({num_rotations})"
    draw = _orders.rotations(num_rotations)
    return permutation_sampling(num_players, weights, draw=draw, name=name)


def walk(
    orders: Int[Array, "m n"], game: Game, ends: Ends, factors: Float[Array, " n"]
) -> Walk:
    """One unit, the mean over a block of orders of the weighted contributions.

    Example:
      >>> game = Game(2, lambda mask: mask.sum() * 3.0)
      >>> with jax.enable_x64(True):
      ...     out = walk(jnp.array([[1, 0]]), game, Ends(0.0, 6.0), jnp.ones(2))
      >>> out.units.tolist(), int(out.num_evaluations)
      ([[3.0, 3.0]], 1)
    """
    scores = prefix_scores(orders, game, ends)
    added = jnp.diff(scores, axis=1) * factors[None, :]
    by_player = jax.vmap(lambda order, a: a[masks.ranks(order)])(orders, added)
    m, n = orders.shape
    per_order = n + 1 if game.fast_prefixes is not None else n - 1
    num_evaluations = jnp.asarray(m * per_order, jnp.int64)
    return Walk(by_player.mean(0, keepdims=True), num_evaluations)


def prefix_scores(
    orders: Int[Array, "m n"], game: Game, ends: Ends
) -> Float[Array, "m prefixes"]:
    """Scores of all prefixes of each order, asked the way the game likes best."""
    m, n = orders.shape
    if game.fast_prefixes is not None:
        if game.on_host:
            return jnp.asarray(np.stack([game.prefix_scores(o) for o in orders]))
        return jax.lax.map(game.prefix_scores, orders)
    inner = jax.vmap(masks.prefixes)(orders)[:, 1:-1]
    scores = jnp.zeros((m, 0))
    if n > 1:
        scores = jnp.asarray(game.scores(inner.reshape(m * (n - 1), n)))
    first, last = (jnp.full((m, 1), end, jnp.float64) for end in ends)
    inner = scores.reshape(m, n - 1).astype(jnp.float64)
    return jnp.concatenate([first, inner, last], axis=1)


def from_units(
    settings: str,
    unit: str,
    num_players: int,
    sample: Any,
    *,
    max_evaluations: int | None = None,
    log_weights: Float[np.ndarray, " n"] | None = None,
    shorten: Any = None,
) -> Estimator:
    """An estimator whose samples are independent, unbiased units.

    Args:
      settings: Settings in words, for the checkpoint's identity.
      unit: Name of one unit.
      num_players: Number of players.
      sample: Function `(key, game, ends)` to a `Walk`.
      max_evaluations: Most evaluations of one step.
      log_weights: Logarithms of the weights of the semi-value.
      shorten: As of `Estimator`.
    """
    check(num_players >= 1, f"num_players must be at least 1; got {num_players}.")
    return Estimator(
        settings=settings,
        unit=unit,
        init=_Init(num_players),
        sample=sample,
        fold=_fold,
        estimate=_estimator.estimate,
        covariance=_estimator.covariance,
        merge=_estimator.merge_moments,
        num_evaluations=_num_evaluations,
        max_evaluations=max_evaluations,
        log_weights=log_weights,
        shorten=shorten,
    )


@dataclasses.dataclass(frozen=True)
class _DrawAndWalk:
    draw: _orders.Draw
    num_players: int

    @in_double
    def __call__(
        self, factors: Float[Array, " n"], key: PRNGKey, game: Game, ends: Ends
    ) -> Walk:
        return walk(self.draw(key, self.num_players), game, ends, factors)


@dataclasses.dataclass(frozen=True)
class _Init:
    num_players: int

    def __call__(self, ends: Ends) -> RunningMoments:
        return _estimator.init_moments(self.num_players)


def _fold(state: RunningMoments, sample: Walk) -> RunningMoments:
    return _estimator.update_moments(state, sample.units, sample.num_evaluations)


def _num_evaluations(state: RunningMoments) -> Int[Array, ""]:
    return state.num_evaluations


def _num_orders(draw: _orders.Draw, num_players: int) -> int:
    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.eval_shape(lambda key: draw(key, num_players), key).shape[0]
