r"""Distributional Shapley: the value of a point against the distribution it came from.

$$\nu(z) = \mathbb E_{k \sim \{1..m\}}\; \mathbb E_{S \sim \mathcal D^{k-1}}
\bigl[U(S \cup \{z\}) - U(S)\bigr].$$

$S$ is drawn with replacement from a pool that stands for $\mathcal D$, and one $S$
serves all points of an iteration: $1 + n$ evaluations each. Any point can be valued, in
the pool or not, and unseen points by a regression on the values of others
(`regressions`). The estimator is one of `semivalues.run`, with its checkpoints and
stopping rules; point scores stand for the game, and the points for its players.
"""

import dataclasses
import math
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, UInt

from jaxval._checks import check
from jaxval.distributional.point_scores import PointScores
from jaxval.execution.precision import float64, in_double
from jaxval.semivalues import stopping
from jaxval.semivalues.estimator import (
    Estimator,
    RunningMoments,
    covariance,
    estimate,
    init_moments,
    merge_moments,
    update_moments,
)
from jaxval.types import PRNGKey

__all__ = ["distributional_shapley", "efficiency", "iterations"]

# Sizes are drawn by comparing this many random bits: all whole numbers up to 2**_BITS
# are float64 numbers too.
_BITS = 53
_ENOUGH = 30


class _Sizes(NamedTuple):
    edges: UInt[Array, " edges"]  # of the drawn bits, between one size and the next
    factor: Float[Array, " sizes"]  # 1 / (m p_k)


def distributional_shapley(
    num_pool: int, num_points: int, max_size: int, *, size_power: float = 0.0
) -> Estimator:
    r"""The estimator of Ghorbani, Kim and Zou, with their importance weights.

    Each step draws $k$ with $p_k \propto k^{-\alpha}$ from $1..m$ and $S$ of $k-1$ rows
    of the pool with replacement; its unit is $(U(S+z) - U(S)) / (m\,p_k)$ for every
    $z$. With $k = 1$ the marginals are taken as 0, as in the authors' code.

    Args:
      num_pool: Rows of the pool.
      num_points: Points to be valued.
      max_size: Size $m$ of data set that the value is meant for.
      size_power: $\alpha$; above 0 small sets, which are cheap and tell most, come more
        often and weigh less. The expectation is the same, the spread need not be: large
        sets are rare and weigh much, and standard errors can't know of those that have
        not come yet. See `efficiency`; `iterations` warns where too few count.

    Returns:
      An estimator for `semivalues.run`, whose game is the `PointScores` of that pool
      and those points, and which draws its step $i$ with `fold_in(key, i)`.

    Raises:
      ValueError: If a number is not positive, or `size_power` is so large that some
        sizes would never come. Sampling raises it for point scores of another pool.

    Example:
      >>> from jaxval import semivalues
      >>> from jaxval.distributional.point_scores import from_counts
      >>> scores = from_counts(lambda counts: counts.sum() * 1.0, 3, num_points=2)
      >>> method = distributional_shapley(3, 2, max_size=4)
      >>> rule = iterations(400, num_points=2, max_size=4)
      >>> out = semivalues.run(jax.random.key(0), method, scores, until=rule)
      >>> bool((abs(out.values - 3 / 4) < 5 * out.stderr).all())
      True

    References:
      Ghorbani, Kim and Zou, *A Distributional Framework for Data Valuation*, ICML 2020,
      algorithm 1.
    """
    numbers = {"num_pool": num_pool, "num_points": num_points, "max_size": max_size}
    for name, number in numbers.items():
        check(number >= 1, f"{name} must be at least 1; got {number}.")
    sizes, _ = _sizes(max_size, size_power)
    return Estimator(
        settings=f"distributional({num_pool}, {num_points}, max_size={max_size}, "
        f"size_power={size_power})",
        unit="drawn sets",
        init=_Init(num_points),
        sample=Partial(_Draw(num_pool), sizes),
        fold=_fold,
        estimate=estimate,
        covariance=covariance,
        merge=merge_moments,
        num_evaluations=_Evaluations(1 + num_points),
        has_endpoints=False,
        max_evaluations=1 + num_points,
    )


def efficiency(max_size: int, size_power: float = 0.0) -> float:
    r"""How many evenly weighted iterations one iteration is worth.

    $m^2 / \sum_k p_k^{-1}$: 1 without importance weights.

    Args:
      max_size: Size $m$ of the data set.
      size_power: Power $\alpha$ of `distributional_shapley`.

    Raises:
      ValueError: If `max_size` is not positive, or `size_power` too large for it.

    Example:
      >>> round(efficiency(100), 3), round(efficiency(100, 1.0), 3)
      (1.0, 0.382)
    """
    check(max_size >= 1, f"max_size must be at least 1; got {max_size}.")
    return _sizes(max_size, size_power)[1]


def iterations(
    num_iterations: int, num_points: int, max_size: int, size_power: float = 0.0
) -> stopping.Rule:
    r"""Stopping rule: after `num_iterations` drawn sets, $1 + n$ evaluations each.

    Args:
      num_iterations: Sets $S$ to draw.
      num_points: Points to be valued, $n$.
      max_size: Size $m$ of the estimator.
      size_power: Power $\alpha$ of the estimator.

    Raises:
      ValueError: If a number is not positive.

    Warns:
      UserWarning: If importance weights leave so few effective iterations that values
        and standard errors can't be trusted.

    Example:
      >>> from jaxval.types import ValueEstimate
      >>> rule = iterations(10, num_points=2, max_size=5)
      >>> unknown = ValueEstimate(*np.ones((3, 2)))
      >>> rule(stopping.Status(estimate=unknown, num_evaluations=30))
      True
    """
    check(num_iterations >= 1, f"num_iterations must be >= 1; got {num_iterations}.")
    check(num_points >= 1, f"num_points must be at least 1; got {num_points}.")
    share = efficiency(max_size, size_power)
    if share * num_iterations < min(_ENOUGH, num_iterations / 2):
        needed = math.ceil(_ENOUGH / share)
        warnings.warn(
            f"with these importance weights {num_iterations} iterations count as "
            f"{share * num_iterations:.2g}: values and standard errors miss the rare "
            f"large sets. Lower size_power, or draw at least {needed}.",
            stacklevel=2,
        )
    return stopping.budget(num_iterations * (1 + num_points))


@in_double
def _sizes(max_size: int, size_power: float) -> tuple[_Sizes, float]:
    check(size_power >= 0, f"size_power must not be negative; got {size_power}.")
    weight = np.arange(1, max_size + 1, dtype=np.float64) ** -size_power
    total = np.cumsum(weight)
    edges = np.round(total / total[-1] * 2.0**_BITS)
    # What is really drawn, not what was meant: the weights must match it.
    chance = np.diff(edges, prepend=0.0) / 2.0**_BITS
    check(
        bool((chance > 0).all()),
        f"size_power={size_power} is too large for sizes up to {max_size}: the largest "
        "would never be drawn. Lower it, or max_size.",
    )
    factor = 1.0 / (max_size * chance)
    sizes = _Sizes(jnp.asarray(edges[:-1].astype(np.uint64)), float64(factor))
    return sizes, min(1.0, float(1.0 / np.mean(factor)))


@dataclasses.dataclass(frozen=True)
class _Init:
    # Equal settings are equal functions, and so one compiled program.
    num_points: int

    def __call__(self, ends: Any) -> RunningMoments:
        return init_moments(self.num_points)


@dataclasses.dataclass(frozen=True)
class _Draw:
    """One unit: the weighted marginals of all points at one set."""

    num_pool: int

    def __call__(self, sizes: _Sizes, key: PRNGKey, scores: PointScores, ends: Any):
        check(
            scores.num_pool == self.num_pool,
            f"point scores are of a pool of {scores.num_pool} rows; the estimator was "
            f"made for {self.num_pool}.",
        )
        size_key, rows_key = jax.random.split(key)
        others = _draw_size(size_key, sizes.edges)
        shape = sizes.factor.shape
        rows = jax.random.randint(rows_key, shape, 0, self.num_pool, jnp.int32)
        return _unit(scores(rows, others), others, sizes.factor)


@dataclasses.dataclass(frozen=True)
class _Evaluations:
    each: int

    def __call__(self, state: RunningMoments):
        return state.count * self.each


def _fold(state: RunningMoments, unit: Float[Array, " n"]) -> RunningMoments:
    return update_moments(state, unit[None, :], 1 + len(unit))


@in_double
def _draw_size(key, edges):
    bits = jax.random.bits(key, (), jnp.uint64) >> (64 - _BITS)
    return jnp.searchsorted(edges, bits, side="right").astype(jnp.int32)


@in_double
def _unit(scores, others, factor):
    # In full precision, since 1 / (m p_k) multiplies small differences.
    scores = scores.astype(jnp.float64)
    return jnp.where(others == 0, 0.0, (scores[1:] - scores[0]) * factor[others])
