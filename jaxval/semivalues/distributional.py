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
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int

from jaxval._checks import check
from jaxval.precision import in_double
from jaxval.types import Game, PRNGKey, ValueEstimate

__all__ = [
    "DistributionalState",
    "PointScores",
    "distributional_shapley",
    "from_counts",
    "from_game",
    "with_class_rule",
]

PointScores = Callable[[Int[Array, " pool"]], Float[Array, " n+1"]]
"""$U(S)$ and then $U(S + z)$ of each point $z$ to be valued.

$S$ comes as how often it holds each row of the pool.
"""


class DistributionalState(NamedTuple):
    """Running sums over iterations.

    Attributes:
      count: iterations.
      mean: mean of the weighted marginals of each point.
      squares: sum of their squared deviations.
    """

    count: Int[Array, ""]
    mean: Float[Array, " n"]
    squares: Float[Array, " n"]


class Distributional(NamedTuple):
    """A streaming estimator of distributional Shapley values.

    Attributes:
      init: `init() -> state`.
      step: `step(key, state) -> state`, one iteration: $1 + n$ scores.
      estimate: `estimate(state) -> ValueEstimate`; the unit is one $S$.
    """

    init: Callable[[], DistributionalState]
    step: Callable[[PRNGKey, DistributionalState], DistributionalState]
    estimate: Callable[[DistributionalState], ValueEstimate]


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
      point_scores: the utility: see `from_counts`, `from_game`.
      num_pool: rows of the pool.
      num_points: points to be valued.
      max_size: $m$, the size of data set that the value is meant for.
      size_power: $\alpha$; above 0 small sets, which are cheap and tell most, come more
        often and weigh less. The expectation is the same.

    Raises:
      ValueError: if a number is not positive.

    Example:
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

    def init() -> DistributionalState:
        with jax.enable_x64(True):
            zeros = jnp.zeros(num_points, jnp.float64)
            return DistributionalState(jnp.zeros((), jnp.int32), zeros, zeros)

    @in_double
    def step(key: PRNGKey, state: DistributionalState) -> DistributionalState:
        size_key, rows_key = jax.random.split(key)
        k = 1 + jax.random.choice(size_key, max_size, p=jnp.asarray(chance))
        rows = jax.random.randint(rows_key, (max_size,), 0, num_pool, jnp.int32)
        counts = jnp.zeros(num_pool, jnp.int32)
        counts = counts.at[rows].add((jnp.arange(max_size) < k - 1).astype(jnp.int32))
        scores = point_scores(counts).astype(jnp.float64)
        # In full precision, since 1 / (m p_k) multiplies small differences.
        marginals = (scores[1:] - scores[0]) / (max_size * jnp.asarray(chance)[k - 1])
        return _fold(state, jnp.where(k == 1, 0.0, marginals))

    return Distributional(init, step, _estimate)


@in_double
def _fold(state: DistributionalState, row) -> DistributionalState:
    count = state.count + 1
    change = row - state.mean
    mean = state.mean + change / count
    return DistributionalState(count, mean, state.squares + change * (row - mean))


@in_double
def _estimate(state: DistributionalState) -> ValueEstimate:
    n = state.count
    variance = state.squares / jnp.maximum(n - 1, 1)
    stderr = jnp.where(n > 1, jnp.sqrt(variance / jnp.maximum(n, 1)), jnp.nan)
    return ValueEstimate(state.mean, stderr, jnp.broadcast_to(n, state.mean.shape))


def from_counts(
    score: Callable[[Int[Array, " total"]], Float[Array, ""]],
    num_pool: int,
    num_points: int,
    *,
    batch_size: int | None = None,
) -> PointScores:
    """Point scores from a utility of a multiset of rows.

    Args:
      score: of how often each row takes part: those of the pool, then the points.
      num_pool: rows of the pool.
      num_points: points to be valued.
      batch_size: points scored at once; all when left out.
    """
    return Partial(
        _score_each,
        Partial(score) if not isinstance(score, Partial) else score,
        num_pool=num_pool,
        num_points=num_points,
        batch_size=batch_size or num_points + 1,
    )


def from_game(
    game: Game, num_pool: int, *, batch_size: int | None = None
) -> PointScores:
    """Point scores from a game over the pool's rows followed by the points.

    A game knows who takes part and not how often, so a row that was drawn twice counts
    once; with $m$ far below the pool's size that hardly ever happens.

    Args:
      game: its first `num_pool` players are the pool.
      num_pool: rows of the pool.
      batch_size: points scored at once.
    """
    check(
        0 < num_pool < game.num_players,
        f"the game must have more players than the pool's {num_pool} rows, the points "
        f"to be valued behind them; it has {game.num_players}.",
    )
    score = Partial(_score_of_present, game)
    return from_counts(
        score, num_pool, game.num_players - num_pool, batch_size=batch_size
    )


def with_class_rule(
    point_scores: PointScores,
    pool_labels: Int[np.ndarray, " pool"],
    point_labels: Int[np.ndarray, " n"],
    empty_score: float,
) -> PointScores:
    r"""Data Shapley's rule for data that lack a class.

    $U(S)$ is the score of nobody where $S$ lacks a class, and a point that doesn't
    complete the classes changes nothing: only data with every class are trained on.

    Args:
      point_scores: the utility.
      pool_labels: class numbers of the pool.
      point_labels: class numbers of the points.
      empty_score: $U(\emptyset)$, the accuracy of the most frequent class.
    """
    pool_labels, point_labels = np.asarray(pool_labels), np.asarray(point_labels)
    classes = np.unique(np.concatenate([pool_labels, point_labels]))
    pool = jnp.asarray(pool_labels[:, None] == classes[None, :])
    points = jnp.asarray(point_labels[:, None] == classes[None, :])

    def ruled(counts):
        there = jnp.any(pool & (counts > 0)[:, None], axis=0)
        scores = point_scores(counts)
        base = jnp.where(there.all(), scores[0], empty_score)
        complete = jnp.all(there[None, :] | points, axis=1)
        return jnp.concatenate([base[None], jnp.where(complete, scores[1:], base)])

    return ruled


def _score_each(score, counts, *, num_pool, num_points, batch_size):
    row = jnp.concatenate([counts, jnp.zeros(num_points, counts.dtype)])
    # The first row adds nobody.
    extra = jnp.arange(num_points + 1) + num_pool - 1
    one = lambda place: score(row.at[place].add((place >= num_pool).astype(row.dtype)))
    if batch_size > num_points:
        return jax.vmap(one)(extra)
    return jax.lax.map(one, extra, batch_size=batch_size)


def _score_of_present(game, counts):
    return game.score(counts > 0)
