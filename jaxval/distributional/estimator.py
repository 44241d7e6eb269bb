r"""Distributional Shapley: the value of a point against the distribution it came from.

$$\nu(z) = \mathbb E_{k \sim \{1..m\}}\; \mathbb E_{S \sim \mathcal D^{k-1}}
\bigl[U(S \cup \{z\}) - U(S)\bigr].$$

$S$ is drawn with replacement from a pool that stands for $\mathcal D$, and one $S$
serves all points of an iteration: $1 + n$ scores each. Any point can be valued, in the
pool or not, and unseen points by a regression on the values of others
(`value_models`).
"""

import dataclasses
import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, UInt

from jaxval._checks import check
from jaxval.distributional import utilities as _point_scores
from jaxval.distributional.utilities import PointScores
from jaxval.execution.precision import double, float64, in_double
from jaxval.semivalues.estimator import (
    RunningMoments,
    estimate,
    init_moments,
    to_numpy,
    update_moments,
)
from jaxval.types import PRNGKey, ValueEstimate

__all__ = ["Distributional", "distributional_shapley", "run"]

# Sizes are drawn by comparing so many random bits: all whole numbers up to 2**_BITS are
# float64 numbers too.
_BITS = 53
_ENOUGH = 30


class Distributional(NamedTuple):
    r"""A streaming estimator of distributional Shapley values.

    Attributes:
      init: `init() -> state`, moments of no iterations.
      step: `step(key, state) -> state`, one iteration: $1 + n$ scores.
      estimate: `estimate(state) -> ValueEstimate`; the unit is one $S$.
      efficiency: how many evenly weighted iterations one iteration is worth, 1 without
        importance weights: $m^2 / \sum_k p_k^{-1}$.
    """

    init: Callable[[], RunningMoments]
    step: Callable[[PRNGKey, RunningMoments], RunningMoments]
    estimate: Callable[[RunningMoments], ValueEstimate]
    efficiency: float = 1.0


class _Sizes(NamedTuple):
    edges: UInt[Array, " edges"]  # of the drawn bits, between one size and the next
    factor: Float[Array, " sizes"]  # 1 / (m p_k)


def distributional_shapley(
    point_scores: PointScores,
    num_pool: int,
    num_points: int,
    max_size: int,
    *,
    size_power: float = 0.0,
) -> Distributional:
    r"""The estimator of Ghorbani, Kim and Zou, with their importance weights.

    Each iteration draws $k$ with $p_k \propto k^{-\alpha}$ from $1..m$ and $S$ of $k-1$
    rows of the pool with replacement, and adds $(U(S+z) - U(S)) / (m\,p_k)$ for every
    $z$. With $k = 1$ the marginals are taken as 0, as in the authors' code.

    Args:
      point_scores: the utility: see `jaxval.distributional.utilities`.
      num_pool: rows of the pool.
      num_points: points to be valued.
      max_size: $m$, the size of data set that the value is meant for.
      size_power: $\alpha$; above 0 small sets, which are cheap and tell most, come more
        often and weigh less. The expectation is the same, the spread need not be: large
        sets are rare and weigh much, and standard errors can't know of those that have
        not come yet. See `Distributional.efficiency`: `run` warns where too few count.

    Raises:
      ValueError: if a number is not positive, `point_scores` is of another pool or of
        other points, or `size_power` is so large that some sizes would never come.

    Example:
      >>> from jaxval.distributional.utilities import from_counts
      >>> worth = lambda counts: jnp.sqrt(counts.sum() * 1.0)
      >>> scores = from_counts(worth, num_pool=3, num_points=2)
      >>> estimator = distributional_shapley(scores, 3, 2, max_size=1)
      >>> state = estimator.step(jax.random.key(0), estimator.init())
      >>> estimator.estimate(state).values.tolist()
      [0.0, 0.0]

    References:
      Ghorbani, Kim and Zou, *A Distributional Framework for Data Valuation*, ICML 2020.
    """
    for name, number in (
        ("num_pool", num_pool),
        ("num_points", num_points),
        ("max_size", max_size),
    ):
        check(number >= 1, f"{name} must be at least 1; got {number}.")
    check(size_power >= 0, f"size_power must not be negative; got {size_power}.")
    _check_points(point_scores, num_pool, num_points)
    sizes, efficiency = _sizes(max_size, size_power)
    scores = (
        point_scores if isinstance(point_scores, Partial) else Partial(point_scores)
    )
    step = Partial(_Step(num_pool), scores, sizes)
    return Distributional(_Init(num_points), step, estimate, efficiency)


@in_double
def _sizes(max_size: int, size_power: float) -> tuple[_Sizes, float]:
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


def _check_points(point_scores, num_pool, num_points):
    known = _point_scores.sizes(point_scores)
    if known is not None:
        check(
            known == (num_pool, num_points),
            f"point_scores are of a pool of {known[0]} rows and {known[1]} points; got "
            f"num_pool={num_pool} and num_points={num_points}.",
        )


@dataclasses.dataclass(frozen=True)
class _Init:
    """Equal settings are equal functions, and so one compiled program."""

    num_points: int

    def __call__(self) -> RunningMoments:
        return init_moments(self.num_points)


@dataclasses.dataclass(frozen=True)
class _Step:
    num_pool: int

    def __call__(
        self, point_scores, sizes: _Sizes, key: PRNGKey, state: RunningMoments
    ):
        size_key, rows_key = jax.random.split(key)
        others = _draw_size(size_key, sizes.edges)
        shape = sizes.factor.shape
        rows = jax.random.randint(rows_key, shape, 0, self.num_pool, jnp.int32)
        unit = _unit(point_scores(rows, others), others, sizes.factor)
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


def run(
    key: PRNGKey,
    estimator: Distributional,
    num_iterations: int,
    *,
    every: int = 10,
    progress: Callable[[int, int], None] | None = None,
) -> ValueEstimate:
    """Iterate and return NumPy arrays.

    Point scores made by `distributional.utilities` are compiled once for all data
    of their shapes.

    Args:
      key: iteration i draws with `fold_in(key, i)`.
      estimator: from `distributional_shapley`.
      num_iterations: sets $S$ to draw.
      every: iterations between two calls of `progress`.
      progress: called with (iterations done, in all).

    Raises:
      ValueError: if the utility of a set that was drawn is not finite.

    Warns:
      UserWarning: if importance weights leave so few effective iterations that values
        and standard errors can't be trusted.

    Example:
      >>> from jaxval.distributional.utilities import from_counts
      >>> worth = lambda counts: counts.sum() * 1.0
      >>> scores = from_counts(worth, num_pool=3, num_points=2)
      >>> estimator = distributional_shapley(scores, 3, 2, max_size=4)
      >>> out = run(jax.random.key(0), estimator, 400)
      >>> bool((abs(out.values - 3 / 4) < 5 * out.stderr).all())
      True

    References:
      Ghorbani, Kim and Zou, *A Distributional Framework for Data Valuation*, ICML 2020,
      algorithm 1.
    """
    check(num_iterations >= 1, f"num_iterations must be >= 1; got {num_iterations}.")
    check(every >= 1, f"every must be at least 1; got {every}.")
    _warn_of_weights(estimator.efficiency, num_iterations)
    step = (
        estimator.step
        if isinstance(estimator.step, Partial)
        else Partial(estimator.step)
    )
    with double():
        state = estimator.init()
        for start in range(0, num_iterations, every):
            stop = min(start + every, num_iterations)
            state = _iterate(step, key, state, jnp.int32(start), jnp.int32(stop))
            if progress is not None:
                jax.block_until_ready(state)
                progress(stop, num_iterations)
        out = to_numpy(estimator.estimate(state))
    check(
        bool(np.isfinite(out.values).all()),
        "the utility must be finite for every set that can be drawn; it is not. Define "
        "it for every set; a solver in it must converge.",
    )
    return out


@jax.jit
def _iterate(step, key, state, start, stop):
    body = lambda i, state: step(jax.random.fold_in(key, i), state)
    return jax.lax.fori_loop(start, stop, body, state)


def _warn_of_weights(efficiency, num_iterations):
    if efficiency * num_iterations < min(_ENOUGH, num_iterations / 2):
        needed = math.ceil(_ENOUGH / efficiency)
        warnings.warn(
            f"with these importance weights {num_iterations} iterations count as "
            f"{efficiency * num_iterations:.2g}: values and standard errors miss the "
            f"rare large sets. Lower size_power, or draw at least {needed}.",
            stacklevel=3,
        )
