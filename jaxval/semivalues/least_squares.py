r"""Values as the coefficients of a weighted linear fit to the scores of coalitions.

The fit's own noise cancels what is linear in the game, so few coalitions go far. The
estimate is a ratio of random matrices, biased at order 1/M; the error bar is a
delete-one-group jackknife over independent groups of steps.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Bool, Float, Int

from jaxval._checks import check
from jaxval.coalitions.game import Game
from jaxval.execution.precision import in_double
from jaxval.semivalues import coalitions as _coalitions
from jaxval.semivalues import estimator as _estimator
from jaxval.semivalues import weights as _weights
from jaxval.semivalues.coalitions import ScoredCoalitions
from jaxval.semivalues.estimator import Estimator
from jaxval.types import Ends, PRNGKey, ValueEstimate

__all__ = ["State", "kernel_banzhaf", "kernel_shap"]


class State(NamedTuple):
    r"""Normal equations of each group; those of independent runs add up.

    Attributes:
      gram: Sum $\sum w \tilde z \tilde z^\top$ of each group.
      moment: Sum $\sum w \tilde z r$ of each group.
      steps: Steps folded in so far: step $t$ is in group $t \bmod G$.
      coalitions: Coalitions scored so far.
      ends: Scores of the empty and the grand coalition.
    """

    gram: Float[Array, "groups n n"]
    moment: Float[Array, "groups n"]
    steps: Int[Array, ""]
    coalitions: Int[Array, ""]
    ends: Ends


def kernel_shap(
    num_players: int, *, pairs: int | None = None, groups: int = 32
) -> Estimator:
    r"""Kernel SHAP with leverage-score sampling in complementary pairs.

    The Shapley value minimises $\sum_S \mu(|S|)\,(v(S) - v(\emptyset) - z_S\beta)^2$,
    $\mu(s) = (n-1)/(\binom ns s(n-s))$, among the $\beta$ that sum to
    $v(N) - v(\emptyset)$. The rows' leverage scores depend on the size alone and make
    all sizes equally likely; with weights $\mu/\Pr \propto 1/(s(n-s))$ the sampled fit
    is solved inside the constraint, so that every estimate is efficient.

    Args:
      num_players: Number of players $n$, 2 at least.
      pairs: Complementary pairs per step; $n$ when left out.
      groups: Groups of the jackknife; memory is `groups` times $n^2$.

    Returns:
      An estimator for `run` of the Shapley value; the unit is the step. There is no
      standard error before `groups` steps; then it has `groups - 1` degrees of freedom.

    Example:
      >>> from jaxval.semivalues import run, stopping
      >>> game = Game(4, lambda mask: mask @ jnp.arange(1.0, 5.0))
      >>> out = run(jax.random.key(0), kernel_shap(4), game, until=stopping.budget(64))
      >>> out.values.round(6).tolist()
      [1.0, 2.0, 3.0, 4.0]

    References:
      Musco and Witter, *Provably accurate Shapley value estimation via leverage score
      sampling*, ICLR 2025, algorithm 1.
    """
    check(num_players >= 2, f"num_players must be at least 2; got {num_players}.")
    pairs = num_players if pairs is None else pairs
    settings = f"kernel_shap({num_players}, pairs={pairs}, groups={groups})"
    fit = _ShapleyFit(num_players, pairs)
    return _make(fit, groups, settings, _weights.shapley(num_players))


def kernel_banzhaf(
    num_players: int,
    *,
    probability: float = 0.5,
    pairs: int | None = None,
    groups: int = 32,
) -> Estimator:
    r"""The (weighted) Banzhaf value as the best linear fit under random coalitions.

    With every player in with probability $p$, independently, the least-squares slope
    of $v$ in $z_i$ is $E[v \mid i] - E[v \mid \text{not } i]$, the value; at
    $p = 1/2$ coalitions come in complementary pairs.

    Args:
      num_players: Number of players $n$, 2 at least.
      probability: Chance $p$ of each player to be in.
      pairs: Pairs per step; $n$ when left out. For $p \ne 1/2$, two coalitions each.
      groups: Groups of the jackknife.

    Returns:
      An estimator for `run`; unit and standard error as those of `kernel_shap`.

    Example:
      >>> kernel_banzhaf(4, pairs=8).unit
      'step'

    References:
      Liu, Witter, Korn and others, *Kernel Banzhaf*, 2024.
    """
    check(num_players >= 2, f"num_players must be at least 2; got {num_players}.")
    check(
        0 < probability < 1,
        f"probability must lie strictly between 0 and 1; got {probability}.",
    )
    n, p = num_players, probability
    pairs = n if pairs is None else pairs
    settings = f"kernel_banzhaf({n}, p={p}, pairs={pairs}, groups={groups})"
    log_weights = _weights.weighted_banzhaf(p)(n)
    return _make(_BanzhafFit(n, p, pairs), groups, settings, log_weights)


@dataclasses.dataclass(frozen=True)
class _ShapleyFit:
    """Kernel SHAP's coalitions, and its weighted fit under the constraint."""

    num_players: int
    pairs: int

    @property
    def num_columns(self) -> int:
        return self.num_players

    def draw(self, key: PRNGKey) -> Bool[Array, "m n"]:
        inner = self.num_players - 1
        sizes = jnp.asarray(np.full(inner, 1.0 / inner))
        return _coalitions.draw(key, sizes, self.pairs, pairs=True)

    def design(self, sample: ScoredCoalitions, ends: Ends) -> tuple[Array, ...]:
        """Rows of the fit `(m, n)`, targets `(m,)`, weights `(m,)`."""
        n = self.num_players
        s = np.arange(1, n)
        weight = jnp.asarray(1.0 / (s * (n - s)))
        size = sample.members.sum(1)
        share = size / n
        row = sample.members - share[:, None]
        target = sample.scores - ends.empty - share * (ends.full - ends.empty)
        return row, target, weight[size - 1]

    def solve(self, gram: Array, moment: Array, ends: Ends) -> tuple[Array, Array]:
        """Values `(n,)`, and whether the coalitions determine them."""
        # The rows are orthogonal to the vector of ones; fill in that direction.
        n = self.num_players
        ones = jnp.ones((n, n)) * (jnp.trace(gram) / n**2)
        worth = ends.full - ends.empty
        beta, sound = _solve(gram + ones, moment)
        return worth / n + beta, sound


@dataclasses.dataclass(frozen=True)
class _BanzhafFit:
    """Independent players, and the fit with an intercept."""

    num_players: int
    probability: float
    pairs: int

    @property
    def num_columns(self) -> int:
        return self.num_players + 1

    def draw(self, key: PRNGKey) -> Bool[Array, "m n"]:
        n, p, pairs = self.num_players, self.probability, self.pairs
        if p == 0.5:
            half = jax.random.bernoulli(key, 0.5, (pairs, n))
            return jnp.concatenate([half, ~half])
        return jax.random.bernoulli(key, p, (2 * pairs, n))

    def design(self, sample: ScoredCoalitions, ends: Ends) -> tuple[Array, ...]:
        """Rows of the fit `(m, n + 1)`, targets `(m,)`, weights `(m,)`."""
        # The last column is the intercept, which no player is paid.
        ones = jnp.ones((len(sample.scores), 1))
        row = jnp.concatenate([sample.members - self.probability, ones], axis=1)
        return row, sample.scores - ends.full, jnp.ones(len(sample.scores))

    def solve(self, gram: Array, moment: Array, ends: Ends) -> tuple[Array, Array]:
        """Values `(n,)`, and whether the coalitions determine them."""
        beta, sound = _solve(gram, moment)
        return beta[: self.num_players], sound


_Fit = _ShapleyFit | _BanzhafFit


def _make(
    fit: _Fit, groups: int, settings: str, log_weights: Float[np.ndarray, " n"]
) -> Estimator:
    check(groups >= 2, f"groups must be at least 2; got {groups}.")
    check(fit.pairs >= 1, f"pairs must be at least 1; got {fit.pairs}.")
    return Estimator(
        settings=settings,
        unit="step",
        init=_Init(fit.num_columns, groups),
        sample=_Sampler(fit),
        fold=_Fold(fit, groups),
        estimate=_Estimate(fit, groups),
        covariance=_Covariance(fit, groups),
        merge=_merge,
        num_evaluations=_num_evaluations,
        max_evaluations=2 * fit.pairs,
        shorten=_Sampler(fit).shortened,
        log_weights=log_weights,
    )


@dataclasses.dataclass(frozen=True)
class _Init:
    num_columns: int
    groups: int

    @in_double
    def __call__(self, ends: Ends) -> State:
        count, columns = jnp.zeros((), jnp.int64), self.num_columns
        gram = jnp.zeros((self.groups, columns, columns))
        moment = jnp.zeros((self.groups, columns))
        return State(gram, moment, count, count, _estimator.as_endpoints(ends))


@dataclasses.dataclass(frozen=True)
class _Sampler:
    fit: _Fit
    keep: int | None = None

    @in_double
    def __call__(self, key: PRNGKey, game: Game, ends: Ends) -> ScoredCoalitions:
        members = _coalitions.keep_first(self.fit.draw(key), True, self.keep)
        return _coalitions.score_coalitions(game, members)

    def shortened(self, num_evaluations: int) -> _Sampler:
        keep = min(max(num_evaluations // 2, 1), self.fit.pairs)
        return dataclasses.replace(self, keep=keep)


@dataclasses.dataclass(frozen=True)
class _Fold:
    fit: _Fit
    groups: int

    @in_double
    def __call__(self, state: State, sample: ScoredCoalitions) -> State:
        row, target, weight = self.fit.design(sample, state.ends)
        weighted = row * weight[:, None]
        group = state.steps % self.groups
        return State(
            state.gram.at[group].add(weighted.T @ row),
            state.moment.at[group].add(weighted.T @ target),
            state.steps + 1,
            state.coalitions + len(target),
            state.ends,
        )


@dataclasses.dataclass(frozen=True)
class _Estimate:
    fit: _Fit
    groups: int

    @in_double
    def __call__(self, state: State) -> ValueEstimate:
        return _jackknife(state, self.fit, self.groups)[0]


@dataclasses.dataclass(frozen=True)
class _Covariance:
    fit: _Fit
    groups: int

    @in_double
    def __call__(self, state: State) -> Float[Array, "n n"]:
        return _jackknife(state, self.fit, self.groups)[1]


@in_double
def _merge(a: State, b: State) -> State:
    # Which steps share a group doesn't matter, as long as each is in one.
    return State(
        a.gram + b.gram,
        a.moment + b.moment,
        a.steps + b.steps,
        a.coalitions + b.coalitions,
        a.ends,
    )


def _num_evaluations(state: State) -> Int[Array, ""]:
    return state.coalitions


def _solve(gram: Array, moment: Array) -> tuple[Array, Array]:
    """The solution, and whether the coalitions so far determine it (0 if not)."""
    factor = jnp.linalg.cholesky(gram, symmetrize_input=False)
    pivots = jnp.diag(factor) ** 2
    sound = pivots.min() > 1e-10 * pivots.max()
    return jnp.where(sound, cho_solve((factor, True), moment), 0.0), sound


def _jackknife(state: State, fit: _Fit, groups: int) -> tuple[ValueEstimate, Array]:
    """The estimate `(n,)` and its covariance `(n, n)`, from `groups` deletions."""
    gram, moment = state.gram.sum(0), state.moment.sum(0)
    values, sound = fit.solve(gram, moment, state.ends)
    without, all_sound = jax.vmap(
        lambda g, m: fit.solve(gram - g, moment - m, state.ends)
    )(state.gram, state.moment)
    away = without - without.mean(0, keepdims=True)
    # All groups hold equally many steps once each has some; before that, no error.
    enough = (state.steps >= groups) & all_sound.all()
    spread = jnp.where(enough, away.T @ away * (groups - 1) / groups, 0.0)
    degrees = jnp.where(enough, groups - 1, 0)
    estimate = ValueEstimate(
        values=values,
        stderr=jnp.sqrt(jnp.diag(spread)),
        counts=jnp.full(values.shape, state.steps),
        degrees=jnp.full(values.shape, jnp.where(sound, degrees, -1)),
    )
    return estimate, spread
