"""Utilities of embedded points, ready for `fit`: any game of points will do as well."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from jaxval._checks import positive
from jaxval.coalitions.game import Game
from jaxval.distributional import utilities as point_utilities
from jaxval.distributional.point_scores import PointScores
from jaxval.ecoval.fitted import Utility
from jaxval.games import kernel_regression, linear_models
from jaxval.games.kernel_regression import negative_squared_error
from jaxval.training.losses import accuracy
from jaxval.types import AnyArray, Dataset, Points

__all__ = ["ClosedForm", "closed_form", "logistic"]

MetricFn = Callable[[Array, Array], Array]
"""Outputs and targets of the validation rows to one score."""


_ROWS_AT_ONCE = 50_000
"""Rows of all coalitions that are fitted at once.

Fits at once wait for the slowest of them, and their logits should stay in the cache.
"""


def logistic(
    valid: Points, *, penalty: float = 1.0, tolerance: float = 1e-4
) -> Utility:
    """Validation accuracy of logistic regression, as in Data Shapley.

    Args:
      valid: Embedded validation points and their classes.
      penalty: Multiplier of half the squared norm of the weights.
      tolerance: Tolerance of the solver.

    Returns:
      A utility for `fit`: each evaluation is a training run.

    Example:
      >>> x, y = np.array([[-2.0], [-1.0], [1.0], [2.0]]), np.array([0, 0, 1, 1])
      >>> logistic(Points(x, y))(x, y).num_players
      4

    References:
      Ghorbani and Zou, *Data Shapley*, ICML 2019.
    """
    return _Logistic(valid, penalty, tolerance)


@dataclasses.dataclass(frozen=True, eq=False)
class _Logistic:
    """Accuracy of logistic regression on validation points; see `logistic`."""

    valid: Points
    penalty: float
    tolerance: float

    def __call__(self, x: Num[AnyArray, "n d"], y: Num[AnyArray, "n ..."]) -> Game:
        """The game whose players are the points."""
        return linear_models.logistic(
            Dataset(np.asarray(x), np.asarray(y), np.arange(len(x))),
            self.valid,
            penalty=self.penalty,
            tolerance=self.tolerance,
            batch_size=max(1, _ROWS_AT_ONCE // len(x)),
        )


def closed_form(
    valid: Points,
    num_classes: int | None = None,
    *,
    penalty: float = 1.0,
    metric: MetricFn | None = None,
) -> "ClosedForm":
    r"""Ridge regression on the embedding (with a constant): EcoVal without training.

    All leave-cluster-out scores come from one factorisation.

    Args:
      valid: Embedded validation points and their targets.
      num_classes: Number of classes, whose indicators are the targets; real targets
        when left out.
      penalty: Multiplier of the squared norm of the weights, in units of the validation
        points' mean squared length.
      metric: Metric of the outputs; accuracy for classes and minus the mean squared
        error for real targets when left out.

    Returns:
      Pass `utility` and `cluster_game` to `fit`, with `counts_training_runs=False`.

    Raises:
      ValueError: if `penalty` is not positive.

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
    positive("penalty", penalty)
    if metric is None:
        by_class = num_classes is not None
        metric = accuracy if by_class else negative_squared_error
    return ClosedForm(valid, num_classes, penalty, metric)


@dataclasses.dataclass(frozen=True, eq=False)
class ClosedForm:
    """A utility that needs no training, of points and of clusters.

    Attributes:
      valid: Embedded validation points and their targets.
      num_classes: Number of classes; `None` for real targets.
      penalty: Multiplier of the squared norm, in units of the validation points' mean
        squared length.
      metric: Metric of the outputs.
    """

    valid: Points
    num_classes: int | None
    penalty: float
    metric: MetricFn

    def utility(self, x: Num[AnyArray, "n d"], y: Num[AnyArray, "n ..."]) -> Game:
        """The game whose players are points.

        Args:
          x: Embedded points.
          y: Targets of these points.
        """
        return self.cluster_game(Points(x, y), np.arange(len(x)), len(x))

    def cluster_game(
        self, points: Points, owner: Int[np.ndarray, " n"], count: int
    ) -> Game:
        """The game whose players are clusters, all left out by one factorisation.

        Args:
          points: Embedded points and their targets.
          owner: Cluster of each point, 0 to `count` - 1.
          count: Number of clusters.
        """
        x, x_valid = _with_constant(points.x), _with_constant(self.valid.x)
        return kernel_regression.kernel_regression(
            x @ x.T,
            x_valid @ x.T,
            self._targets(points.y),
            self._targets(self.valid.y),
            owner,
            penalty=self.penalty * float(np.mean(x_valid**2)),
            metric=self.metric,
        )

    def point_scores(self, pool: Points, points: Points) -> PointScores:
        """Scores of points beside sets of a pool, for Distributional Shapley values.

        Args:
          pool: Points that sets are drawn from.
          points: Points to be valued.
        """
        parts = [self._rows(part) for part in (pool, points, self.valid)]
        scale = float(np.mean(_with_constant(self.valid.x) ** 2))
        return point_utilities.ridge(
            *parts, penalty=self.penalty * scale, metric=self.metric
        )

    def empty_score(self) -> float:
        """The score of the empty coalition, which predicts 0."""
        outputs = jnp.asarray(self._rows(self.valid).y)
        return float(self.metric(jnp.zeros_like(outputs), outputs).mean())

    def _rows(self, part: Points):
        columns = self._targets(part.y).reshape(len(part.y), -1)
        return Points(_with_constant(part.x), columns)

    def _targets(self, y: Num[AnyArray, "n ..."]):
        if self.num_classes is None:
            return np.asarray(y, np.float64)
        return kernel_regression.one_hot(np.asarray(y), self.num_classes)


def _with_constant(x: Num[AnyArray, "n d"]) -> Float[np.ndarray, "n d+1"]:
    x = np.asarray(x, np.float64)
    return np.column_stack([x, np.ones(len(x))])
