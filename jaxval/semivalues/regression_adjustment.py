r"""Regression-adjusted sampling: sample only what a fitted game leaves unexplained.

For any game $g$ whose values are known in closed form,
$\phi(v) = \phi(g) + \phi(v - g)$: what is sampled is the remainder, whose variance is
small where $g$ fits. The estimate is unbiased whatever $g$ is, as long as $g$ was
fitted to other coalitions than those it corrects.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float

from jaxval._checks import check, positive
from jaxval.execution.precision import float64, in_double
from jaxval.semivalues import coalitions as _coalitions
from jaxval.semivalues import estimator as _estimator
from jaxval.semivalues import weights as _weights
from jaxval.semivalues.coalitions import Design, Scored
from jaxval.semivalues.estimator import Estimator, Units
from jaxval.types import Ends, ValueEstimate

__all__ = ["Basis", "State", "regression_adjusted", "linear", "quadratic"]

_SIZE_TERMS = 4


class Basis(NamedTuple):
    r"""Games $f_1, \dots, f_F$ to fit with.

    Attributes:
      features: of a batch of masks, one row each.
      values: `values(share)`, the semi-value of every $f_j$ with size distribution
        `share`, one column each.
      name: for the checkpoint's identity.
    """

    features: Callable[[Bool[Array, "m n"]], Float[Array, "m f"]]
    values: Callable[[Float[np.ndarray, " n"]], Float[np.ndarray, "n f"]]
    name: str


class State(NamedTuple):
    """Moments of the adjusted units, and the fit that adjusts the next ones.

    Attributes:
      moments: of the units, from the second step on.
      gram: normal equations of the fit, over all coalitions so far.
      moment: their right-hand side.
      calls: coalitions scored, those of the first step included.
      ends: scores of nobody and everybody.
    """

    moments: Units
    gram: Float[Array, "f f"]
    moment: Float[Array, " f"]
    calls: Array
    ends: Ends


class Fitted(NamedTuple):
    """What turns a fit into units: the design, the values of the basis, the penalty."""

    plan: Design
    paid: Float[Array, "n f"]
    ridge: Float[Array, ""]


@functools.lru_cache
def linear(num_players: int) -> Basis:
    """One term a player, and four in the size of the coalition.

    Example:
      >>> basis = linear(3)
      >>> basis.features(jnp.array([[True, True, False]])).shape, basis.name
      ((1, 7), 'linear')

    References:
      Witter, Liu and Musco, *Regression-adjusted Monte Carlo estimators for Shapley
      values and probabilistic values*, NeurIPS 2025.
    """
    n = num_players

    def features(members: Bool[Array, "m n"]) -> Float[Array, "m f"]:
        share = members.sum(1) / n
        own = members - share[:, None]
        return jnp.concatenate([own, _size_terms(share, jnp)], axis=1)

    def values(share: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n f"]:
        own = np.eye(n) - 1.0 / n
        steps = np.diff(_size_terms(np.arange(n + 1) / n, np), axis=0)
        return np.concatenate([own, np.tile(share @ steps, (n, 1))], axis=1)

    return Basis(features, values, "linear")


@functools.lru_cache
def quadratic(num_players: int) -> Basis:
    r"""The linear terms, and one for each pair of players: $n(n-1)/2$ more.

    Exact for games with pairwise interactions once fitted; for up to about 40 players.

    Example:
      >>> basis = quadratic(3)
      >>> basis.features(jnp.array([[True, True, False]]))[0, -3:].tolist()
      [1.0, 0.0, 0.0]

    References:
      Witter, Liu and Musco, *Regression-adjusted Monte Carlo estimators for Shapley
      values and probabilistic values*, NeurIPS 2025.
    """
    n = num_players
    check(
        2 <= n <= 64,
        f"quadratic has a term for each pair of 2 to 64 players; got {n}. Use linear.",
    )
    base = linear(n)
    first, second = np.triu_indices(n, 1)

    def features(members: Bool[Array, "m n"]) -> Float[Array, "m f"]:
        both = (members[:, first] & members[:, second]) * 1.0
        return jnp.concatenate([base.features(members), both], axis=1)

    def values(share: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n f"]:
        # A pair pays each of its two when the other is there already.
        there = share @ np.arange(n) / (n - 1)
        pairs = np.zeros((n, len(first)))
        pairs[first, np.arange(len(first))] = there
        pairs[second, np.arange(len(first))] = there
        return np.concatenate([base.values(share), pairs], axis=1)

    return Basis(features, values, "quadratic")


def regression_adjusted(
    num_players: int,
    weights: _weights.Weights = _weights.shapley,
    *,
    basis: Basis | None = None,
    coalitions: int | None = None,
    ridge: float | int = 1.0,
) -> Estimator:
    r"""Regression-adjusted sampling of any semi-value.

    Step $t$ corrects its coalitions by the fit to steps $0, \dots, t-1$, so that every
    unit has the right mean given the past; step 0 only fits. (The paper splits its
    sample in two and lets each half correct the other; fitting to the past does the
    same in one pass.) What is fitted is the score less the straight line from
    $v(\emptyset)$ to $v(N)$.

    Args:
      num_players: $n$, 2 at least.
      weights: a function from `weights`, or an array of $\log w(k)$.
      basis: games to fit with: `linear(n)` when left out, `quadratic(n)`, or your own.
      coalitions: a step; $2n$ when left out, and no fewer than make sense of the basis.
      ridge: penalty of the fit: a matter of variance, never of bias.

    Returns:
      An estimator for `run`; the unit is the coalition, or the complementary pair where
      the weights are symmetric.

    Example:
      >>> import jax
      >>> from jaxval.semivalues import run, stopping
      >>> from jaxval.coalitions.game import Game
      >>> game = Game(4, lambda mask: mask @ jnp.arange(4.0) + mask[0] * mask[1])
      >>> rule = stopping.budget(800)
      >>> out = run(jax.random.key(0), regression_adjusted(4), game, until=rule)
      >>> bool((abs(out.values - jnp.array([0.5, 1.5, 2, 3])) < 5 * out.stderr).all())
      True

    References:
      Witter, Liu and Musco, *Regression-adjusted Monte Carlo estimators for Shapley
      values and probabilistic values*, NeurIPS 2025.
    """
    n = num_players
    positive("ridge", ridge)
    share = _coalitions.share_of(weights, n)
    pairs = bool(np.allclose(share, share[::-1]))
    plan = _coalitions.design(share, mirrored=pairs)
    basis = linear(n) if basis is None else basis
    count = 2 * n if coalitions is None else coalitions
    check(count >= 2, f"coalitions must be at least 2; got {count}.")
    fitted = Fitted(plan, float64(basis.values(share)), float64(ridge))
    drawn = (count + 1) // 2 if pairs else count

    @in_double
    def init(ends: Ends) -> State:
        size = fitted.paid.shape[1]
        ends = Ends(*(float64(end) for end in ends))
        zero = jnp.zeros((), jnp.int64)
        gram, moment = jnp.zeros((size, size)), jnp.zeros(size)
        return State(_estimator.no_units(n), gram, moment, zero, ends)

    return Estimator(
        settings=f"adjusted({n}, basis={basis.name}, coalitions={count}, "
        f"ridge={ridge}, shares={_weights.digest(share)})",
        unit="complementary pair" if pairs else "coalition",
        init=init,
        sample=Partial(_coalitions.sampler(drawn, pairs=pairs), plan.sizes),
        fold=Partial(_folding(basis.features, pairs), fitted),
        estimate=_estimate,
        covariance=_covariance,
        merge=_merge,
        num_evaluations=lambda state: state.calls,
    )


@functools.lru_cache
def _folding(features, pairs):
    @in_double
    def fold(fitted: Fitted, state: State, drawn: Scored) -> State:
        f, line = features(drawn.members), _line(drawn.members, state.ends)
        units = _units(fitted, features, state, drawn)
        if pairs:
            units = units.reshape(2, -1, units.shape[1]).mean(0)
        folded = _estimator.fold_units(state.moments, units, 0)
        # The first step only fits: nothing has been fitted yet that could correct it.
        keep = lambda old, new: jnp.where(state.calls == 0, old, new)
        return State(
            Units(*(keep(*pair) for pair in zip(state.moments, folded, strict=True))),
            state.gram + f.T @ f,
            state.moment + f.T @ (drawn.scores - line),
            state.calls + len(drawn.scores),
            state.ends,
        )

    return fold


def _units(fitted: Fitted, features, state: State, drawn: Scored):
    plan, ends, n = fitted.plan, state.ends, drawn.members.shape[1]
    penalty = fitted.ridge * jnp.eye(state.gram.shape[0])
    factor = jnp.linalg.cholesky(state.gram + penalty, symmetrize_input=False)
    theta = cho_solve((factor, True), state.moment)
    rest = lambda m, v: v - _line(m, ends) - features(m) @ theta
    extremes = jnp.stack([jnp.zeros(n, bool), jnp.ones(n, bool)])
    empty, full = rest(extremes, jnp.stack(list(ends)))
    known = (ends.full - ends.empty) / n + fitted.paid @ theta
    fixed = known + plan.last * full - plan.first * empty
    inside, outside = _coalitions.coefficients(plan, drawn.members)
    sampled = (inside - outside) * rest(drawn.members, drawn.scores)[:, None]
    return fixed[None, :] + sampled


def _line(members, ends: Ends):
    return ends.empty + members.mean(1) * (ends.full - ends.empty)


def _estimate(state: State) -> ValueEstimate:
    return _estimator.estimate(state.moments)


def _covariance(state: State) -> Float[Array, "n n"] | None:
    return _estimator.covariance(state.moments)


@in_double
def _merge(a: State, b: State) -> State:
    moments = _estimator.merge_units(a.moments, b.moments)
    gram, moment = a.gram + b.gram, a.moment + b.moment
    return State(moments, gram, moment, a.calls + b.calls, a.ends)


def _size_terms(share, xp):
    # Constant, and Legendre polynomials of degree 2 and up; the line is taken already.
    x = 2.0 * share - 1.0
    terms = [xp.ones_like(x), x]
    for k in range(1, _SIZE_TERMS):
        terms.append(((2 * k + 1) * x * terms[k] - k * terms[k - 1]) / (k + 1))
    return xp.stack([terms[0], *terms[2:]], 1)
