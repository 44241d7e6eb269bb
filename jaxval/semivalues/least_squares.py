r"""Values as the coefficients of a weighted linear fit to the scores of coalitions.

The fit's own noise cancels what is linear in the game, so few coalitions go far. The
estimate is a ratio of random matrices, biased at order 1/M; the error bar is a
delete-one-group jackknife over independent groups of steps.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve
from jaxtyping import Array, Float, Int

from jaxval._checks import check
from jaxval.coalitions.game import Game
from jaxval.execution.precision import float64, in_double
from jaxval.semivalues import coalitions as _coalitions
from jaxval.semivalues.coalitions import Scored
from jaxval.semivalues.estimator import Estimator
from jaxval.types import Ends, PRNGKey, ValueEstimate

__all__ = ["State", "kernel_banzhaf", "kernel_shap"]


class State(NamedTuple):
    r"""Normal equations of each group; those of independent runs add up.

    Attributes:
      gram: $\sum w \tilde z \tilde z^\top$ of each group.
      moment: $\sum w \tilde z r$ of each group.
      steps: folded in so far: step $t$ is in group $t \bmod G$.
      coalitions: scored so far.
      ends: scores of nobody and everybody.
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
      num_players: $n$, 2 at least.
      pairs: a step; $n$ when left out.
      groups: of the jackknife; memory is `groups` times $n^2$.

    Returns:
      An estimator for `run` of the Shapley value. Counts are groups: the error bar has
      one degree of freedom fewer.

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
    n = num_players
    sizes = np.full(n - 1, 1.0 / (n - 1))
    s = np.arange(1, n)
    weight = float64(1.0 / (s * (n - s)))

    def design(drawn: Scored, ends: Ends):
        size = drawn.members.sum(1)
        share = size / n
        row = drawn.members - share[:, None]
        target = drawn.scores - ends.empty - share * (ends.full - ends.empty)
        return row, target, weight[size - 1]

    def solve(gram, moment, ends: Ends):
        # The rows are orthogonal to the vector of ones; fill in that direction.
        ones = jnp.ones((n, n)) * (jnp.trace(gram) / n**2)
        worth = ends.full - ends.empty
        return worth / n + _solve(gram + ones, moment)

    pairs = n if pairs is None else pairs
    settings = f"kernel_shap({n}, pairs={pairs}, groups={groups})"
    draw = lambda key: _coalitions.draw(key, float64(sizes), pairs, pairs=True)
    return _estimator(n, groups, settings, draw, design, solve)


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
      num_players: $n$, 2 at least.
      probability: $p$.
      pairs: a step; $n$ when left out. For $p \ne 1/2$, two coalitions each.
      groups: of the jackknife.

    Returns:
      An estimator for `run`. Counts are groups.

    Example:
      >>> kernel_banzhaf(4, pairs=8).unit
      'group of steps'

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

    def draw(key: PRNGKey):
        if p == 0.5:
            half = jax.random.bernoulli(key, 0.5, (pairs, n))
            return jnp.concatenate([half, ~half])
        return jax.random.bernoulli(key, p, (2 * pairs, n))

    def design(drawn: Scored, ends: Ends):
        # The last column is the intercept, which no player is paid.
        ones = jnp.ones((len(drawn.scores), 1))
        row = jnp.concatenate([drawn.members - p, ones], axis=1)
        return row, drawn.scores - ends.full, jnp.ones(len(drawn.scores))

    def solve(gram, moment, ends: Ends):
        return _solve(gram, moment)[:n]

    settings = f"kernel_banzhaf({n}, p={p}, pairs={pairs}, groups={groups})"
    return _estimator(n, groups, settings, draw, design, solve, columns=n + 1)


def _estimator(n, groups, settings, draw, design, solve, columns=None) -> Estimator:
    check(groups >= 2, f"groups must be at least 2; got {groups}.")
    columns = n if columns is None else columns

    @in_double
    def init(ends: Ends) -> State:
        count = jnp.zeros((), jnp.int64)
        gram = jnp.zeros((groups, columns, columns))
        ends = Ends(*(float64(end) for end in ends))
        return State(gram, jnp.zeros((groups, columns)), count, count, ends)

    @in_double
    def fold(state: State, drawn: Scored) -> State:
        row, target, weight = design(drawn, state.ends)
        weighted = row * weight[:, None]
        group = state.steps % groups
        return State(
            state.gram.at[group].add(weighted.T @ row),
            state.moment.at[group].add(weighted.T @ target),
            state.steps + 1,
            state.coalitions + len(target),
            state.ends,
        )

    @in_double
    def estimate(state: State) -> ValueEstimate:
        return _jackknife(state, solve, groups)[0]

    @in_double
    def covariance(state: State) -> Float[Array, "n n"]:
        return _jackknife(state, solve, groups)[1]

    @in_double
    def sample(key: PRNGKey, game: Game, ends: Ends) -> Scored:
        return _coalitions.score_coalitions(game, draw(key))

    @in_double
    def merge(a: State, b: State) -> State:
        # Which steps share a group doesn't matter, as long as each is in one.
        return State(
            a.gram + b.gram,
            a.moment + b.moment,
            a.steps + b.steps,
            a.coalitions + b.coalitions,
            a.ends,
        )

    return Estimator(
        settings=settings,
        unit="group of steps",
        init=init,
        sample=sample,
        fold=fold,
        estimate=estimate,
        covariance=covariance,
        merge=merge,
        num_evaluations=lambda state: state.coalitions,
    )


def _solve(gram, moment):
    # NaN where the coalitions so far don't determine the fit: no number by accident.
    factor = jnp.linalg.cholesky(gram, symmetrize_input=False)
    pivots = jnp.diag(factor) ** 2
    sound = pivots.min() > 1e-10 * pivots.max()
    return jnp.where(sound, cho_solve((factor, True), moment), jnp.nan)


def _jackknife(state: State, solve, groups: int):
    gram, moment = state.gram.sum(0), state.moment.sum(0)
    whole = solve(gram, moment, state.ends)
    without = jax.vmap(lambda g, m: solve(gram - g, moment - m, state.ends))(
        state.gram, state.moment
    )
    used = jnp.minimum(state.steps, groups)
    away = without - without.mean(0, keepdims=True)
    # All groups hold equally many steps once each has some; before that, no bar.
    enough = jnp.where(state.steps >= groups, 1.0, jnp.nan)
    spread = away.T @ away * (groups - 1) / groups * enough
    counts = jnp.full(whole.shape, used)
    return ValueEstimate(whole, jnp.sqrt(jnp.diag(spread)), counts), spread
