r"""Regression-adjusted sampling: sample only what a fitted game leaves unexplained.

For any game $g$ whose values are known in closed form,
$\phi(v) = \phi(g) + \phi(v - g)$: what is sampled is the remainder, whose variance is
small where $g$ fits. The estimate is unbiased whatever $g$ is, as long as $g$ was
fitted to other coalitions than those it corrects.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int

from jaxval._checks import check, positive
from jaxval.execution.precision import float64, in_double
from jaxval.semivalues import coalitions as _coalitions
from jaxval.semivalues import estimator as _estimator
from jaxval.semivalues import weights as _weights
from jaxval.semivalues.coalitions import Design, Sampler, ScoredCoalitions
from jaxval.semivalues.estimator import Estimator, RunningMoments
from jaxval.types import Ends, ValueEstimate

__all__ = ["Basis", "State", "regression_adjusted", "linear", "quadratic"]

_SIZE_TERMS = 4


class Basis(NamedTuple):
    r"""Games $f_1, \dots, f_F$ to fit with.

    Attributes:
      features: Function of a batch of masks to the $f_j$, one row per mask. Make it a
        module-level function or a frozen dataclass, so that equal settings are equal
        functions.
      values: Function of the size distribution to the semi-value of every $f_j$, one
        column each.
      name: Name, for the checkpoint's identity.
    """

    features: Callable[[Bool[Array, "m n"]], Float[Array, "m f"]]
    values: Callable[[Float[np.ndarray, " n"]], Float[np.ndarray, "n f"]]
    name: str


class State(NamedTuple):
    """Moments of the adjusted units, and the fit that adjusts the next ones.

    Attributes:
      moments: Moments of the units, from the second step on.
      gram: Normal equations of the fit, over all coalitions so far.
      moment: Right-hand side of the normal equations.
      num_evaluations: Coalitions scored, those of the first step included.
      ends: Scores of the empty and the grand coalition.
    """

    moments: RunningMoments
    gram: Float[Array, "f f"]
    moment: Float[Array, " f"]
    num_evaluations: Int[Array, ""]
    ends: Ends


class Fitted(NamedTuple):
    """What turns a fit into units: the design, the values of the basis, the penalty."""

    plan: Design
    paid: Float[Array, "n f"]
    penalty: Float[Array, ""]


def linear(num_players: int) -> Basis:
    """One term per player, and four in the size of the coalition.

    Example:
      >>> basis = linear(3)
      >>> basis.features(jnp.array([[True, True, False]])).shape, basis.name
      ((1, 7), 'linear')

    References:
      Witter, Liu and Musco, *Regression-adjusted Monte Carlo estimators for Shapley
      values and probabilistic values*, NeurIPS 2025.
    """
    return Basis(_LinearFeatures(num_players), _LinearValues(num_players), "linear")


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
    return Basis(_QuadraticFeatures(n), _QuadraticValues(n), "quadratic")


def regression_adjusted(
    num_players: int,
    weights: _weights.Weights = _weights.shapley,
    *,
    basis: Basis | None = None,
    coalitions: int | None = None,
    penalty: float | int = 1.0,
) -> Estimator:
    r"""Regression-adjusted sampling of any semi-value.

    Step $t$ corrects its coalitions by the fit to steps $0, \dots, t-1$, so that every
    unit has the right mean given the past; step 0 only fits. (The paper splits its
    sample in two and lets each half correct the other; fitting to the past does the
    same in one pass.) What is fitted is the score less the straight line from
    $v(\emptyset)$ to $v(N)$.

    Args:
      num_players: Number of players $n$, 2 at least.
      weights: Function from `weights`, or an array of $\log w(k)$.
      basis: Games to fit with: `linear(n)` when left out, `quadratic(n)`, or your own.
      coalitions: Coalitions per step; $2n$ when left out, and no fewer than make sense
        of the basis.
      penalty: Multiplier of the squared norm in the fit: a matter of variance, never of
        bias.

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
    positive("penalty", penalty)
    log_weights = _weights.resolve(weights, n)
    share = _weights.size_distribution(log_weights)
    pairs = bool(np.allclose(share, share[::-1]))
    plan = _coalitions.design(share, mirrored=pairs)
    basis = linear(n) if basis is None else basis
    count = 2 * n if coalitions is None else coalitions
    check(count >= 2, f"coalitions must be at least 2; got {count}.")
    fitted = Fitted(plan, float64(basis.values(share)), float64(penalty))
    sampler = Sampler((count + 1) // 2 if pairs else count, pairs)
    return Estimator(
        settings=f"adjusted({n}, basis={basis.name}, coalitions={count}, "
        f"ridge={penalty}, shares={_weights.digest(share)})",
        unit="complementary pair" if pairs else "coalition",
        init=_Init(n, fitted.paid.shape[1]),
        sample=Partial(sampler, plan.sizes),
        fold=Partial(_Fold(basis.features, pairs), fitted),
        estimate=_estimate,
        covariance=_covariance,
        merge=_merge,
        num_evaluations=_num_evaluations,
        max_evaluations=sampler.count * (2 if pairs else 1),
        shorten=Partial(_coalitions.Shorten(sampler), plan.sizes),
        log_weights=log_weights,
    )


@dataclasses.dataclass(frozen=True)
class _Init:
    num_players: int
    num_features: int

    @in_double
    def __call__(self, ends: Ends) -> State:
        size = self.num_features
        return State(
            moments=_estimator.init_moments(self.num_players),
            gram=jnp.zeros((size, size)),
            moment=jnp.zeros(size),
            num_evaluations=jnp.zeros((), jnp.int64),
            ends=_estimator.as_endpoints(ends),
        )


@dataclasses.dataclass(frozen=True)
class _Fold:
    features: Callable[[Bool[Array, "m n"]], Float[Array, "m f"]]
    pairs: bool

    @in_double
    def __call__(self, fitted: Fitted, state: State, sample: ScoredCoalitions) -> State:
        # f: (m, features), the games of the basis; line: (m,).
        f, line = self.features(sample.members), _line(sample.members, state.ends)
        units = _units(fitted, self.features, state, sample)
        if self.pairs:
            units = units.reshape(2, -1, units.shape[1]).mean(0)
        folded = _estimator.update_moments(state.moments, units, 0)
        # The first step only fits: nothing has been fitted yet that could correct it.
        first = state.num_evaluations == 0
        keep = lambda old, new: jnp.where(first, old, new)
        return State(
            moments=jax.tree.map(keep, state.moments, folded),
            gram=state.gram + f.T @ f,
            moment=state.moment + f.T @ (sample.scores - line),
            num_evaluations=state.num_evaluations + len(sample.scores),
            ends=state.ends,
        )


def _units(
    fitted: Fitted, features: Callable[..., Any], state: State, sample: ScoredCoalitions
) -> Float[Array, "m n"]:
    plan, ends, n = fitted.plan, state.ends, sample.members.shape[1]
    penalty = fitted.penalty * jnp.eye(state.gram.shape[0])
    factor = jnp.linalg.cholesky(state.gram + penalty, symmetrize_input=False)
    theta = cho_solve((factor, True), state.moment)
    rest = lambda m, v: v - _line(m, ends) - features(m) @ theta
    extremes = jnp.stack([jnp.zeros(n, bool), jnp.ones(n, bool)])
    empty, full = rest(extremes, jnp.stack(list(ends)))
    # Values of the line and of the fit, which are known exactly: (n,).
    basis_values = (ends.full - ends.empty) / n + fitted.paid @ theta
    fixed = basis_values + plan.last * full - plan.first * empty
    inside, outside = _coalitions.coefficients(plan, sample.members)
    sampled = (inside - outside) * rest(sample.members, sample.scores)[:, None]
    return fixed[None, :] + sampled


def _line(members: Bool[Array, "m n"], ends: Ends) -> Float[Array, " m"]:
    return ends.empty + members.mean(1) * (ends.full - ends.empty)


def _estimate(state: State) -> ValueEstimate:
    return _estimator.estimate(state.moments)


def _covariance(state: State) -> Float[Array, "n n"] | None:
    return _estimator.covariance(state.moments)


def _num_evaluations(state: State) -> Int[Array, ""]:
    return state.num_evaluations


@in_double
def _merge(a: State, b: State) -> State:
    return State(
        moments=_estimator.merge_moments(a.moments, b.moments),
        gram=a.gram + b.gram,
        moment=a.moment + b.moment,
        num_evaluations=a.num_evaluations + b.num_evaluations,
        ends=a.ends,
    )


@dataclasses.dataclass(frozen=True)
class _LinearFeatures:
    num_players: int

    def __call__(self, members: Bool[Array, "m n"]) -> Float[Array, "m f"]:
        share = members.sum(1) / self.num_players
        own = members - share[:, None]
        return jnp.concatenate([own, _size_terms(share, jnp)], axis=1)


@dataclasses.dataclass(frozen=True)
class _LinearValues:
    num_players: int

    def __call__(self, share: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n f"]:
        n = self.num_players
        own = np.eye(n) - 1.0 / n
        steps = np.diff(_size_terms(np.arange(n + 1) / n, np), axis=0)
        return np.concatenate([own, np.tile(share @ steps, (n, 1))], axis=1)


@dataclasses.dataclass(frozen=True)
class _QuadraticFeatures:
    num_players: int

    def __call__(self, members: Bool[Array, "m n"]) -> Float[Array, "m f"]:
        first, second = np.triu_indices(self.num_players, 1)
        both = (members[:, first] & members[:, second]) * 1.0
        base = _LinearFeatures(self.num_players)(members)
        return jnp.concatenate([base, both], axis=1)


@dataclasses.dataclass(frozen=True)
class _QuadraticValues:
    num_players: int

    def __call__(self, share: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n f"]:
        n = self.num_players
        first, second = np.triu_indices(n, 1)
        # A pair pays each of its two when the other is there already.
        there = share @ np.arange(n) / (n - 1)
        pairs = np.zeros((n, len(first)))
        pairs[first, np.arange(len(first))] = there
        pairs[second, np.arange(len(first))] = there
        return np.concatenate([_LinearValues(n)(share), pairs], axis=1)


def _size_terms(share: Any, xp: Any) -> Any:
    # Constant, and Legendre polynomials of degree 2 and up; the line is taken already.
    x = 2.0 * share - 1.0
    terms = [xp.ones_like(x), x]
    for k in range(1, _SIZE_TERMS):
        terms.append(((2 * k + 1) * x * terms[k] - k * terms[k - 1]) / (k + 1))
    return xp.stack([terms[0], *terms[2:]], 1)
