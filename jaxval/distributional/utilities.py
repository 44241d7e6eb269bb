r"""Point scores of models, for a set $S$ and each $S + z$: logistic regression, ridge.

What Distributional Shapley asks for: see `distributional.point_scores`.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jaxval import linear_models
from jaxval._checks import check, positive, same_features, same_length
from jaxval._targets import class_targets, numbers, real_targets
from jaxval.distributional.fits import (
    LogisticArrays,
    RidgeArrays,
    logistic_scores,
    ridge_scores,
)
from jaxval.distributional.point_scores import PointScores, with_class_rule
from jaxval.execution.precision import float64, in_double
from jaxval.training.losses import MetricFn
from jaxval.types import Points

__all__ = ["data_shapley", "logistic", "ridge"]


def data_shapley(
    pool: Points, points: Points, valid: Points, *, batch_size: int | None = None
) -> PointScores:
    r"""The utility of Data Shapley and of Distributional Shapley, with its own rules.

    Accuracy of logistic regression; sets that lack a class score as the empty set does,
    the share of the commonest class of the validation data.

    Args:
      pool: Inputs and classes that $S$ is drawn from.
      points: Inputs and classes to be valued.
      valid: Inputs and classes to score with.
      batch_size: Points fitted at once, as in `logistic`.

    Raises:
      ValueError: If the data don't fit together, as in `logistic`.

    Example:
      >>> x, y = np.array([[0.0], [1.0], [0.2], [0.9]]), np.array([0, 1, 0, 1])
      >>> all_points = Points(x, y)
      >>> data_shapley(all_points, Points(x[3:], y[3:]), all_points).num_pool
      4

    References:
      Ghorbani, Kim and Zou, *A Distributional Framework for Data Valuation*, ICML 2020,
      and its released code.
    """
    (pool, points, valid), _ = _with_classes(pool, points, valid)
    scores = logistic(pool, points, valid, batch_size=batch_size)
    share = float(np.bincount(valid.y).max() / len(valid.y))
    return with_class_rule(scores, pool.y, points.y, share)


def logistic(
    pool: Points,
    points: Points,
    valid: Points,
    *,
    penalty: float = 1.0,
    tolerance: float = 1e-4,
    batch_size: int | None = None,
) -> PointScores:
    r"""Validation accuracy of multinomial logistic regression, fitted anew each time.

    The fit to $S$ starts from zero and each fit to $S + z$ from the fit to $S$, from
    which it takes a step or two; a row drawn twice counts twice. A single class is
    predicted everywhere; the empty set predicts the most frequent class of the
    validation data.

    Args:
      pool: Inputs and classes (numbers, one-hot or text) that $S$ is drawn from.
      points: Inputs and classes to be valued.
      valid: Inputs and classes to score with.
      penalty: Multiplier of half the squared norm of the weights, against the *sum* of
        losses. It is scikit-learn's `LogisticRegression(C=1 / penalty)`.
      tolerance: Tolerance of the solver (see `linear_models.fit_logistic`); a fit that
        doesn't reach it scores NaN, which `semivalues.run` refuses.
      batch_size: Points fitted at once: for accelerators. One after another when left
        out, which is faster on a processor's few cores since no fit waits for the
        slowest.

    Raises:
      ValueError: If lengths or features differ, inputs aren't finite, or targets are no
        classes.

    Example:
      >>> x, y = np.array([[0.0], [1.0], [0.2], [0.9]]), np.array([0, 1, 0, 1])
      >>> valid = Points(x, y)
      >>> pool, points = Points(x[:2], y[:2]), Points(x[2:], y[2:])
      >>> scores = logistic(pool, points, valid, penalty=0.01)
      >>> scores(jnp.array([0, 1]), jnp.int32(1)).tolist()
      [0.5, 0.5, 1.0]

    References:
      Ghorbani, Kim and Zou, *A Distributional Framework for Data Valuation*, ICML 2020,
      section 4.
    """
    (pool, points, valid), classes = _with_classes(pool, points, valid)
    positive("penalty", penalty)
    positive("tolerance", tolerance)
    check(
        batch_size is None or batch_size >= 1,
        f"batch_size must be at least 1; got {batch_size}.",
    )
    frame = linear_models.design(pool.x)
    one_hot = np.eye(classes)
    arrays = LogisticArrays(
        x_pool=frame.x,
        y_pool=float64(one_hot[pool.y]),
        x=linear_models.rotate(frame, points.x),
        y=float64(one_hot[points.y]),
        x_valid=linear_models.rotate(frame, valid.x),
        y_valid=jnp.asarray(valid.y, jnp.int32),
        penalty=float64(penalty),
    )
    score = Partial(_LogisticScores(tolerance, batch_size), arrays)
    return PointScores(len(pool.x), len(points.x), score)


@dataclasses.dataclass(frozen=True)
class _LogisticScores:
    tolerance: float
    batch_size: int | None

    @in_double
    def __call__(self, arrays: LogisticArrays, rows, size):
        return logistic_scores(self.tolerance, self.batch_size, arrays, rows, size)


def ridge(
    pool: Points, points: Points, valid: Points, *, penalty: float, metric: MetricFn
) -> PointScores:
    r"""Ridge regression, all points at the cost of one solve.

    With $M = (X_S^\top X_S + \lambda I)^{-1}$ and $W = M X_S^\top Y_S$, a point joins
    by

    $$W_z = W + \frac{M x_z (y_z - W^\top x_z)^\top}{1 + x_z^\top M x_z}.$$

    Args:
      pool: Features (append a column of ones for a constant) and targets that $S$ is
        drawn from.
      points: Features and targets to be valued.
      valid: Features and targets to score with.
      penalty: Multiplier $\lambda$ of the squared norm of all weights.
      metric: Metric of predictions and targets, one score per validation row.

    Raises:
      ValueError: If lengths, features or targets differ, or numbers aren't finite.

    Example:
      >>> from jaxval.training import negative, squared_error
      >>> rows = Points(np.array([[1.0], [2.0], [3.0]]), np.array([1.0, 2.0, 3.0]))
      >>> loss = negative(squared_error)
      >>> scores = ridge(rows, rows, rows, penalty=1e-9, metric=loss)
      >>> scores(jnp.array([0, 0]), jnp.int32(0)).round(1).tolist()
      [-4.7, -0.0, -0.0, -0.0]

    References:
      Sherman and Morrison, *Adjustment of an inverse matrix corresponding to a change
      in one element of a given matrix*, 1950.
    """
    pool, points, valid = parts = _inputs(pool, points, valid)
    targets = {"pool.y": pool.y, "points.y": points.y, "valid.y": valid.y}
    y_pool, y, y_valid = map(float64, real_targets(**targets))
    positive("penalty", penalty)
    x_pool, x, x_valid = (float64(part.x) for part in parts)
    arrays = RidgeArrays(
        x_pool=x_pool, y_pool=y_pool, x=x, y=y, x_valid=x_valid, y_valid=y_valid,
        penalty=float64(penalty),
    )  # fmt: skip
    score = Partial(_RidgeScores(metric), arrays)
    return PointScores(len(x_pool), len(x), score)


@dataclasses.dataclass(frozen=True)
class _RidgeScores:
    metric: MetricFn

    @in_double
    def __call__(self, arrays: RidgeArrays, rows, size):
        return ridge_scores(self.metric, arrays, rows, size)


def _with_classes(pool, points, valid) -> tuple[tuple[Points, ...], int]:
    """The three with class numbers that mean the same in each, and how many."""
    inputs = _inputs(pool, points, valid)
    names = ("pool.y", "points.y", "valid.y")
    targets = {name: each.y for name, each in zip(names, inputs, strict=True)}
    labels, classes = class_targets(**targets)
    with_labels = zip(inputs, labels, strict=True)
    return tuple(each._replace(y=y) for each, y in with_labels), classes


def _inputs(pool, points, valid) -> tuple[Points, ...]:
    """Flat finite inputs of the same features, a row at least in each."""
    inputs = {}
    for name, (x, y) in {"pool": pool, "points": points, "valid": valid}.items():
        same_length(**{f"{name}.x": x, f"{name}.y": y})
        check(len(x) > 0, f"{name} is empty: it must have at least one row.")
        inputs[name] = Points(numbers(f"{name}.x", x).reshape(len(x), -1), y)
    same_features(**{f"{name}.x": each.x for name, each in inputs.items()})
    return tuple(inputs.values())
