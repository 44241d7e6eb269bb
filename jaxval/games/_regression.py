"""What regressions on a coalition's rows share: targets, metrics, batches."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Num

from jaxval._targets import class_targets, real_targets
from jaxval.execution.precision import float64
from jaxval.training.losses import (
    MetricFn,
    accuracy,
    cross_entropy,
    margin,
    mean_metric,
    negative,
)

READ_CLASSES = (accuracy, margin, negative(cross_entropy))
"""Metrics of class numbers; every other one judges real targets."""

BATCH_BYTES = 2**27
"""Room for the systems of the coalitions that are scored at once."""


def negative_squared_error(
    outputs: Float[Array, "v outputs"], targets: Num[Array, "v ..."]
) -> Float[Array, " v"]:
    r"""$-\lVert f(x_i) - y_i \rVert^2$ of each row, *summed* over its outputs.

    `negative(training.squared_error)` takes the mean over outputs instead. The empty
    coalition predicts 0.

    Args:
      outputs: Predictions.
      targets: Real numbers or vectors, one per row.

    Example:
      >>> negative_squared_error(jnp.ones((1, 2)), jnp.zeros((1, 2))).tolist()
      [-2.0]
    """
    return -jnp.sum((outputs - targets.reshape(outputs.shape)) ** 2, axis=1)


def one_hot(y: Any, classes: int) -> Float[np.ndarray, "n {classes}"]:
    """Class numbers as rows of an identity matrix.

    Args:
      y: Class numbers, one per row.
      classes: Number of classes.

    Raises:
      ValueError: If an entry is not a class number below `classes`.

    Example:
      >>> one_hot(np.array([1]), 2).tolist()
      [[0.0, 1.0]]
    """
    (labels,), _ = class_targets(classes, y=y)
    return np.eye(classes)[labels]


def read_targets(y, y_valid, metric):
    """What is fitted, `(n, outputs)`, and what the metric compares predictions with."""
    if metric in READ_CLASSES:
        (labels, valid), classes = class_targets(y=y, y_valid=y_valid)
        return np.eye(classes)[labels], valid.astype(np.int32)
    return real_targets(y=y, y_valid=y_valid)


def on_device(targets):
    is_integer = np.issubdtype(targets.dtype, np.integer)
    return jnp.asarray(targets) if is_integer else float64(targets)


@dataclasses.dataclass(frozen=True)
class Judge:
    """Predictions to a score: of each validation row, or their mean.

    Records instead of closures: games of equal metrics share their programs.
    """

    metric: MetricFn
    by_row: bool = False

    def judged(self, predicted, y_valid):
        # Predictions are (outputs, v): a metric compares outputs along the slow axis.
        if self.by_row:
            return self.metric(predicted.T, y_valid)
        return mean_metric(self.metric, predicted.T, y_valid)


@dataclasses.dataclass(frozen=True)
class Batched:
    """Scores of many coalitions, as many at once as the systems leave room for."""

    score: Callable[..., Any]
    batch_size: int

    def __call__(self, arrays, members):
        one = Partial(self.score, arrays)
        if len(members) <= self.batch_size:
            return jax.vmap(one)(jnp.asarray(members))
        return jax.lax.map(one, jnp.asarray(members), batch_size=self.batch_size)
