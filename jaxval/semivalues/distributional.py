r"""Distributional Shapley: the value of a point against the distribution it came from.

$$\nu(z) = \mathbb E_{k \sim \{1..m\}}\; \mathbb E_{S \sim \mathcal D^{k-1}}
\bigl[U(S \cup \{z\}) - U(S)\bigr].$$

$S$ is drawn with replacement from a pool that stands for $\mathcal D$, and one $S$
serves all points of an iteration: $1 + n$ scores each. Any point can be valued, in the
pool or not, and unseen points by a regression on the values of others
(`value_models`).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxval._checks import check
from jaxval.precision import double, float64, in_double
from jaxval.semivalues.estimator import Units, estimate, fold_units, no_units
from jaxval.semivalues.point_scores import PointScores
from jaxval.types import PRNGKey, ValueEstimate

__all__ = [
    "Distributional",
    "distributional_shapley",
    "run",
]


class Distributional(NamedTuple):
    """A streaming estimator of distributional Shapley values.

    Attributes:
      init: `init() -> state`, moments of no iterations.
      step: `step(key, state) -> state`, one iteration: $1 + n$ scores.
      estimate: `estimate(state) -> ValueEstimate`; the unit is one $S$.
    """

    init: Callable[[], Units]
    step: Callable[[PRNGKey, Units], Units]
    estimate: Callable[[Units], ValueEstimate]


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
      point_scores: the utility: see `jaxval.semivalues.point_scores`.
      num_pool: rows of the pool.
      num_points: points to be valued.
      max_size: $m$, the size of data set that the value is meant for.
      size_power: $\alpha$; above 0 small sets, which are cheap and tell most, come more
        often and weigh less. The expectation is the same.

    Raises:
      ValueError: if a number is not positive.

    Example:
      >>> from jaxval.semivalues.point_scores import from_counts
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
    weight = np.arange(1, max_size + 1, dtype=np.float64) ** -size_power
    chance = weight / weight.sum()

    # Draws have the same dtypes in single and in double precision.
    ladder = np.cumsum(chance)[:-1].astype(np.float32)
    factor = float64(1.0 / (max_size * chance))

    def step(key: PRNGKey, state: Units) -> Units:
        size_key, rows_key = jax.random.split(key)
        others = jnp.sum(jax.random.uniform(size_key, (), jnp.float32) >= ladder)
        rows = jax.random.randint(rows_key, (max_size,), 0, num_pool, jnp.int32)
        unit = _unit(point_scores(rows, others), others, factor)
        return fold_units(state, unit[None, :], 1 + num_points)

    return Distributional(lambda: no_units(num_points), step, estimate)


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

    Args:
      key: iteration i draws with `fold_in(key, i)`.
      estimator: from `distributional_shapley`.
      num_iterations: sets $S$ to draw, rounded up to a multiple of `every`.
      every: iterations in one compiled call.
      progress: called with (iterations done, in all).
    """
    check(num_iterations >= 1, f"num_iterations must be >= 1; got {num_iterations}.")
    every = min(every, num_iterations)

    @jax.jit
    def some(state, start):
        body = lambda i, state: estimator.step(jax.random.fold_in(key, i), state)
        return jax.lax.fori_loop(start, start + every, body, state)

    with double():
        state = estimator.init()
        for start in range(0, num_iterations, every):
            state = some(state, jnp.int32(start))
            if progress is not None:
                done = int(state.count)
                progress(min(done, num_iterations), num_iterations)
        out = ValueEstimate(*map(np.asarray, estimator.estimate(state)))
    check(
        bool(np.isfinite(out.values).all()),
        "the utility must be finite for every set that can be drawn; it is not.",
    )
    return out
