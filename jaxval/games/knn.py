r"""Nearest-neighbour games and their exact Shapley values.

With the training rows sorted by distance to a validation row, the utility of a
coalition depends on its few nearest members, and a recursion from the farthest point to
the nearest gives every point's Shapley value for the price of a sort.

References:
  Jia et al., *Efficient task-specific data valuation for nearest neighbor algorithms*,
  VLDB 2019; Wang, Zhu and Jia, *Threshold KNN-Shapley*, NeurIPS 2023 (the closed form
  here is derived from the game below); Wang and Jia, *A note on "Efficient
  task-specific data valuation"*, 2023 (soft labels).
"""

import dataclasses
from typing import Any, Literal, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Num

from jaxval import _checks
from jaxval._checks import check, positive
from jaxval._targets import owners
from jaxval.coalitions.game import Game
from jaxval.execution.precision import double, float64, in_double
from jaxval.games import knn_closed_forms
from jaxval.games._neighbours import mean_by_point, mean_game, num_targets, sort_rows
from jaxval.kernels import pairwise
from jaxval.types import AnyArray

__all__ = [
    "knn",
    "knn_shapley",
    "pairwise_distances",
    "threshold_knn",
    "threshold_knn_shapley",
]

Kind = Literal["classification", "soft", "regression"]


def pairwise_distances(
    x_valid: Num[AnyArray, "v ..."], x: Num[AnyArray, "n ..."]
) -> Float[np.ndarray, "v n"]:
    r"""Euclidean distances of every validation row to every training row.

    Any other dissimilarity does: under a tangent kernel $\Theta$ the squared distance
    is $\Theta_{ii} + \Theta_{jj} - 2\Theta_{ij}$.

    Args:
      x_valid: Validation inputs, one per row; flattened.
      x: Training inputs, one per row, with the same features.

    Returns:
      Distances in the units of the inputs, near and far (`pairwise.distances`).

    Raises:
      ValueError: If there is no validation row, the widths differ, or a number is not
        finite.

    Example:
      >>> pairwise_distances(np.array([[0.0]]), np.array([[3.0], [-1.0]])).tolist()
      [[3.0, 1.0]]
    """
    check(len(x_valid) > 0, "x_valid is empty: there is no validation row to score by.")
    return pairwise.distances(np.asarray(x_valid), np.asarray(x))


def knn(
    distances: Any,
    y: Any,
    y_valid: Any,
    owner: Any = None,
    *,
    k: int,
    kind: Kind = "classification",
) -> Game:
    r"""How well the $k$ nearest members of a coalition predict the validation rows.

    The mean over the validation rows of

    - `"classification"`: $\frac1k \sum_{j \le \min(k, |S|)} 1[y_{(j)} = y]$, the share
      of right votes among $k$;
    - `"soft"`: the same over $\min(k, |S|)$, the share of right votes among those cast;
    - `"regression"`: $-(\frac1k \sum_j y_{(j)} - y)^2$.

    A share of votes is not an accuracy: a row whose class wins by 3 votes of 5 scores
    0.6. The empty coalition scores what an empty sum gives: 0, 0 and the mean of
    $-y^2$. The game answers by validation row (`Game.rows`).

    Args:
      distances: Distances of validation rows (rows) to training rows (columns); ties go
        to the earlier column.
      y: Classes (whole numbers, one-hot or text) or real numbers of the training rows.
      y_valid: Classes or real numbers of the validation rows.
      owner: Owner of each training row; each row is a player when left out.
      k: Neighbours that vote.
      kind: Utility, one of the three above.

    Returns:
      A game in shares of votes, or in squared units of the targets.

    Raises:
      ValueError: If `k` is not a whole number, `kind` is none of the three, there are
        no validation rows, or a distance or target is not finite.

    Example:
      >>> game = knn(np.array([[1.0, 2.0]]), np.array([0, 1]), np.array([1]), k=1)
      >>> game.powerset_scores().tolist()
      [0.0, 0.0, 1.0, 0.0]

    References:
      Jia et al., VLDB 2019 (classification and regression); Wang and Jia, 2023 (soft).
    """
    k = _check_settings(k, kind)
    owner = np.arange(num_targets(y)) if owner is None else owners("owner", owner)
    neighbours = sort_rows(distances, y, y_valid, owner, kind == "regression")
    return mean_game(owner, _RowScores(k, kind), neighbours)


def knn_shapley(
    distances: Any,
    y: Any,
    y_valid: Any,
    *,
    k: int,
    kind: Kind = "classification",
) -> Float[np.ndarray, " n"]:
    r"""Exact Shapley values of the points in the game `knn` (identity J).

    For classification, from the farthest point on,

    $$\phi_{(n)} = \frac{\min(k, n)}{n k} m_{(n)}, \qquad \phi_{(i)} = \phi_{(i+1)}
    + \frac{m_{(i)} - m_{(i+1)}}{k} \frac{\min(k, i)}{i},$$

    with $m$ the matches. The other two have longer differences of the same kind: a
    point's marginal depends on the others through the number of them that are nearer.

    Args:
      distances: Distances of validation rows (rows) to training rows (columns); ties go
        to the earlier column.
      y: Classes (whole numbers, one-hot or text) or real numbers of the training rows.
      y_valid: Classes or real numbers of the validation rows.
      k: Neighbours that vote.
      kind: Utility; see `knn`.

    Returns:
      One value per training row, in the units of the game.

    Raises:
      ValueError: As `knn`.

    Example:
      >>> knn_shapley(np.array([[1.0, 2.0]]), np.array([0, 1]), np.array([1]), k=1)
      array([-0.5,  0.5])

    References:
      Jia et al., VLDB 2019, theorem 1 (classification); Wang and Jia, 2023 (soft).
    """
    k = _check_settings(k, kind)
    points = np.arange(num_targets(y))
    neighbours = sort_rows(distances, y, y_valid, points, kind == "regression")
    with double():
        closed_form = getattr(knn_closed_forms, kind)
        each = closed_form(neighbours.gains, neighbours.y_valid, k)
        return mean_by_point(each, neighbours.owner, len(y))


def _check_settings(k, kind):
    _checks.one_of("kind", kind, get_args(Kind))
    return _checks.whole_number("k", k)


@dataclasses.dataclass(frozen=True)
class _RowScores:
    """The score of each validation row under one coalition."""

    k: int
    kind: Kind

    def __call__(self, neighbours, mask):
        inside = mask[neighbours.owner].astype(jnp.float64)  # (v, n)
        # A member votes if at most k members are as near as itself.
        place = jnp.cumsum(inside, axis=1)
        chosen = inside * (place <= self.k)
        total = jnp.sum(chosen * neighbours.gains, axis=1)  # (v,)
        if self.kind == "regression":
            return -((total / self.k - neighbours.y_valid) ** 2)
        if self.kind == "soft":
            return total / jnp.maximum(jnp.sum(chosen, axis=1), 1.0)
        return total / self.k


def threshold_knn(
    distances: Any,
    y: Any,
    y_valid: Any,
    owner: Any = None,
    *,
    radius: float,
    empty_score: float = 0.0,
) -> Game:
    r"""The share of right votes among a coalition's members within a radius.

    The mean over the validation rows; a share of votes, not an accuracy. The game
    answers by validation row (`Game.rows`).

    Args:
      distances: Distances of validation rows (rows) to training rows (columns).
      y: Classes of the training rows.
      y_valid: Classes of the validation rows.
      owner: Owner of each training row; each row is a player when left out.
      radius: Largest distance of a neighbour, in the units of the distances.
      empty_score: Score of a validation row without a neighbour, such as 1/classes.

    Returns:
      A game in shares of votes.

    Raises:
      ValueError: If the radius is not positive, there are no validation rows, or a
        distance or target is not finite.

    Example:
      >>> distances = np.array([[1.0, 2.0, 9.0]])
      >>> y, y_valid = np.array([0, 1, 1]), np.array([1])
      >>> game = threshold_knn(distances, y, y_valid, radius=3.0)
      >>> float(game.score(jnp.array([True, True, True])))
      0.5

    References:
      Wang, Zhu and Jia, *Threshold KNN-Shapley*, NeurIPS 2023.
    """
    positive("radius", radius)
    owner = np.arange(num_targets(y)) if owner is None else owners("owner", owner)
    neighbours = sort_rows(distances, y, y_valid, owner, False, radius)
    return mean_game(owner, _threshold_scores, (neighbours, float64(empty_score)))


@in_double
def _threshold_scores(carried, mask):
    neighbours, empty_score = carried
    votes = (mask[neighbours.owner] & neighbours.near).astype(jnp.float64)  # (v, n)
    count = jnp.sum(votes, axis=1)
    share = jnp.sum(votes * neighbours.gains, axis=1) / jnp.maximum(count, 1.0)
    return jnp.where(count > 0, share, empty_score)


def threshold_knn_shapley(
    distances: Any,
    y: Any,
    y_valid: Any,
    *,
    radius: float,
    empty_score: float = 0.0,
) -> Float[np.ndarray, " n"]:
    r"""Exact Shapley values of the points in the game `threshold_knn`.

    Among the $m$ points within the radius of a validation row, with $\bar g_{-i}$ the
    mean match of the others and $h_m = \sum_{j \le m} 1/j$,

    $$\phi_i = \tfrac1m \bigl(g_i - v_\emptyset
    + (g_i - \bar g_{-i})(h_m - 1)\bigr).$$

    Args:
      distances: Distances of validation rows (rows) to training rows (columns).
      y: Classes of the training rows.
      y_valid: Classes of the validation rows.
      radius: Largest distance of a neighbour, in the units of the distances.
      empty_score: Score $v_\emptyset$ of a validation row without a neighbour.

    Returns:
      One value per training row, in shares of votes.

    Raises:
      ValueError: As `threshold_knn`.

    Example:
      >>> far = np.array([[1.0, 2.0, 9.0]])
      >>> threshold_knn_shapley(far, np.array([0, 1, 1]), np.array([1]), radius=3.0)
      array([-0.25,  0.75,  0.  ])

    References:
      Wang, Zhu and Jia, *Threshold KNN-Shapley*, NeurIPS 2023, for the game; the closed
      form is derived from it.
    """
    positive("radius", radius)
    neighbours = sort_rows(
        distances, y, y_valid, np.arange(num_targets(y)), False, radius
    )
    near, match = np.asarray(neighbours.near, float), np.asarray(neighbours.gains)
    count = np.maximum(near.sum(axis=1, keepdims=True), 1)  # (v, 1)
    others = (near * match).sum(axis=1, keepdims=True) - match
    others = others / np.maximum(count - 1, 1)  # (v, n)
    harmonic = np.cumsum(1.0 / np.arange(1, len(y) + 1))[count.astype(int) - 1]
    gain = match - empty_score + (match - others) * (harmonic - 1.0)
    return mean_by_point(near / count * gain, neighbours.owner, len(y))
