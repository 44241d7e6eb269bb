r"""Nearest-neighbour games and their exact Shapley values.

With the training rows sorted by distance to a validation row, the utility of a
coalition depends on its few nearest members, and a recursion from the far end to the
near one gives every point's Shapley value at the price of a sort.

References:
  Jia et al., *Efficient task-specific data valuation for nearest neighbor algorithms*,
  VLDB 2019; Wang, Zhu and Jia, *Threshold KNN-Shapley*, NeurIPS 2023 (the closed form
  here is derived from the game below); Wang and Jia, *A note on "Efficient
  task-specific data valuation"*, 2023 (soft labels).
"""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int, Num

from jaxval._checks import check, finite, groups, positive, same_length
from jaxval.coalitions.game import Game
from jaxval.execution.memory import rows_that_fit
from jaxval.execution.precision import double, float64, in_double

__all__ = [
    "knn",
    "knn_shapley",
    "pairwise_distances",
    "threshold_knn",
    "threshold_knn_shapley",
]

Kind = Literal["classification", "soft", "regression"]
Distances = Float[Array, "v n"] | Float[np.ndarray, "v n"]


class _Neighbours(NamedTuple):
    gains: Float[Array, "v n"]
    y_valid: Float[Array, " v"]
    owner: Int[Array, "v n"]
    near: Bool[Array, "v n"]


def pairwise_distances(
    x_valid: Float[Array, "v ..."] | Float[np.ndarray, "v ..."],
    x: Float[Array, "n ..."] | Float[np.ndarray, "n ..."],
) -> Float[np.ndarray, "v n"]:
    r"""Euclidean distances of every validation row to every training row.

    Any other dissimilarity does: under a tangent kernel $\Theta$ the squared distance
    is $\Theta_{ii} + \Theta_{jj} - 2\Theta_{ij}$.
    """
    a, b = (np.asarray(z, np.float64).reshape(len(z), -1) for z in (x_valid, x))
    a, b = a - b.mean(axis=0), b - b.mean(axis=0)
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T
    return np.sqrt(np.maximum(squares, 0))


def knn(
    distances: Distances,
    y: Num[Array, " n"] | Num[np.ndarray, " n"],
    y_valid: Num[Array, " v"] | Num[np.ndarray, " v"],
    owner: Int[Array, " n"] | Int[np.ndarray, " n"] | None = None,
    *,
    k: int,
    kind: Kind = "classification",
) -> Game:
    r"""How well the $k$ nearest members of a coalition predict the validation rows.

    - `"classification"`: $\frac1k \sum_{j \le \min(k, |S|)} 1[y_{(j)} = y]$;
    - `"soft"`: the same over $\min(k, |S|)$, a true share of votes;
    - `"regression"`: $-(\frac1k \sum_j y_{(j)} - y)^2$.

    Nobody scores what an empty sum gives: 0, 0 and $-y^2$.

    Args:
      distances: of validation rows (rows) to training rows (columns); ties go to the
        earlier row.
      y: classes or real numbers.
      y_valid: likewise.
      owner: who contributed each row; each row is a player when left out.
      k: neighbours.
      kind: which utility.

    Example:
      >>> game = knn(np.array([[1.0, 2.0]]), np.array([0, 1]), np.array([1]), k=1)
      >>> game.powerset_scores().tolist()
      [0.0, 0.0, 1.0, 0.0]
    """
    check(k >= 1, f"k must be at least 1; got {k}.")
    owner = np.arange(len(y)) if owner is None else np.asarray(owner)
    known = _sorted(distances, y, y_valid, owner, kind == "regression")
    score = Partial(_score(k, kind), known)
    return Game(groups("owner", owner), score, batch_size=_batch(known))


def knn_shapley(
    distances: Distances,
    y: Num[Array, " n"] | Num[np.ndarray, " n"],
    y_valid: Num[Array, " v"] | Num[np.ndarray, " v"],
    *,
    k: int,
    kind: Kind = "classification",
) -> Float[np.ndarray, " n"]:
    r"""Exact Shapley values of the points in the game `knn` (identity J).

    For classification, from the farthest point on,

    $$\phi_{(n)} = \frac{\min(k, n)}{n k} m_{(n)}, \qquad \phi_{(i)} = \phi_{(i+1)}
    + \frac{m_{(i)} - m_{(i+1)}}{k} \frac{\min(k, i)}{i},$$

    with $m$ the matches. The other two have longer differences of the same kind: a
    point's marginal depends on the others through how many of them are nearer.

    Args:
      distances: see `knn`.
      y: see `knn`.
      y_valid: see `knn`.
      k: neighbours.
      kind: see `knn`.

    Example:
      >>> knn_shapley(np.array([[1.0, 2.0]]), np.array([0, 1]), np.array([1]), k=1)
      array([-0.5,  0.5])
    """
    check(k >= 1, f"k must be at least 1; got {k}.")
    known = _sorted(distances, y, y_valid, np.arange(len(y)), kind == "regression")
    with double():
        each = _SHAPLEY[kind](known.gains, known.y_valid, k)
        return _scatter(each, known.owner, len(y))


def _sorted(distances, y, y_valid, owner, regression, radius=np.inf):
    distances = np.asarray(distances, np.float64)
    same_length(y=y, owner=owner)
    check(
        distances.shape == (len(y_valid), len(y)),
        f"distances must be (validation rows, training rows) = "
        f"{(len(y_valid), len(y))}; got {distances.shape}.",
    )
    finite("distances", distances)
    order = np.argsort(distances, axis=1, kind="stable")
    targets = np.asarray(y)[order]
    y_valid = np.asarray(y_valid)
    gains = targets if regression else targets == y_valid[:, None]
    return _Neighbours(
        float64(gains),
        float64(y_valid if regression else np.zeros(len(y_valid))),
        jnp.asarray(owner[order], jnp.int32),
        jnp.asarray(np.take_along_axis(distances, order, 1) <= radius),
    )


def _batch(known):
    return rows_that_fit(8 * known.gains.size)


@functools.cache
def _score(k: int, kind: Kind) -> Callable[..., Array]:
    @in_double
    def score(known, mask):
        inside = mask[known.owner].astype(jnp.float64)
        place = jnp.cumsum(inside, axis=1)
        chosen = inside * (place <= k)
        total = jnp.sum(chosen * known.gains, axis=1)
        if kind == "regression":
            return -jnp.mean((total / k - known.y_valid) ** 2)
        if kind == "soft":
            return jnp.mean(total / jnp.maximum(jnp.sum(chosen, axis=1), 1.0))
        return jnp.mean(total / k)

    return score


def _scatter(each, owner, n):
    values = np.zeros(n)
    np.add.at(values, np.asarray(owner), np.asarray(each))
    return values / len(each)


# In all three, exchanging neighbours i and i + 1 of the sorted list changes the utility
# only of coalitions with fewer than k members nearer than both. Let every other point
# join with probability U, U uniform on (0, 1): this is the Shapley weighting, and under
# it the number of members among m given points is uniform on 0..m.


def _classification(match, _, k):
    n = match.shape[1]
    place = jnp.arange(1, n)
    steps = (match[:, :-1] - match[:, 1:]) / k * (jnp.minimum(k, place) / place)[None]
    return _from_the_far_end(steps, match[:, -1] * min(k, n) / (n * k))


def _soft(match, _, k):
    n = match.shape[1]
    if n == 1:
        return match
    place, few = jnp.arange(1, n), min(k, n - 1)
    crowded = (jnp.minimum(k, place) / place * (n - 1) - few) / k
    weight = (_harmonic(few) + crowded) / (n - 1)
    steps = (match[:, :-1] - match[:, 1:]) * weight[None]
    own, others = match[:, -1], jnp.mean(match[:, :-1], axis=1)
    last = (own + (own - others) * (_harmonic(min(k, n)) - 1.0)) / n
    return _from_the_far_end(steps, last)


def _regression(target, y, k):
    n = target.shape[1]
    i = jnp.arange(1, n)
    chance = jnp.minimum(k, i) / i
    nearer, farther = _pair_weights(i, k), _far_weights(n, k)
    before = jnp.cumsum(target, axis=1)[:, :-1] - target[:, :-1]
    beyond = jnp.cumsum((target * farther[None])[:, ::-1], axis=1)[:, ::-1]
    beyond = jnp.pad(beyond[:, 2:], ((0, 0), (0, 1)))
    mine, next_ = target[:, :-1], target[:, 1:]
    inner = (mine + next_) / k * chance[None] - 2.0 * y[:, None] * chance[None]
    inner += 2.0 / k * (before * nearer[None] + beyond)
    last, j = target[:, -1], min(k, n) - 1
    company = jnp.sum(target[:, :-1], axis=1) / max(n - 1, 1) * j * (j + 1) / (2 * n)
    alone = (last / k - 2.0 * y) * min(k, n) / n
    return _from_the_far_end(
        -(mine - next_) / k * inner, -last / k * (alone + 2.0 / k * company)
    )


def _pair_weights(i, k):
    """Chance that a given point nearer than i is a member, with under k such."""
    j = jnp.minimum(k, i) - 1
    return j * (j + 1) / jnp.maximum(2 * i * (i - 1), 1)


def _far_weights(n, k):
    """Chance that the l-th point is among the k - 1 nearest of the other members."""
    l = jnp.arange(1, n + 1)
    j = jnp.maximum(jnp.minimum(k - 1, l - 2), 0)
    return j * (j + 1) / jnp.maximum(2 * (l - 2) * (l - 1), 1)


_SHAPLEY = {"classification": _classification, "soft": _soft, "regression": _regression}


def _harmonic(m):
    return jnp.sum(1.0 / jnp.arange(1, m + 1))


def _from_the_far_end(steps, last):
    steps = jnp.concatenate([steps, last[:, None]], axis=1)
    return jnp.cumsum(steps[:, ::-1], axis=1)[:, ::-1]


def threshold_knn(
    distances: Distances,
    y: Num[Array, " n"] | Num[np.ndarray, " n"],
    y_valid: Num[Array, " v"] | Num[np.ndarray, " v"],
    owner: Int[Array, " n"] | Int[np.ndarray, " n"] | None = None,
    *,
    radius: float,
    empty: float = 0.0,
) -> Game:
    r"""The share of right votes among a coalition's members within a radius.

    Args:
      distances: see `knn`.
      y: classes.
      y_valid: classes.
      owner: who contributed each row; each row is a player when left out.
      radius: neighbours are those at this distance or less.
      empty: the score of a validation row without a neighbour, such as 1/classes.
    """
    positive("radius", radius)
    owner = np.arange(len(y)) if owner is None else np.asarray(owner)
    known = _sorted(distances, y, y_valid, owner, False, radius)
    score = Partial(_threshold_score, (known, float64(empty)))
    return Game(groups("owner", owner), score, batch_size=_batch(known))


@in_double
def _threshold_score(parts, mask):
    known, empty = parts
    votes = (mask[known.owner] & known.near).astype(jnp.float64)
    count = jnp.sum(votes, axis=1)
    share = jnp.sum(votes * known.gains, axis=1) / jnp.maximum(count, 1.0)
    return jnp.mean(jnp.where(count > 0, share, empty))


def threshold_knn_shapley(
    distances: Distances,
    y: Num[Array, " n"] | Num[np.ndarray, " n"],
    y_valid: Num[Array, " v"] | Num[np.ndarray, " v"],
    *,
    radius: float,
    empty: float = 0.0,
) -> Float[np.ndarray, " n"]:
    r"""Exact Shapley values of the points in the game `threshold_knn`.

    Among the $m$ points within the radius of a validation row, with $\bar g_{-i}$ the
    mean match of the others and $h_m = \sum_{j \le m} 1/j$,

    $$\phi_i = \tfrac1m \bigl(g_i - v_\emptyset
    + (g_i - \bar g_{-i})(h_m - 1)\bigr).$$

    Args:
      distances: see `knn`.
      y: classes.
      y_valid: classes.
      radius: neighbours are those at this distance or less.
      empty: the score of a validation row without a neighbour.

    Example:
      >>> far = np.array([[1.0, 2.0, 9.0]])
      >>> threshold_knn_shapley(far, np.array([0, 1, 1]), np.array([1]), radius=3.0)
      array([-0.25,  0.75,  0.  ])
    """
    positive("radius", radius)
    known = _sorted(distances, y, y_valid, np.arange(len(y)), False, radius)
    near, match = np.asarray(known.near, float), np.asarray(known.gains)
    count = np.maximum(near.sum(axis=1, keepdims=True), 1)
    others = (near * match).sum(axis=1, keepdims=True) - match
    others = others / np.maximum(count - 1, 1)
    harmonic = np.cumsum(1.0 / np.arange(1, len(y) + 1))[count.astype(int) - 1]
    each = near / count * (match - empty + (match - others) * (harmonic - 1.0))
    return _scatter(each, known.owner, len(y))
