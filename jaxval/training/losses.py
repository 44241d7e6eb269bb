r"""Losses and metrics of the rows that a model is judged on, all of one shape.

A loss or metric maps outputs `(rows, outputs)` and targets, `(rows,)` or
`(rows, outputs)`, to one score per row; whoever wants one number takes their (weighted)
mean, `mean_metric`. A loss is the smaller the better, a metric the larger the better,
and `negative` turns one into the other.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from jaxval._checks import check
from jaxval.types import AnyArray, Scalar

__all__ = [
    "LossFn",
    "MetricFn",
    "accuracy",
    "cross_entropy",
    "margin",
    "mean_metric",
    "negative",
    "squared_error",
]

LossFn = Callable[[Float[Array, "rows outputs"], Num[Array, "rows ..."]], Array]
"""Outputs and targets to one loss per row, the smaller the better."""

MetricFn = Callable[[Float[Array, "rows outputs"], Num[Array, "rows ..."]], Array]
"""Outputs and targets to one score per row, the larger the better."""

Outputs = Float[AnyArray, "rows outputs"]
Targets = Num[AnyArray, "rows ..."]
PerRow = Float[Array, " rows"]


def mean_metric(
    metric: MetricFn,
    outputs: Outputs,
    targets: Targets,
    weights: Float[AnyArray, " rows"] | None = None,
) -> Scalar:
    r"""$\sum_r w_r\, m(f_r, y_r)$: the metric of all rows as one number.

    Args:
      metric: Metric (or loss) with one score per row.
      outputs: Outputs of a model, one row per sample.
      targets: Targets, one per row.
      weights: Weights of the rows, summing to 1; uniform when left out.

    Raises:
      ValueError: If `metric` does not return one score per row.

    Example:
      >>> float(mean_metric(accuracy, jnp.eye(2), jnp.array([0, 0])))
      0.5
    """
    scores = metric(jnp.asarray(outputs), jnp.asarray(targets))
    check(
        jnp.shape(scores) == outputs.shape[:1],
        f"metric must return one score for each of {outputs.shape[0]} rows; got shape "
        f"{jnp.shape(scores)}. Leave the mean over rows to the caller.",
    )
    return jnp.mean(scores) if weights is None else jnp.sum(scores * weights)


def cross_entropy(outputs: Outputs, targets: Targets) -> PerRow:
    r"""$-\log \mathrm{softmax}(f(x_i))_{y_i}$ of each row.

    Args:
      outputs: Logits.
      targets: Class numbers, or probabilities of the classes `(rows, outputs)`.

    Raises:
      ValueError: If the targets are neither.

    Example:
      >>> cross_entropy(jnp.zeros((1, 2)), jnp.array([1])).round(4).tolist()
      [0.6930999755859375]
    """
    _check_classes(outputs, targets)
    total = jax.nn.logsumexp(outputs, axis=1)
    if targets.ndim == 2:
        return total - jnp.sum(outputs * targets, axis=1)
    chosen = jnp.take_along_axis(outputs, jnp.asarray(targets)[:, None], axis=1)[:, 0]
    return total - chosen


def squared_error(outputs: Outputs, targets: Targets) -> PerRow:
    r"""$\tfrac1c \lVert f(x_i) - y_i \rVert^2$ of each row, $c$ being its outputs.

    Args:
      outputs: Predictions.
      targets: Real numbers (of one output) or vectors, one per row.

    Raises:
      ValueError: If the targets don't have as many entries as the outputs.

    Example:
      >>> squared_error(jnp.array([[1.0], [3.0]]), jnp.array([0.0, 1.0])).tolist()
      [1.0, 4.0]
    """
    check(
        targets.shape == outputs.shape
        or (targets.shape == outputs.shape[:1] and outputs.shape[1] == 1),
        f"targets must have one entry for each of the outputs {outputs.shape}; got "
        f"shape {targets.shape}.",
    )
    return jnp.mean((outputs - targets.reshape(outputs.shape)) ** 2, axis=1)


def accuracy(outputs: Outputs, targets: Targets) -> PerRow:
    r"""1 for each row whose largest output is that of its class, and 0 otherwise.

    Where $k$ outputs are equally large and the row's class is among them, it scores
    $1/k$: constant outputs, such as the empty coalition's, score the chance level.

    Args:
      outputs: Logits, or anything that is largest for the predicted class.
      targets: Class numbers, or indicators of the classes `(rows, outputs)`.

    Raises:
      ValueError: If the targets are neither.

    Example:
      >>> accuracy(jnp.array([[0.0, 1.0], [2.0, 2.0]]), jnp.array([1, 0])).tolist()
      [1.0, 0.5]
    """
    is_own = _indicators(outputs, targets) > 0
    own = jnp.max(jnp.where(is_own, outputs, -jnp.inf), axis=1)
    other = jnp.max(jnp.where(is_own, -jnp.inf, outputs), axis=1)
    # An output is never compared with itself: the compiler may compute it twice, with
    # another rounding, and then nothing would equal the largest. Equal outputs are
    # counted only where both sides met.
    level = jnp.where(is_own, own[:, None], other[:, None]) == outputs

    def count(side):
        return jnp.maximum(jnp.sum(level & side, axis=1), 1).astype(outputs.dtype)

    share = count(is_own) / (count(is_own) + count(~is_own))
    score = jnp.where(own == other, share, (own > other).astype(outputs.dtype))
    return jnp.where(jnp.isnan(own) | jnp.isnan(other), jnp.nan, score)


def margin(outputs: Outputs, targets: Targets) -> PerRow:
    """The output of each row's class less the largest of the others.

    Args:
      outputs: Logits of two classes or more.
      targets: Class numbers, or indicators of the classes `(rows, outputs)`.

    Raises:
      ValueError: If the targets are neither.

    Example:
      >>> margin(jnp.array([[0.0, 1.0, 3.0]]), jnp.array([2])).tolist()
      [2.0]
    """
    classes = _indicators(outputs, targets)
    own = jnp.sum(outputs * classes, axis=1)
    others = jnp.max(jnp.where(classes > 0, -jnp.inf, outputs), axis=1)
    return own - others


def negative(loss: LossFn) -> MetricFn:
    """The metric that is minus a loss, row by row (and back).

    Equal losses give equal metrics, so that what is compiled for one is found again.

    Args:
      loss: Loss with one entry per row.

    Example:
      >>> negative(squared_error)(jnp.array([[2.0]]), jnp.array([0.0])).tolist()
      [-4.0]
      >>> negative(squared_error) == negative(squared_error)
      True
    """
    return _Negative(loss)


@dataclasses.dataclass(frozen=True)
class _Negative:
    loss: LossFn

    def __call__(self, outputs, targets):
        return -self.loss(outputs, targets)


def _indicators(outputs, targets):
    """Classes as rows of 0 and 1, `(rows, outputs)`, in the outputs' precision."""
    _check_classes(outputs, targets)
    if targets.ndim == 2:
        return jnp.asarray(targets).astype(outputs.dtype)
    # argmax can't be traced in double precision and lowered in single, as games are.
    numbers = jnp.arange(outputs.shape[1], dtype=jnp.int32)
    return (jnp.asarray(targets)[:, None] == numbers[None, :]).astype(outputs.dtype)


def _check_classes(outputs, targets):
    numbers = targets.ndim == 1 and jnp.issubdtype(targets.dtype, jnp.integer)
    check(
        targets.shape == outputs.shape
        or (numbers and targets.shape == outputs.shape[:1]),
        f"targets must be class numbers as integers, or one column per class as the "
        f"outputs {outputs.shape}; got shape {targets.shape} of {targets.dtype}.",
    )
