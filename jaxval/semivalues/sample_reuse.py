r"""Maximum sample reuse: every scored coalition counts for every player."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int

from jaxval._checks import check
from jaxval.coalitions.game import Game
from jaxval.execution.precision import in_double
from jaxval.semivalues import coalitions as _coalitions
from jaxval.semivalues import estimator as _estimator
from jaxval.semivalues import weights as _weights
from jaxval.semivalues.coalitions import Design, Sampler, ScoredCoalitions
from jaxval.semivalues.estimator import Estimator
from jaxval.semivalues.permutation import Walk, from_units
from jaxval.types import Ends, PRNGKey, ValueEstimate

__all__ = ["State", "msr", "msr_unbiased"]


class Side(NamedTuple):
    """Weighted sums over the coalitions on one side of a player: with it, or without.

    Attributes:
      weight: Sum of the coefficients $a$.
      score: Sum of $a v$.
      weight2: Sum of $a^2$.
      cross: Sum of $a^2 v$.
      score2: Sum of $a^2 v^2$.
    """

    weight: Float[Array, " n"]
    score: Float[Array, " n"]
    weight2: Float[Array, " n"]
    cross: Float[Array, " n"]
    score2: Float[Array, " n"]


class State(NamedTuple):
    """Sums over coalitions; those of independent runs add up.

    Attributes:
      inside: Sums over the coalitions with each player.
      outside: Sums over those without it.
      count: Coalitions drawn.
      ends: Scores of the empty and the grand coalition.
    """

    inside: Side
    outside: Side
    count: Int[Array, ""]
    ends: Ends


def msr(
    num_players: int,
    weights: _weights.Weights = _weights.banzhaf,
    *,
    coalitions: int = 16,
) -> Estimator:
    r"""Maximum sample reuse of any semi-value, as a difference of two weighted means.

    $$\hat\phi_i = \frac{\sum_{S \ni i} a_S v(S)}{\sum_{S \ni i} a_S}
      - \frac{\sum_{S \not\ni i} b_S v(S)}{\sum_{S \not\ni i} b_S}$$

    with $a_S = w(|S|-1)/\Pr(S)$ and $b_S = w(|S|)/\Pr(S)$, the endpoints added
    exactly. For the Banzhaf value the coalitions are uniform and this is the mean with
    less the mean without. Both are ratios of random sums: the standard error is the
    delta method's, from the residuals $a_S(v(S) - \bar v_i)$ (dividing the spread of
    the scores by the count instead is wrong), and the bias is of order 1/M;
    `msr_unbiased` has none.

    Args:
      num_players: Number of players $n$, 2 at least.
      weights: Function from `weights`, or an array of $\log w(k)$.
      coalitions: Coalitions per step.

    Returns:
      An estimator for `run`; the unit is the coalition. A player that was never inside,
      or never outside, of a coalition has no value yet (NaN).

    Example:
      >>> import jax
      >>> from jaxval.semivalues import run, stopping
      >>> game = Game(4, lambda mask: mask.sum() * 2.0)
      >>> out = run(jax.random.key(0), msr(4), game, until=stopping.units(4096))
      >>> bool((abs(out.values - 2) < 5 * out.stderr).all())
      True

    References:
      Wang and Jia, *Data Banzhaf*, AISTATS 2023, section 5.
    """
    check(coalitions >= 1, f"coalitions must be at least 1; got {coalitions}.")
    log_weights = _weights.resolve(weights, num_players)
    share = _weights.size_distribution(log_weights)
    plan = _coalitions.design(share)
    sampler = Sampler(coalitions)
    return Estimator(
        settings=f"msr({num_players}, coalitions={coalitions}, "
        f"shares={_weights.digest(share)})",
        unit="coalition",
        init=_Init(num_players),
        sample=Partial(sampler, plan.sizes),
        fold=Partial(_fold, plan),
        estimate=Partial(_estimate, plan),
        covariance=_no_covariance,
        merge=_merge,
        num_evaluations=_num_evaluations,
        max_evaluations=coalitions,
        shorten=Partial(_coalitions.Shorten(sampler), plan.sizes),
        log_weights=log_weights,
    )


def msr_unbiased(
    num_players: int,
    weights: _weights.Weights = _weights.banzhaf,
    *,
    coalitions: int = 16,
) -> Estimator:
    r"""Maximum sample reuse without the ratios: unbiased, at a larger variance.

    The unit is $a_S \mathbb 1[i \in S](v(S) - c) - b_S \mathbb 1[i \notin S](v(S) - c)$
    with the constant $c = (v(\emptyset) + v(N))/2$, which costs no bias since the
    coefficients of each player sum to 0, and takes the offset of the scores out of the
    variance. Arguments as in `msr`.

    Example:
      >>> msr_unbiased(4, coalitions=32).unit
      'coalition'

    References:
      Wang and Jia, *Data Banzhaf*, AISTATS 2023, section 5.
    """
    check(coalitions >= 1, f"coalitions must be at least 1; got {coalitions}.")
    log_weights = _weights.resolve(weights, num_players)
    share = _weights.size_distribution(log_weights)
    plan = _coalitions.design(share)
    settings = f"sample_reuse.msr_unbiased({num_players}, coalitions={coalitions}, "
    settings += f"shares={_weights.digest(share)})"
    sampler = _UnbiasedUnits(Sampler(coalitions))
    return from_units(
        settings,
        "coalition",
        num_players,
        Partial(sampler, plan),
        max_evaluations=coalitions,
        log_weights=log_weights,
        shorten=Partial(_coalitions.Shorten(sampler), plan),
    )


@dataclasses.dataclass(frozen=True)
class _UnbiasedUnits:
    draw: Sampler

    @in_double
    def __call__(self, plan: Design, key: PRNGKey, game: Game, ends: Ends) -> Walk:
        members, scores = self.draw(plan.sizes, key, game, ends)
        inside, outside = _coalitions.coefficients(plan, members)
        middle = (ends.empty + ends.full) / 2
        fixed = plan.last * (ends.full - middle) - plan.first * (ends.empty - middle)
        # One unit per coalition: (m, n).
        units = fixed + (inside - outside) * (scores - middle)[:, None]
        return Walk(units, jnp.asarray(len(scores), jnp.int64))

    def shortened(self, num_evaluations: int) -> _UnbiasedUnits:
        return _UnbiasedUnits(self.draw.shortened(num_evaluations))


@dataclasses.dataclass(frozen=True)
class _Init:
    num_players: int

    @in_double
    def __call__(self, ends: Ends) -> State:
        zeros = Side(*(jnp.zeros(self.num_players) for _ in Side._fields))
        count = jnp.zeros((), jnp.int64)
        return State(zeros, zeros, count, _estimator.as_endpoints(ends))


@in_double
def _fold(plan: Design, state: State, sample: ScoredCoalitions) -> State:
    inside, outside = _coalitions.coefficients(plan, sample.members)
    # Sums of squares are of scores less a constant, lest they cancel.
    v = sample.scores - state.ends.full

    def add(side: Side, a: Float[Array, "m n"]) -> Side:
        sums = (a.sum(0), v @ a, (a**2).sum(0), v @ a**2, v**2 @ a**2)
        return Side(*(old + new for old, new in zip(side, sums, strict=True)))

    return State(
        add(state.inside, inside),
        add(state.outside, outside),
        state.count + len(v),
        state.ends,
    )


@in_double
def _estimate(plan: Design, state: State) -> ValueEstimate:
    last, first = plan.last, plan.first
    mean_in, noise_in = _ratio(state.inside, state.count)
    mean_out, noise_out = _ratio(state.outside, state.count)
    # Scores are counted from v(N), so that the grand coalition adds nothing.
    empty = state.ends.empty - state.ends.full
    values = (1 - last) * mean_in - first * empty - (1 - first) * mean_out
    # A coalition is on one side of a player, so the two noises have no product term.
    variance = (1 - last) ** 2 * noise_in + (1 - first) ** 2 * noise_out
    counts = jnp.full(values.shape, state.count)
    # A player that was never inside, or never outside, has no value yet.
    seen = (state.inside.weight > 0) & (state.outside.weight > 0)
    return ValueEstimate(
        values=values,
        stderr=jnp.sqrt(variance),
        counts=counts,
        degrees=jnp.where(seen, counts - 1, -1),
    )


def _num_evaluations(state: State) -> Int[Array, ""]:
    return state.count


def _no_covariance(state: State) -> None:
    """Not kept: it would take the squares of all pairs of coefficients."""


def _ratio(side: Side, count: Int[Array, ""]) -> tuple[Array, Array]:
    total = jnp.where(side.weight > 0, side.weight, 1.0)
    mean = side.score / total
    residual2 = side.score2 - 2 * mean * side.cross + mean**2 * side.weight2
    correction = count / jnp.maximum(count - 1, 1)
    return mean, jnp.maximum(residual2, 0.0) / total**2 * correction


@in_double
def _merge(a: State, b: State) -> State:
    add = lambda x, y: Side(*(p + q for p, q in zip(x, y, strict=True)))
    return State(
        add(a.inside, b.inside), add(a.outside, b.outside), a.count + b.count, a.ends
    )
