"""Utilities of embedded points, ready for `fit`: any game of points will do as well."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num

from jaxval._checks import positive
from jaxval.coalitions.game import Game
from jaxval.distributional import utilities as point_utilities
from jaxval.distributional.point_scores import PointScores
from jaxval.ecoval.pipeline import ClusterGame, Utility
from jaxval.games import kernel_regression
from jaxval.games import linear_models as convex
from jaxval.training.losses import accuracy
from jaxval.types import Dataset, Points

__all__ = ["ClosedForm", "closed_form", "logistic"]


_ROWS_AT_ONCE = 50_000
"""Rows of all coalitions that are fitted at once.

Fits at once wait for the slowest of them, and their logits should stay in the cache.
"""


def logistic(
    valid: Points, *, penalty: float = 1.0, tolerance: float = 1e-4
) -> Utility:
    """Validation accuracy of logistic regression, as in Data Shapley.

    Args:
      valid: embedded validation points and their classes.
      penalty: Multiplier of half the squared norm of the weights.
      tolerance: of the solver.

    Returns:
      A utility for `fit`: each score takes a training run.

    Example:
      >>> x, y = np.array([[-2.0], [-1.0], [1.0], [2.0]]), np.array([0, 0, 1, 1])
      >>> logistic(Points(x, y))(x, y).num_players
      4

    References:
      Ghorbani and Zou, *Data Shapley*, ICML 2019.
    """

    def utility(x, y) -> Game:
        data = Dataset(np.asarray(x), np.asarray(y), np.arange(len(x)))
        return convex.logistic(
            data,
            Points(valid.x, valid.y),
            penalty=penalty,
            tolerance=tolerance,
            batch_size=max(1, _ROWS_AT_ONCE // len(x)),
        )

    return utility


class ClosedForm(NamedTuple):
    """A utility that needs no training, of points and of clusters.

    Attributes:
      utility: of points.
      cluster_game: of clusters: all are left out at the price of one factorisation.
      point_scores: of a pool and points, for Distributional Shapley values.
    """

    utility: Utility
    cluster_game: ClusterGame
    point_scores: Callable[[Points, Points], PointScores]


def closed_form(
    valid: Points, num_classes: int | None = None, *, ridge: float = 1.0
) -> ClosedForm:
    """Ridge regression on the embedding (with a constant): EcoVal without training.

    Args:
      valid: embedded validation points and their targets.
      num_classes: classes, scored by accuracy; real targets, scored by minus the mean
        squared error, when left out.
      ridge: penalty on the weights, in units of the validation points' mean squared
        length.

    Returns:
      Pass `utility` and `cluster_game` to `fit`, with `trains=False`.

    Raises:
      ValueError: if `ridge` is not positive.

    Example:
      >>> import jax
      >>> x = np.array([[-2.0], [-1.0], [1.0], [2.0]])
      >>> closed = closed_form(Points(x, np.array([0, 0, 1, 1])), 2)
      >>> game = closed.utility(x, np.array([0, 0, 1, 1]))
      >>> float(game.score(jax.numpy.array([True, False, False, True])))
      1.0

    References:
      Ridge regression of indicators; all clusters are left out by one factorisation:
      see `games.kernel_regression`.
    """
    positive("ridge", ridge)
    x_valid = _with_constant(valid.x)
    penalty = ridge * float(np.mean(x_valid**2))
    metric = kernel_regression.negative_squared_error
    if num_classes is not None:
        metric = accuracy

    def targets(y: Num[np.ndarray, "n ..."]):
        if num_classes is None:
            return np.asarray(y, np.float64)
        return kernel_regression.one_hot(np.asarray(y), num_classes)

    columns = lambda y: targets(y).reshape(len(y), -1)

    def cluster_game(points: Points, owner: Int[np.ndarray, " n"], count: int) -> Game:
        x = _with_constant(points.x)
        return kernel_regression.kernel_regression(
            x @ x.T,
            x_valid @ x.T,
            targets(points.y),
            targets(valid.y),
            owner,
            penalty=penalty,
            metric=metric,
        )

    def utility(x, y) -> Game:
        return cluster_game(Points(x, y), np.arange(len(x)), len(x))

    rows = lambda part: Points(_with_constant(part.x), columns(part.y))

    def scores(pool: Points, points: Points) -> PointScores:
        three = map(rows, (pool, points, valid))
        return point_utilities.ridge(*three, penalty=penalty, metric=metric)

    return ClosedForm(utility, cluster_game, scores)


def _with_constant(x: Num[np.ndarray, "n d"]) -> Float[np.ndarray, "n d+1"]:
    x = np.asarray(x, np.float64)
    return np.column_stack([x, np.ones(len(x))])
